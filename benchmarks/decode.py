"""Time decoding: the same frames of each video by OpenCV and by faces.video, in turns within one run.

python benchmarks/decode.py VIDEOS... [--frames 32] [--repeats 3]

All give RGB. Seconds are medians over the repeats. A ratio is the median over the repeats of ours to OpenCV's, run
one after the other: on a machine that does other work as well, trust the ratios and not the seconds.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import av
import cv2
import numpy as np

from common.cores import cores
from faces.video import choose_frames, decode

Way = Callable[[Path], int]  # decodes one video, gives the number of images


def by_opencv(path: Path, wanted: int, threads: int) -> int:
    """Read straight through with grab, retrieve and convert the wanted frames; 0 threads: OpenCV's own choice."""
    options = [cv2.CAP_PROP_N_THREADS, threads] if threads else []
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, options)
    chosen = set(choose_frames(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), wanted).tolist())
    images = []
    for number in range(max(chosen, default=-1) + 1):
        if not capture.grab():
            break
        if number in chosen:
            images.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
    capture.release()
    return len(images)


def by_us(path: Path, wanted: int, threads: int) -> int:
    """Decode with faces.video."""
    return len(decode(path, wanted, threads).images)


def in_pairs(way: Way) -> Way:
    """Decode a video twice at a time in two threads, which is how a run over many videos uses two cores."""

    def both(path: Path) -> int:
        with ThreadPoolExecutor(2) as pool:
            return min(pool.map(way, (path, path)))

    return both


def comparisons(wanted: int) -> dict[str, tuple[Way, Way, int]]:
    """What is compared: name -> OpenCV's way, ours, and videos per call."""
    opencv = {n: lambda path, n=n: by_opencv(path, wanted, n) for n in (0, 1, 2)}
    us = {n: lambda path, n=n: by_us(path, wanted, n) for n in (0, 1, 2)}
    return {
        "cv2 default / our default": (opencv[0], us[0], 1),
        "cv2 default / 1 thread": (opencv[0], us[1], 1),
        "cv2 default / 2 threads": (opencv[0], us[2], 1),
        "cv2 1 / 1 thread": (opencv[1], us[1], 1),
        "cv2 default x2 / 1 thread x2": (in_pairs(opencv[0]), in_pairs(us[1]), 2),
        "cv2 1 x2 / 1 thread x2": (in_pairs(opencv[1]), in_pairs(us[1]), 2),
    }


def timed(way: Way, path: Path, videos: int) -> float:
    """Seconds per video of one call."""
    begin = time.perf_counter()
    if way(path) == 0:
        raise SystemExit(f"{path}: gave no frame; leave it out")
    return (time.perf_counter() - begin) / videos


def compare(path: Path, pair: tuple[Way, Way, int], repeats: int) -> tuple[float, float, float]:
    """Median seconds per video of OpenCV and of ours, and the median of the paired ratios."""
    theirs_way, ours_way, videos = pair
    theirs: list[float] = []
    ours: list[float] = []
    for turn in range(repeats):
        # Who goes first alternates, so that neither always finds the machine warmer.
        for way, into in ((theirs_way, theirs), (ours_way, ours))[:: 1 if turn % 2 == 0 else -1]:
            into.append(timed(way, path, videos))
    ratio = statistics.median(b / a for a, b in zip(theirs, ours, strict=True))
    return statistics.median(theirs), statistics.median(ours), ratio


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare on every video and print the table."""
    parser = argparse.ArgumentParser(description="Time decoding: OpenCV beside faces.video.")
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    pairs = comparisons(options.frames)
    ratios: dict[str, list[float]] = {name: [] for name in pairs}
    print(f"{'video':<28}{'cv2 / ours':<32}{'cv2 s':>8}{'ours s':>8}{'ratio':>8}")
    for path in options.videos:
        by_us(path, options.frames, 1)  # bring the file into the page cache
        for name, pair in pairs.items():
            theirs, ours, ratio = compare(path, pair, options.repeats)
            ratios[name].append(ratio)
            print(f"{path.name:<28}{name:<32}{theirs:>8.3f}{ours:>8.3f}{ratio:>8.2f}", flush=True)
    for name, values in ratios.items():
        print(f"{'all (geometric mean)':<28}{name:<48}{float(np.exp(np.mean(np.log(values)))):>8.2f}")
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{platform.machine()}, {cores()} cores{load}; PyAV {av.__version__}, OpenCV {cv2.__version__}")


if __name__ == "__main__":
    main()
