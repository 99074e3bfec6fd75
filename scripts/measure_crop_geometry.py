#!/usr/bin/env python3
"""Measure how the public DFDC face crops lie relative to BlazeFace's box: the source of DLIB_MARGIN and DLIB_SHIFT_Y.

Two independent ways, which should agree:

videos  BlazeFace and MTCNN look at the same faces of the given videos. From MTCNN's box the crop is known: five crops
        were found again in their videos, and are 1.06 of that box's width, 0.83 of its height, and 0.09 heights lower.
crops   BlazeFace looks at the face crops themselves, set into a frame that repeats their edge. What that odd frame
        does to its box is measured too (control: faces of the videos, cut at BlazeFace's own box, framed and looked at
        again; the truth is 0) and taken off.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
import torch
from tqdm import tqdm

from faces.boxes import iou_matrix
from faces.crop import CropSpec, Image, cut
from faces.detect import SURE, BlazeDetector, MtcnnDetector
from faces.store import CropStore
from faces.tiles import letterbox
from faces.video import VideoError, decode
from inference.videos import find_videos

WIDTH, HEIGHT, DOWN = 1.06, 0.83, 0.09  # of MTCNN's box: the median over the five faces found again


def from_videos(videos: list[Path], frames: int) -> Iterator[tuple[float, float]]:
    """(margin, shift_y) of each face that both detectors find."""
    device = torch.device("cpu")
    blaze, mtcnn = BlazeDetector("back", letterbox, device), MtcnnDetector(device, scale=0.5)
    for images in readable(videos, frames):
        for ours, theirs in zip(blaze(images), mtcnn(images), strict=True):
            for box in theirs.boxes_xyxy.astype(np.float64):
                overlap = iou_matrix(box[None], ours.boxes_xyxy.astype(np.float64))[0]
                if not len(overlap) or overlap.max() < 0.4 or ours.scores[overlap.argmax()] < SURE:
                    continue
                width, height = box[2] - box[0], box[3] - box[1]
                side, centre = (WIDTH * width + HEIGHT * height) / 2, (box[1] + box[3]) / 2 + DOWN * height
                yield relation(ours.boxes_xyxy[overlap.argmax()], centre, side)


def from_crops(sources: list[Path], count: int) -> Iterator[tuple[float, float]]:
    """(margin, shift_y) of each face crop in which BlazeFace finds one sure face about the crop's size."""
    store, blaze = CropStore(sources), BlazeDetector("back", letterbox, torch.device("cpu"))
    names = sorted(store.index)
    for name in tqdm(names[:: max(1, len(names) // count)], desc="crops"):
        yield from framed_relation(store.read(name), blaze)


def control(videos: list[Path], frames: int) -> Iterator[tuple[float, float]]:
    """What framing does: (margin, shift_y) found for crops whose true margin and shift are 0."""
    spec = CropSpec("control", size=224, pad="edge")
    blaze = BlazeDetector("back", letterbox, torch.device("cpu"))
    for images in readable(videos, frames):
        for image, faces in zip(images, blaze(images), strict=True):
            for box, score in zip(faces.boxes_xyxy, faces.scores, strict=True):
                if score >= SURE:
                    yield from framed_relation(cut(image, box, spec), blaze)


def framed_relation(crop: Image, blaze: BlazeDetector, pad: float = 0.6) -> Iterator[tuple[float, float]]:
    """Set a crop into a frame that repeats its edge; yield the relation when one sure face is found there."""
    side = crop.shape[0]
    border = round(side * pad)
    framed = cv2.copyMakeBorder(crop, border, border, border, border, cv2.BORDER_REPLICATE)
    faces = blaze([framed.astype(np.uint8)])[0]
    if len(faces) == 1 and faces.best >= SURE:
        yield relation(faces.boxes_xyxy[0], border + side / 2, side)


def readable(videos: list[Path], frames: int) -> Iterator[tuple[Image, ...]]:
    """The frames of each video that can be read."""
    for path in tqdm(find_videos(videos), desc="videos"):
        try:
            yield decode(path, frames).images
        except VideoError as error:
            tqdm.write(str(error))


def relation(box: np.ndarray, centre_y: float, side: float) -> tuple[float, float]:
    """(margin, shift_y) of CropSpec that turn `box` into the square of `side` whose centre is at `centre_y`."""
    length = ((box[2] - box[0]) + (box[3] - box[1])) / 2
    return float((side / length - 1) / 2), float((centre_y - (box[1] + box[3]) / 2) / length)


def tell(what: str, values: list[tuple[float, float]]) -> np.ndarray:
    """Print medians and quartiles of one way of measuring; returns the medians."""
    if not values:
        raise SystemExit(f"{what}: no face measured")
    for name, column in zip(("margin", "shift_y"), np.array(values).T, strict=True):
        low, middle, high = np.percentile(column, [25, 50, 75])
        print(f"{what}: {name} median {middle:+.3f}, quartiles {low:+.3f} to {high:+.3f}, {len(column)} faces")
    return np.median(values, axis=0)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, nargs="+", required=True, help="videos or folders of videos")
    parser.add_argument("--crops", type=Path, nargs="+", required=True, help="folders or tars of face crops")
    parser.add_argument("--frames", type=int, default=4, help="frames per video")
    parser.add_argument("--count", type=int, default=500, help="face crops looked at")
    options = parser.parse_args()
    tell("videos", list(from_videos(options.videos, options.frames)))
    crops = tell("crops", list(from_crops(options.crops, options.count)))
    bias = tell("control", list(control(options.videos, options.frames)))
    margin, shift_y = crops - bias
    print(f"crops without the frame's effect: margin {margin:+.3f}, shift_y {shift_y:+.3f}")


if __name__ == "__main__":
    main()
