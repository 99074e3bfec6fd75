#!/usr/bin/env python3
"""Drive many synthetic units and measure the driver's memory; or time units beside `dfdc predict` on the same videos.

python benchmarks/units.py memory --units 100000 --picture memory.svg
python benchmarks/units.py speed VIDEOS_FOLDER
python benchmarks/units.py ray VIDEO
python benchmarks/units.py start VIDEOS_FOLDER
python benchmarks/units.py before VIDEOS_FOLDER --checkout FOLDER

Memory: an engine that does nothing but report, and a plan that is read from a store line by line. Printed: resident
memory of the process at ten places of the run, and the units a second. Speed: `dfdc predict`, then plan, run-units and
merge, each as a command of its own; whether both CSVs are equal, and the seconds of both with their starts. Ray: few
and many copies of a video through both engines, with 4 frames each; seconds by the clock of whole commands, both on all
cores, and from them what Ray costs once and for each video. (Not of CPU: what Ray's own processes start is not told.)
Start: seconds of CPU until a worker could begin its first unit.
Before: `dfdc predict` of another checkout and of this one, in turns.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.cores import cores
from scale.driver import Attempt, Driver, Outcome
from scale.store import PLAN, Store, UnitReport
from scale.units import UNIT_VIDEOS, Item, Unit

ROOT = Path(__file__).resolve().parents[1]
PR_SET_CHILD_SUBREAPER = 36  # of prctl(2)


class Instant:
    """An engine whose units are done at once."""

    slots = 64

    def __init__(self, every: int) -> None:
        """Print the memory every so many units."""
        self.queue: deque[Attempt] = deque()
        self.every, self.done = every, 0
        self.curve: list[tuple[int, float]] = []  # units, MB

    def submit(self, attempt: Attempt) -> None:
        """Queue it."""
        self.queue.append(attempt)

    def poll(self, seconds: float) -> list[Outcome]:
        """Report the first one."""
        attempt = self.queue.popleft()
        self.done += 1
        if self.done % self.every == 0:
            self.curve.append((self.done, resident()))
            print(f"{self.done:>9} units: {self.curve[-1][1]:7.1f} MB", flush=True)
        report = UnitReport(attempt.unit.id, True, {"ok": len(attempt.unit.items)}, 1.0)
        return [Outcome(attempt.unit.id, "reported", report)]

    def cancel(self, unit_id: str) -> None:
        """Nothing runs."""

    def close(self) -> None:
        """Nothing is open."""


def resident() -> float:
    """MB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory(units: int, picture: Path | None) -> None:
    """Drive so many units, and draw the memory over them."""
    with tempfile.TemporaryDirectory() as folder:
        with (Path(folder) / PLAN).open("w") as plan:
            for number in range(units):
                items = [Item(f"part_{number % 50:02d}/{number:06d}_{video:02d}.mp4", 4_000_000) for video in range(64)]
                plan.write(Unit.of(number, items[:UNIT_VIDEOS], "options").to_line() + "\n")
        store = Store(folder)
        print(f"plan of {units} units, {units * UNIT_VIDEOS} videos, {(Path(folder) / PLAN).stat().st_size >> 20} MiB")
        began, engine = time.perf_counter(), Instant(max(1, units // 50))
        summary = Driver(store, engine, 600).run(store.units())
        seconds = time.perf_counter() - began
        print(f"{summary.units} units, {summary.statuses.total()} videos, {summary.units / seconds:.0f} units a second")

    if picture is not None:
        draw(engine.curve, picture)


def draw(curve: list[tuple[int, float]], picture: Path) -> None:
    """Memory over units."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3), layout="constrained")
    axes.plot(*zip(*curve, strict=True))
    axes.set(xlabel="units of 64 videos", ylabel="MB of the driver", ylim=(0, 2 * max(mb for _, mb in curve)))
    figure.savefig(picture)


def timed(*arguments: str, root: Path = ROOT) -> tuple[float, float]:
    """Seconds of a command of `dfdc` by the clock, and of CPU with those of all processes that it leaves."""
    began, before = time.perf_counter(), used()
    done = subprocess.run(
        [sys.executable, str(root / "dfdc.py"), *arguments], check=False, capture_output=True, text=True, cwd=root
    )
    if done.returncode not in (0, 3):
        sys.exit(done.stderr)
    for line in done.stderr.splitlines():
        if re.search(r"s each|units done|videos:", line):
            print("   ", line.strip()[-150:], flush=True)
    seconds = time.perf_counter() - began
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    return seconds, used() - before


def used() -> float:
    """Seconds of CPU of all processes that were started here and have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def speed(videos: str) -> None:
    """Time both ways, and compare their bytes."""
    with tempfile.TemporaryDirectory() as folder:
        store, one, two = (f"{folder}/{name}" for name in ("store", "one.csv", "two.csv"))
        timed("plan", videos, store)
        units = timed("run-units", store)
        merging = timed("merge", store, "-o", two)
        predict = timed("predict", videos, "--recursive", "-o", one, "--quiet")
        same = Path(one).read_bytes() == Path(two).read_bytes()
        for name, (seconds, cpu) in (("predict", predict), ("run-units", units), ("merge", merging)):
            print(f"{name:<10} {seconds:6.1f} s, {cpu:6.1f} s of CPU")
        print(f"run-units / predict: {units[0] / predict[0]:.2f} by the clock, {units[1] / predict[1]:.2f} of CPU")
        print(f"the same bytes: {same}")


def ray(video: str, few: int = 4, many: int = 20) -> None:
    """What Ray costs once, and for each video."""
    took: dict[str, list[float]] = {"local": [], "ray": []}
    with tempfile.TemporaryDirectory() as folder:
        for count in (1, few, many):  # the first fills the cache of compiled networks
            inputs = Path(folder, f"in{count}")
            inputs.mkdir()
            for number in range(count):
                (inputs / f"{number}{Path(video).suffix}").symlink_to(Path(video).resolve())
            written = []
            for engine, spent in took.items():
                store, out = f"{folder}/{engine}{count}", Path(folder, f"{engine}{count}.csv")
                timed("plan", str(inputs), store, "--unit-videos", "2", "--frames", "4")
                how = (
                    ("--engine", "ray", "--address", "local", "--cpus", "1")
                    if engine == "ray"
                    else ("--slots", str(cores()))
                )
                spent.append(timed("run-units", store, *how)[0])
                timed("merge", store, "-o", str(out))
                written.append(out.read_bytes())
                print(f"{engine:<6} {count:>3} videos: {spent[-1]:6.1f} s", flush=True)
            print(f"the same bytes: {written[0] == written[1]}")
    each = {engine: (spent[2] - spent[1]) / (many - few) for engine, spent in took.items()}
    once = {engine: spent[1] - few * each[engine] for engine, spent in took.items()}
    for engine in took:
        print(f"{engine:<6} {once[engine]:6.1f} s once, {each[engine]:6.2f} s a video")
    print(f"Ray: {once['ray'] - once['local']:+.1f} s once, {each['ray'] / each['local']:.2f} of local a video")


START = """
import resource, sys
from scale.worker import UnitWorker, WorkerSetup
UnitWorker(WorkerSetup(sys.argv[1], device="cpu", threads=1))
spent = resource.getrusage(resource.RUSAGE_SELF)
loaded = [name for name in ("torch", "timm", "torchvision", "pandas", "sklearn") if name in sys.modules]
print(f"{spent.ru_utime + spent.ru_stime:.1f} s of CPU, {spent.ru_maxrss >> 10} MB; imported:", *loaded or ["-"])
"""


def start(videos: str) -> None:
    """Start a worker on an empty cache of compiled networks, and three on the filled one."""
    with tempfile.TemporaryDirectory() as folder:
        timed("plan", videos, f"{folder}/store")
        env = os.environ | {"DFDC_CACHE": f"{folder}/cache", "PYTHONPATH": str(ROOT)}
        for state in ("empty cache", *["filled cache"] * 3):
            command = [sys.executable, "-c", START, f"{folder}/store"]
            print(
                f"{state:<13}",
                subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.strip(),
            )


def before(videos: str, checkout: Path, turns: int = 3) -> None:
    """`dfdc predict` of another checkout and of this one, in turns, by seconds of CPU."""
    spent: dict[Path, list[float]] = {checkout: [], ROOT: []}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(turns):
            for root, seconds in spent.items():
                out = f"{folder}/{turn}{root.name}.csv"
                seconds.append(timed("predict", videos, "-o", out, "--quiet", "--frames", "8", root=root)[1])
                print(f"{root}: {seconds[-1]:.1f} s of CPU", flush=True)
    print(f"this one / the other, least of {turns}: {min(spent[ROOT]) / min(spent[checkout]):.3f}")


def main() -> None:
    """Parse, run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "speed", "ray", "start", "before"))
    parser.add_argument("videos", nargs="?")
    parser.add_argument("--units", type=int, default=100_000)
    parser.add_argument("--picture", type=Path, help="memory: an .svg or .png")
    parser.add_argument("--checkout", type=Path, help="before: the folder of the other version")
    given = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # the helpers of Ray become our children
    if given.what == "memory":
        memory(given.units, given.picture)
    elif given.videos is None:
        parser.error(f"{given.what} needs videos")
    elif given.what == "before":
        before(given.videos, given.checkout.resolve())
    else:
        {"speed": speed, "ray": ray, "start": start}[given.what](given.videos)


if __name__ == "__main__":
    main()
