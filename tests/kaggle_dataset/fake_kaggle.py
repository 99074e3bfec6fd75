"""The stand-in running for one test, and a `Kaggle` that talks to it with the real client: `fake_kaggle`."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kaggle_dataset.submit.kaggle_client import Kaggle
from tests.kaggle_dataset.service import Fault, Service
from tests.kaggle_dataset.stand_in import serve


@dataclass
class FakeKaggle:
    """One stand-in. `kaggle` is configured for it; `environment` is for a command in a process of its own."""

    service: Service
    kaggle: Kaggle
    environment: dict

    def fault(self, match: str, **about: object) -> Fault:
        """Let requests whose "METHOD /path" has `match` fail; see Fault for what can be said."""
        self.service.faults.append(Fault(match, **about))
        return self.service.faults[-1]

    def set(self, **options: object) -> None:
        """Change how this Kaggle behaves; see Options."""
        for name, value in options.items():
            assert hasattr(self.service.options, name), name
            setattr(self.service.options, name, value)

    def asked(self, match: str) -> list[dict]:
        """The requests so far whose path ends with `match`."""
        return [record for record in self.service.log if record["path"].endswith(match)]


def environment_for(port: int, home: Path, token: str) -> dict:
    """The variables that send the real client to the stand-in on this port, and nothing else."""
    home.mkdir(parents=True, exist_ok=True)
    proxy = f"http://127.0.0.1:{port}"
    # Both spellings: with REQUEST_METHOD set, as in CGI, only the small one counts.
    return {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
        "HTTP_PROXY": proxy,
        "http_proxy": proxy,
        "KAGGLE_API_TOKEN": token,
    }


@pytest.fixture
def fake_kaggle(tmp_path: Path) -> Iterator[FakeKaggle]:
    """A fresh stand-in with its own home and state folders below tmp_path."""
    server, service = serve(tmp_path / "service")
    environment = environment_for(server.server_address[1], tmp_path / "home", service.token)
    yield FakeKaggle(service, Kaggle(tmp_path / "state", environment=environment), environment)
    server.shutdown()
    server.server_close()
