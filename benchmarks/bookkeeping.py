#!/usr/bin/env python3
"""What journal, submission and results cost in a run of many videos, beside the seconds of predicting them.

python benchmarks/bookkeeping.py --videos 10000 --per-video 2.0

The results are drawn; journal and submission are the real ones, on the disk of --folder. The submission is renewed once
a minute of the run that is pretended.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from inference.journal import Journal
from inference.result import PersonResult, ScoredFace, VideoResult
from inference.run import REFRESH
from inference.submission import write_submission

MEMBERS = tuple(f"member_{number}" for number in range(6))


def draw(number: int, faces: int, rng: np.random.Generator) -> VideoResult:
    """A result as a video of one person has it."""
    scored = tuple(
        ScoredFace(
            9 * at,
            0.3 * at,
            0,
            rng.random(4).astype(np.float32),
            0.9,
            "back",
            dict(zip(MEMBERS, rng.normal(size=6), strict=True)),
            0.4,
        )
        for at in range(faces)
    )
    people = (PersonResult(0, 32, 0.4),)
    seconds = {"decode": 0.8, "detect": 0.4, "judge": 0.8}
    return VideoResult(
        f"{number:05}.mp4", "ok", 0.4, faces=scored, people=people, seconds=seconds, cpu=dict(seconds), looked=32
    )


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--faces", type=int, default=14, help="scored in each")
    parser.add_argument("--per-video", type=float, default=2.0, help="seconds that predicting one takes")
    parser.add_argument(
        "--folder", type=Path, help="where journal and submission are written (default: a temporary one)"
    )
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    results = [draw(number, options.faces, rng) for number in range(options.videos)]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        journal = Journal(Path(folder) / "journal", {"frames": 32})
        began, cpu = time.perf_counter(), time.process_time()
        for result in results:
            journal.begin(result.filename)
            journal.add(result, 1_000_000)
        kept, kept_cpu = time.perf_counter() - began, time.process_time() - cpu
        journal.close()
        size = (Path(folder) / "journal").stat().st_size
        began = time.perf_counter()
        again = Journal(Path(folder) / "journal", {"frames": 32})
        read = time.perf_counter() - began
        again.close()
        known = {result.filename: result.prob_fake for result in results}
        began = time.perf_counter()
        write_submission(Path(folder) / "submission.csv", known, list(known), (0.01, 0.99))
        once = time.perf_counter() - began
    run = options.videos * options.per_video
    renewed = once * (run / REFRESH)
    print(f"{options.videos} videos of {options.faces} faces; a run of {run:.0f} s")
    print(f"journal: {kept:.2f} s ({kept_cpu:.2f} s of CPU, the rest waits for the disk), {size / 1e6:.1f} MB")
    print(f"journal read again: {read:.2f} s")
    print(f"submission: {once:.3f} s each time, {run / REFRESH:.0f} times: {renewed:.1f} s")
    print(f"together {(kept + renewed) / run:.2%} of the run")


if __name__ == "__main__":
    main()
