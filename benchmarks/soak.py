#!/usr/bin/env python3
"""Predict many videos, sound and damaged ones, and measure whether memory or open files grow.

python benchmarks/soak.py VIDEOS... --count 500 --picture soak.png

The whole of predict with the shipped members, or decoding alone with --decode.
Every fourth video is a damaged copy. The largest comes first, so that each worker has from the start what it keeps
for it. Memory is the resident set of this process and of its workers (a page that both
show counts twice), every tenth of a second; files are those that this process has open. Printed: the peaks of the first
and of the last quarter of the run. Linux only.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, cycle, islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
import torch
from matplotlib import pyplot as plt
from numpy.typing import NDArray

from faces.decode.pool import VideoLimits, decode_ahead
from inference.blends import load_blend
from inference.pipeline import PredictOptions, make_pipeline
from tests.inference.fuzz import make_fuzzed

COLUMNS = ("seconds", "parent MB", "workers MB", "workers", "open files", "videos done")
FUZZED = 48  # different damaged copies


def resident(process: Path) -> float:
    """MB of a process, by its folder in /proc; 0 when it is gone."""
    try:
        return int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        return 0.0


def children() -> list[Path]:
    """The folders in /proc of this process's children."""
    found = Path("/proc/self/task").glob("*/children")
    return [Path("/proc") / pid for listed in found for pid in listed.read_text().split()]


class MemorySampler(threading.Thread):
    """Notes one row of COLUMNS ten times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.rows: list[tuple[float, ...]] = []
        self.done = 0  # videos
        self.stop = threading.Event()

    def run(self) -> None:
        """Until `stop` is set."""
        began = time.monotonic()
        while not self.stop.wait(0.1):
            sizes = [resident(process) for process in children()]
            files = len(list(Path("/proc/self/fd").iterdir()))
            row = (resident(Path("/proc/self")), sum(sizes), len(sizes), files, self.done)
            self.rows.append((time.monotonic() - began, *row))


def mixed(videos: Sequence[Path], damaged: Sequence[Path]) -> Iterator[Path]:
    """Three sound videos, one damaged one, and so on without end."""
    sound, broken = cycle(videos), cycle(damaged)
    while True:
        yield from islice(sound, 3)
        yield next(broken)


def decoded(jobs: Iterator[tuple[Path, int]], workers: int) -> Iterator[str]:
    """Decode them all and look at every image; gives the outcomes."""
    for video in decode_ahead(jobs, workers, VideoLimits(seconds=20)):
        if video.frames is not None:
            sum(int(image[::16].sum()) for image in video.frames.images)
        yield video.outcome


def scored(paths: Iterator[Path], frames: int, workers: int) -> Iterator[str]:
    """Predict them all by the shipped members; yields the statuses."""
    options = PredictOptions(frames=frames, decoders=workers)
    pipeline = make_pipeline(options, torch.device("cpu"), blend=load_blend())
    return (result.status for result in pipeline.run(list(paths)))


def soak(done: Iterator[str]) -> tuple[NDArray[np.float64], Counter[str]]:
    """Let it run to its end. Returns the rows of COLUMNS, and how often there was which outcome."""
    sampler = MemorySampler()
    sampler.start()
    outcomes: Counter[str] = Counter()
    for outcome in done:
        outcomes[outcome] += 1
        sampler.done += 1
    sampler.stop.set()
    sampler.join()
    return np.array(sampler.rows), outcomes


def quarters(rows: NDArray[np.float64]) -> dict[str, tuple[float, float]]:
    """Peaks over the first and over the last quarter, by what was measured."""
    values = {name: rows[:, COLUMNS.index(name)] for name in ("parent MB", "workers MB", "open files")}
    values["all MB"] = values["parent MB"] + values["workers MB"]
    quarter = len(rows) // 4
    return {name: (v[:quarter].max(), v[-quarter:].max()) for name, v in values.items()}


def draw(rows: NDArray[np.float64], title: str, picture: Path) -> None:
    """Memory above, open files and workers below."""
    column = {name: rows[:, number] for number, name in enumerate(COLUMNS)}
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 6), sharex=True, height_ratios=(2, 1))
    above.plot(column["seconds"], column["parent MB"] + column["workers MB"], color="0.2", linewidth=1, label="all")
    above.plot(column["seconds"], column["workers MB"], linewidth=1, label="workers")
    above.plot(column["seconds"], column["parent MB"], linewidth=1, label="parent")
    above.set(ylabel="resident memory, MB", ylim=(0, None), title=title)
    above.legend(loc="lower right", ncols=3)
    below.plot(column["seconds"], column["open files"], linewidth=1, label="open files of the parent")
    below.plot(column["seconds"], column["workers"], linewidth=1, label="workers")
    below.set(xlabel="seconds", ylim=(0, None))
    below.legend(loc="center right")
    figure.tight_layout()
    figure.savefig(picture, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Soak, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--decode", action="store_true", help="decode them only")
    parser.add_argument("--picture", type=Path, default=Path("soak.png"))
    options = parser.parse_args(arguments)
    smallest, *_, largest = sorted([*options.videos] * 2, key=lambda path: path.stat().st_size)
    with tempfile.TemporaryDirectory() as folder:
        damaged = make_fuzzed(Path(folder), smallest, FUZZED, seed=0)
        paths = islice(chain([largest] * 2 * options.workers, mixed(options.videos, damaged)), options.count)
        if options.decode:
            rows, outcomes = soak(decoded(((path, options.frames) for path in paths), options.workers))
        else:
            rows, outcomes = soak(scored(paths, options.frames, options.workers))
    told = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.most_common())
    title = f"{options.count} videos ({told}), {options.frames} frames, {options.workers} workers, {rows[-1, 0]:.0f} s"
    print(title)
    for name, (first, last) in quarters(rows).items():
        print(f"{name:<12} peak of the first quarter {first:7.0f}, of the last {last:7.0f}  ({last / first - 1:+.1%})")
    draw(rows, title, options.picture)


if __name__ == "__main__":
    main()
