#!/usr/bin/env python3
"""How much longer the whole of predict takes than decoding alone: paired, alternating, in one process.

Decoding alone is the same call with the same workers; networks are loaded before the clock starts. Also tells what
cv2's grab/retrieve takes for the same frames of the same videos, as a yardstick that others can repeat.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
import torch

from faces.video import choose_frames, probe
from inference.ahead import decode_ahead
from inference.predict import PredictOptions, make_pipeline
from models.checkpoint import WEIGHTS_DIR


def timed(run: Callable[[], object]) -> float:
    """Seconds of wall clock."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def cv2_frames(path: Path, frames: int) -> None:
    """The same frames by grab and retrieve, to RGB."""
    wanted = set(choose_frames(probe(path).frames, frames).tolist())
    capture = cv2.VideoCapture(str(path))
    for number in range(max(wanted) + 1):
        if capture.grab() and number in wanted:
            ok, image = capture.retrieve()
            if ok:
                cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    capture.release()


def measure(videos: Sequence[Path], frames: int, workers: int, repeats: int, members: Path) -> dict[str, list[float]]:
    """Seconds per video of each way, one entry per repeat; the ways alternate inside a repeat."""
    pipeline = make_pipeline(PredictOptions(frames=frames, decoders=workers), torch.device("cpu"), members)
    ways: dict[str, Callable[[], object]] = {
        "cv2 grab/retrieve": lambda: [cv2_frames(path, frames) for path in videos],
        "decode alone": lambda: [len(d.path.name) for d in decode_ahead(videos, frames, workers)],
        "predict": lambda: list(pipeline.run(videos)),
    }
    list(pipeline.run(videos[:1]))  # the first run of a network allocates
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, run in ways.items():
            times[name].append(timed(run) / len(videos))
    return times


def main() -> None:
    """Parse, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--copies", type=int, default=4, help="how often each video is judged in a run")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2, help="videos decoded at a time")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--members", type=Path, default=WEIGHTS_DIR)
    options = parser.parse_args()
    videos = options.videos * options.copies
    times = measure(videos, options.frames, options.workers, options.repeats, options.members)
    base = np.median(times["decode alone"])
    print(f"{len(videos)} videos a run, {options.frames} frames, {options.workers} decoders, {os.cpu_count()} cores")
    for name, seconds in times.items():
        ratio = np.median(np.divide(seconds, times["decode alone"]))
        print(f"{name:<20} {np.median(seconds):6.3f} s a video   {ratio:5.2f} x decode alone")
    print(f"predict / decode alone: {np.median(np.divide(times['predict'], times['decode alone'])):.2f} ({base:.3f} s)")


if __name__ == "__main__":
    main()
