#!/usr/bin/env python3
"""Drive many synthetic units and measure the driver's memory; or time units beside `dfdc predict` on the same videos.

python benchmarks/units.py memory --units 100000
python benchmarks/units.py speed VIDEOS_FOLDER

Memory: an engine that does nothing but report, and a plan that is read from a store line by line. Printed: resident
memory of the process at ten places of the run, and the units a second. Speed: `dfdc predict`, then plan, run-units and
merge, each as a command of its own; whether both CSVs are equal; the seconds of both with and without their starts.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scale.driver import Attempt, Driver, Outcome
from scale.store import PLAN, Store, UnitReport
from scale.units import UNIT_VIDEOS, Item, Unit

ROOT = Path(__file__).resolve().parents[1]


class Instant:
    """An engine whose units are done at once."""

    slots = 64

    def __init__(self, every: int) -> None:
        """Print the memory every so many units."""
        self.queue: deque[Attempt] = deque()
        self.every, self.done = every, 0

    def submit(self, attempt: Attempt) -> None:
        """Queue it."""
        self.queue.append(attempt)

    def poll(self, seconds: float) -> list[Outcome]:
        """Report the first one."""
        attempt = self.queue.popleft()
        self.done += 1
        if self.done % self.every == 0:
            print(f"{self.done:>9} units: {resident():7.1f} MB", flush=True)
        report = UnitReport(attempt.unit.id, True, {"ok": len(attempt.unit.items)}, 1.0)
        return [Outcome(attempt.unit.id, "reported", report)]

    def cancel(self, unit_id: str) -> None:
        """Nothing runs."""

    def close(self) -> None:
        """Nothing is open."""


def resident() -> float:
    """MB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory(units: int) -> None:
    """Drive so many units."""
    with tempfile.TemporaryDirectory() as folder:
        with (Path(folder) / PLAN).open("w") as plan:
            for number in range(units):
                items = [Item(f"part_{number % 50:02d}/{number:06d}_{video:02d}.mp4", 4_000_000) for video in range(64)]
                plan.write(Unit.of(number, items[:UNIT_VIDEOS], "options").to_line() + "\n")
        store = Store(folder)
        print(f"plan of {units} units, {units * UNIT_VIDEOS} videos, {(Path(folder) / PLAN).stat().st_size >> 20} MiB")
        began = time.perf_counter()
        summary = Driver(store, Instant(max(1, units // 10)), 600).run(store.units())
        seconds = time.perf_counter() - began
        print(f"{summary.units} units, {summary.statuses.total()} videos, {summary.units / seconds:.0f} units a second")


def timed(*arguments: str) -> float:
    """Seconds of a command of `dfdc`."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(ROOT / "dfdc.py"), *arguments], check=False, capture_output=True, text=True
    )
    if done.returncode not in (0, 3):
        sys.exit(done.stderr)
    for line in done.stderr.splitlines():
        if re.search(r"s each|units done|videos:", line):
            print("   ", line.strip()[-150:])
    return time.perf_counter() - began


def speed(videos: str) -> None:
    """Time both ways, and compare their bytes."""
    with tempfile.TemporaryDirectory() as folder:
        store, one, two = (f"{folder}/{name}" for name in ("store", "one.csv", "two.csv"))
        timed("plan", videos, store)
        units = timed("run-units", store)
        merging = timed("merge", store, "-o", two)
        predict = timed("predict", videos, "--recursive", "-o", one, "--quiet")
        same = Path(one).read_bytes() == Path(two).read_bytes()
        print(f"predict {predict:.1f} s, run-units {units:.1f} s ({units / predict:.2f}), merge {merging:.1f} s")
        print(f"the same bytes: {same}")


def main() -> None:
    """Parse, run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "speed"))
    parser.add_argument("videos", nargs="?")
    parser.add_argument("--units", type=int, default=100_000)
    given = parser.parse_args()
    if given.what == "memory":
        memory(given.units)
    elif given.videos is None:
        parser.error("speed needs a folder of videos")
    else:
        speed(given.videos)


if __name__ == "__main__":
    main()
