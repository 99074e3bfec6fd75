"""Real servers on loopback, with small members."""

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.media import write_video
from tests.waiting import LIMIT, wait_until

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Running:
    """A server that listens."""

    process: subprocess.Popen
    address: str
    log: Path

    def client(self, **options):
        return httpx.Client(base_url=self.address, timeout=LIMIT, **options)

    def send(self, path, name=None, client=None, **options):
        with path.open("rb") as file, contextlib.ExitStack() as stack:
            client = client or stack.enter_context(self.client())
            return client.post("/v1/videos", files={"file": (name or path.name, file)}, **options)

    def finished(self, identity, **options):
        """The video when it is done."""
        with self.client(**options) as client:
            states = []

            def is_done():
                states.append(client.get(f"/v1/videos/{identity}").json())
                return states[-1]["state"] == "done"

            wait_until(is_done, f"video {identity} is done")
        return states[-1]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(LIMIT)


@pytest.fixture(scope="session")
def start_server(members):
    """Starts servers: start_server(folder, *options)."""

    @contextlib.contextmanager
    def start(folder, *options, **environment):
        log = folder / "log.txt"
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, ROOT / "dfdc.py", "serve", "--port", "0", "--data", folder / "data"]
        command += ["--members", members, "--frames", "4", "--device", "cpu", *options]
        with log.open("a") as stderr:
            process = subprocess.Popen(
                list(map(str, command)), stdout=subprocess.PIPE, stderr=stderr, text=True, env=os.environ | environment
            )
        try:
            line = process.stdout.readline()
            assert line.startswith("dfdc serve: open http://"), log.read_text()
            yield Running(process, line.split()[-1], log)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(LIMIT)
            process.stdout.close()

    return start


@pytest.fixture(scope="module")
def server(start_server, tmp_path_factory):
    with start_server(tmp_path_factory.mktemp("server"), "--max-seconds", "60s", "--max-bytes", "3m") as running:
        yield running


@pytest.fixture(scope="session")
def clip(media):
    return media / "single_face.mp4"


@pytest.fixture(scope="session")
def nobody(tmp_path_factory):
    """A video without a face: the quickest answer."""
    return write_video(tmp_path_factory.mktemp("clips") / "nobody.mp4", frames=12, size=(160, 90))
