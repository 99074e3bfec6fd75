"""Load on `dfdc serve`: many uploads by several clients, and a kill -9 in the middle. Is any video lost?

Usage: python benchmarks/serve.py VIDEOS... [--uploads 200] [--clients 8]

The server is killed when half of the uploads are accepted, and started again at once; clients go on sending. At the end
every accepted video must be done. Prints the count, videos a minute, and the memory of the server and of its worker
over time: bounded means that the second half needs no more than the first.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[1]


class Served:
    """A server on one port and folder, which can be killed and started again."""

    def __init__(self, folder: Path, frames: int) -> None:
        """Start it."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.folder, self.frames = folder, frames
        self.address = f"http://127.0.0.1:{self.port}"
        self.memory: list[tuple[int, int]] = []  # bytes of the server, of its worker
        self.start()

    def start(self) -> None:
        """Start the process and wait until it listens."""
        command = [sys.executable, ROOT / "dfdc.py", "serve", "--data", self.folder, "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*map(str, command), "--frames", str(self.frames), "--device", "cpu"], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None  # noqa: S101
        self.process.stdout.readline()

    def kill(self) -> None:
        """End it as the system does when memory runs out."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def measure(self) -> None:
        """Note the memory of now."""
        try:
            server = psutil.Process(self.process.pid)
            worker = [each for each in server.children() if "serve.worker" in " ".join(each.cmdline())]
            self.memory.append((server.memory_info().rss, sum(each.memory_info().rss for each in worker)))
        except psutil.Error:
            return


def send(served: Served, video: Path, accepted: list[str]) -> None:
    """Send one video until it is accepted, as a client does that meets a full queue or a dead server."""
    while True:
        try:
            with video.open("rb") as file, httpx.Client(timeout=120) as client:
                answer = client.post(f"{served.address}/v1/videos", files={"file": (video.name, file)})
        except httpx.HTTPError:
            time.sleep(0.5)
            continue
        if answer.status_code == 202:
            accepted.append(answer.json()["id"])
            return
        if answer.status_code != 429:
            raise RuntimeError(answer.text)
        time.sleep(1)


def statuses(served: Served) -> Counter[str]:
    """How many videos have which status, or state where they are not done."""
    counts: Counter[str] = Counter()
    path = "/v1/videos?limit=500"
    while path:
        page = httpx.get(served.address + path, timeout=120).json()
        counts.update(each["result"]["status"] if each["result"] else each["state"] for each in page["videos"])
        path = page["next"]
    return counts


def main() -> None:
    """Send, kill, start again, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--frames", type=int, default=2)
    asked = parser.parse_args()
    accepted: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        served = Served(Path(folder), asked.frames)
        over = threading.Event()

        def watch() -> None:
            while not over.wait(1):
                served.measure()

        watcher = threading.Thread(target=watch)
        watcher.start()
        began = time.perf_counter()
        with ThreadPoolExecutor(asked.clients) as clients:
            for video in islice(cycle(asked.videos), asked.uploads):
                clients.submit(send, served, video, accepted)
            while len(accepted) < asked.uploads / 2:
                time.sleep(0.05)
            served.kill()
            print(f"killed with {len(accepted)} accepted", flush=True)
            served.start()
        while set(counts := statuses(served)) & {"queued", "running"}:
            time.sleep(1)
        seconds = time.perf_counter() - began
        over.set()
        watcher.join()
        known = [httpx.get(f"{served.address}/v1/videos/{each}", timeout=120) for each in accepted]
        lost = sum(answer.status_code != 200 or answer.json()["state"] != "done" for answer in known)
        served.process.send_signal(signal.SIGTERM)
        served.process.wait()
    print(f"{len(accepted)} accepted, {lost} lost, {dict(counts)}, {60 * len(accepted) / seconds:.0f} videos a minute")
    loaded = [each for each in served.memory if each[1]]
    for name, share in (("a quarter", 0.25), ("half", 0.5), ("three quarters", 0.75), ("the end", 1.0)):
        server, worker = loaded[min(len(loaded) - 1, int(share * len(loaded)))]
        print(f"after {name}: server {server >> 20} MiB, worker {worker >> 20} MiB")
    sys.exit(1 if lost or len(accepted) != asked.uploads else 0)


if __name__ == "__main__":
    os.environ.setdefault("TQDM_DISABLE", "1")
    main()
