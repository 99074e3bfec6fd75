"""Seconds to the first answer: `dfdc --help`, `dfdc doctor`, and one video with an empty and with a filled cache.

Usage: python benchmarks/start.py VIDEO [--runs 3] [--code OTHER_CHECKOUT]

Each is a process of its own. Prints a Markdown table with wall clock and seconds of CPU; both, because on a shared
machine only the second can be compared. `--code` runs another checkout of the code with this Python, for a before.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(code: Path, cache: str, *arguments: str | Path) -> tuple[float, float]:
    """Wall clock and CPU seconds of one command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, code / "dfdc.py", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"DFDC_CACHE": cache},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, cpu


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--code", type=Path, default=ROOT)
    asked = parser.parse_args()
    video = asked.video.resolve()
    print("| command | s, median | least | CPU s, median |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        predict = ["predict", video, "-o", Path(folder) / "submission.csv", "--quiet", "--max-fallback", "1"]
        cases = {
            "`dfdc --help`": (asked.runs, ["--help"]),
            "one video, empty cache": (1, predict),
            "one video, filled cache": (asked.runs, predict),
            "`dfdc doctor`": (1, ["doctor"]),
        }
        for name, (runs, arguments) in cases.items():
            taken = [run(asked.code, str(Path(folder) / "cache"), *arguments) for _ in range(runs)]
            wall, cpu = zip(*taken, strict=True)
            print(f"| {name} | {statistics.median(wall):.1f} | {min(wall):.1f} | {statistics.median(cpu):.1f} |")


if __name__ == "__main__":
    main()
