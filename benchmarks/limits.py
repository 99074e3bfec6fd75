#!/usr/bin/env python3
"""What cheaper pixels could save at most: upper bounds, by which it is decided what is worth building.

python benchmarks/limits.py VIDEOS...

- no conversion: decoding without turning frames into RGB. Keeping planes (YUV) would save less, as the detector's input
  and the crops are converted after all.
- reference frames: each wanted frame moved to the nearest one that others refer to, so that no other is decoded.
- half the detection: the cascade on every second frame. Following a face between two frames is not free.

The ways take turns within one run, one video after the other, a thread each: trust the ratios.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from common.device import Device
from faces import wanted
from faces.cascade import Cascade
from faces.media import open_video
from faces.packets import PacketIndex
from faces.video import Frames, choose_frames, decode

FRAMES = 32


def reference_frames(path: Path) -> list[int]:
    """The wanted frames of a video, each moved to the nearest one to which another may refer."""
    with open_video(path) as (container, stream):
        index = PacketIndex.read(container, stream)
    order = {stamp: number for number, stamp in enumerate(index.times())}
    packets = zip(index.stamps, index.shown, index.kinds, strict=True)
    known = np.array(sorted(order[s] for s, shown, kind in packets if shown and kind and s is not None))
    return sorted({int(known[np.abs(known - number).argmin()]) for number in choose_frames(index.count, FRAMES)})


def main() -> None:
    """Parse, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    cascade = Cascade(Device("cpu"))
    for path in options.videos:
        frames, snapped = decode(path, FRAMES), np.array(reference_frames(path))
        ways: dict[str, Callable[[], object]] = {
            "decode": lambda path=path: decode(path, FRAMES, threads=1),
            "no conversion": lambda path=path: _unconverted(path),
            "reference frames": lambda path=path, chosen=snapped: _chosen(path, chosen),
            "detect": lambda frames=frames: cascade(frames.images),
            "half the detection": lambda frames=frames: cascade(frames.images[::2]),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.repeats):
            for name, run in ways.items():
                began = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - began)
        print(path.name, f"{frames.info.width} x {frames.info.height}")
        for name, seconds in times.items():
            base = times["detect" if "detect" in name else "decode"]
            ratio = np.median(np.divide(seconds, base))
            print(f"  {name:<20} {np.median(seconds):.3f} s [{min(seconds):.3f}, {max(seconds):.3f}]  x {ratio:.2f}")


def _unconverted(path: Path) -> None:
    blank = np.zeros((8, 8, 3), dtype=np.uint8)
    with mock.patch.object(wanted, "upright", lambda *_: blank):
        decode(path, FRAMES, threads=1)


def _chosen(path: Path, numbers: np.ndarray) -> Frames:
    with mock.patch("faces.video.choose_frames", lambda *_: numbers):
        return decode(path, FRAMES, threads=1)


if __name__ == "__main__":
    main()
