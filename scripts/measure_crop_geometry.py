#!/usr/bin/env python3
"""Measure how the public DFDC face crops lie relative to BlazeFace's box: the source of DLIB_MARGIN and DLIB_SHIFT_Y.

Two independent ways, which should agree:

videos  BlazeFace and MTCNN look at the same faces of the given videos. From MTCNN's box the crop is known: five crops
        were found again in their videos, and are 1.06 of that box's width, 0.83 of its height, and 0.09 heights lower.
crops   BlazeFace looks at the face crops themselves, set into a frame that repeats their edge.
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

from faces.blazeface import iou_one_to_many
from faces.detect import SURE, BlazeDetector, MtcnnDetector, letterbox
from faces.store import CropStore
from faces.video import VideoError, decode
from inference.videos import find_videos

WIDTH, HEIGHT, DOWN = 1.06, 0.83, 0.09  # of MTCNN's box: the median over the five faces found again


def from_videos(videos: list[Path], frames: int) -> Iterator[tuple[float, float]]:
    """(margin, shift_y) of each face that both detectors find."""
    device = torch.device("cpu")
    blaze, mtcnn = BlazeDetector("back", letterbox, device), MtcnnDetector(device, scale=0.5)
    for path in tqdm(find_videos(videos), desc="videos"):
        try:
            images = decode(path, frames).images
        except VideoError as error:
            tqdm.write(str(error))
            continue
        for ours, theirs in zip(blaze(images), mtcnn(images), strict=True):
            for box in theirs.boxes_xyxy.astype(np.float64):
                overlap = iou_one_to_many(box, ours.boxes_xyxy.astype(np.float64))
                if not len(overlap) or overlap.max() < 0.4 or ours.scores[overlap.argmax()] < SURE:
                    continue
                width, height = box[2] - box[0], box[3] - box[1]
                side, centre = (WIDTH * width + HEIGHT * height) / 2, (box[1] + box[3]) / 2 + DOWN * height
                yield relation(ours.boxes_xyxy[overlap.argmax()], centre, side)


def from_crops(sources: list[Path], count: int, pad: float = 0.6) -> Iterator[tuple[float, float]]:
    """(margin, shift_y) of each face crop in which BlazeFace finds one sure face about the crop's size."""
    store, blaze = CropStore(sources), BlazeDetector("back", letterbox, torch.device("cpu"))
    names = sorted(store.index)
    for name in tqdm(names[:: max(1, len(names) // count)], desc="crops"):
        image = store.read(name)
        side = image.shape[0]
        border = round(side * pad)
        framed = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REPLICATE)
        faces = blaze([framed.astype(np.uint8)])[0]
        if len(faces) == 1 and faces.best >= SURE:
            yield relation(faces.boxes_xyxy[0], border + side / 2, side)


def relation(box: np.ndarray, centre_y: float, side: float) -> tuple[float, float]:
    """(margin, shift_y) of CropSpec that turn `box` into the square of `side` whose centre is at `centre_y`."""
    length = ((box[2] - box[0]) + (box[3] - box[1])) / 2
    return float((side / length - 1) / 2), float((centre_y - (box[1] + box[3]) / 2) / length)


def tell(what: str, values: list[tuple[float, float]]) -> None:
    """Print medians and quartiles of one way of measuring."""
    if not values:
        print(f"{what}: no face measured")
        return
    for name, column in zip(("margin", "shift_y"), np.array(values).T, strict=True):
        low, middle, high = np.percentile(column, [25, 50, 75])
        print(f"{what}: {name} median {middle:+.3f}, quartiles {low:+.3f} to {high:+.3f}, {len(column)} faces")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, nargs="*", default=[], help="videos or folders of videos")
    parser.add_argument("--crops", type=Path, nargs="*", default=[], help="folders or tars of face crops")
    parser.add_argument("--frames", type=int, default=4, help="frames per video")
    parser.add_argument("--count", type=int, default=500, help="face crops looked at")
    options = parser.parse_args()
    if options.videos:
        tell("videos", list(from_videos(options.videos, options.frames)))
    if options.crops:
        tell("crops", list(from_crops(options.crops, options.count)))


if __name__ == "__main__":
    main()
