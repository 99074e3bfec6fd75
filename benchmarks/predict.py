#!/usr/bin/env python3
"""Seconds a video of the whole of predict, beside decoding alone and cv2's reading of the same frames.

python benchmarks/predict.py VIDEOS... [--b4]

`predict` takes fewer frames of a short video (faces/sparing.py) and leaves out faces that would hardly move P(fake)
(benchmarks/tolerance.py); `predict, all faces` does neither. `decode, sparing` decodes the frames of `predict`. All
ways take turns within one run, networks loaded before the clock starts: on a machine that does other work as well,
trust the ratios and not the seconds. cv2's grab/retrieve, with its default threads, is a yardstick that others can
repeat. --b4 adds one tf_efficientnet_b4 at 224 pixels, with random weights: the work of the ISPL team's members.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
import torch

from common.cores import cores
from faces.decode.pool import decode_ahead
from faces.video import choose_frames, probe
from inference.blends import load_blend
from inference.pipeline import Pipeline, PredictOptions, make_pipeline
from inference.schedule.plans import TOLERANCE
from inference.stages import profile
from models.checkpoint import WEIGHTS_DIR, Card, save_member
from models.network import build_member
from models.registry import get_member

CPU = torch.device("cpu")
BASE = "cv2 grab/retrieve"


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


def random_b4(folder: Path, options: PredictOptions) -> Pipeline:
    """A pipeline with the registry's b4_tight alone, untrained."""
    torch.manual_seed(0)
    member = get_member("b4_tight")
    card = Card(member.name, member.backbone, member.crop, "", 0, 0, "")
    save_member(folder, card, build_member(member))
    return make_pipeline(options, CPU, folder, blend=load_blend(folder))


def predicting(name: str, pipeline: Pipeline, videos: Sequence[Path], notes: dict[str, str]) -> Callable[[], object]:
    """Predict all of them; where the time went is noted."""

    def run() -> None:
        began = time.perf_counter()
        results = list(pipeline.run(videos))
        notes[name] = profile(results, time.perf_counter() - began, pipeline.decoders).sentence()

    list(pipeline.run(videos[:1]))  # the first run of a network allocates
    return run


def decoding(videos: Sequence[Path], how: PredictOptions) -> Callable[[], object]:
    """Decode all of them, and nothing else."""

    def run() -> None:
        jobs = ((path, how.frames) for path in videos)
        for _ in decode_ahead(jobs, how.decoders, sparing=how.sparing):
            pass

    return run


def measure(ways: dict[str, Callable[[], object]], videos: int, repeats: int) -> dict[str, list[float]]:
    """Seconds a video of each way, one entry per repeat; the ways take turns inside a repeat."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, run in ways.items():
            began = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - began) / videos)
    return times


def main() -> None:
    """Parse, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--copies", type=int, default=4, help="how often each video is predicted in a run")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2, help="videos decoded at a time")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--members", type=Path, default=WEIGHTS_DIR)
    parser.add_argument("--competition", action="store_true", help="blend.json, as the kernel, and not blend_any.json")
    parser.add_argument("--b4", action="store_true", help="also one untrained EfficientNet-B4")
    options = parser.parse_args()
    videos = options.videos * options.copies
    how = PredictOptions(frames=options.frames, decoders=options.workers)
    notes: dict[str, str] = {}
    blend = load_blend(options.members, competition=options.competition)
    shipped = make_pipeline(how, CPU, options.members, blend=blend)
    early = make_pipeline(replace(how, tolerance=TOLERANCE, sparing=True), CPU, options.members, blend=blend)
    ways: dict[str, Callable[[], object]] = {
        BASE: lambda: [cv2_frames(path, options.frames) for path in videos],
        "decode alone": decoding(videos, how),
        "decode, sparing": decoding(videos, replace(how, sparing=True)),
        "predict, all faces": predicting("predict, all faces", shipped, videos, notes),
        "predict": predicting("predict", early, videos, notes),
    }
    with tempfile.TemporaryDirectory() as folder:
        if options.b4:
            name = "predict, one B4"
            ways[name] = predicting(name, random_b4(Path(folder), how), videos, notes)
        times = measure(ways, len(videos), options.repeats)
    print(f"{len(videos)} videos a run, {options.frames} frames, {options.workers} decoders, {cores()} cores")
    for name, seconds in times.items():
        ratios = [float(np.median(np.divide(seconds, times[base]))) for base in (BASE, "decode alone")]
        print(
            f"{name:<20} {np.median(seconds):6.3f} s a video [{min(seconds):.3f}, {max(seconds):.3f}]   "
            f"{ratios[0]:5.2f} x cv2   {ratios[1]:5.2f} x decode alone"
        )
    for name, note in notes.items():
        print(f"{name}: {note}")


if __name__ == "__main__":
    main()
