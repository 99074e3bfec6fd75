#!/usr/bin/env python3
"""Make the videos of the tutorial: `python scripts/tutorial_videos.py OUT_DIR`.

They are pieces of half a second of two real clips, and of each a fake that is crude on purpose: its face is coarse, as
if it were seen through frosted glass. A member learns that in a minute, and it learns nothing about other fakes.
labels.csv has filename, label, original.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
import torch

from common.errors import DfdcError
from common.files import write_text
from faces.crop import Boxes, Image
from faces.detect import BlazeDetector, Detector
from faces.tiles import letterbox
from scripts.demo_media import FACE_CLIP, FACE_START, read_frames, sample, write_video

CLIPS = {"single_face.mp4": 0, FACE_CLIP: FACE_START}  # and the frame from which on the face looks ahead
PIECES, FRAMES = 6, 12  # of each clip, and frames of a piece
COARSE = 10  # pixels of a face that become one


def pieces() -> Iterator[tuple[str, list[Image]]]:
    """Yield the name and the frames, (H, W, 3) uint8 RGB each, of every piece."""
    for clip, start in CLIPS.items():
        frames = read_frames(sample(clip), start, PIECES * FRAMES)
        for number in range(PIECES):
            yield f"{Path(clip).stem}_{number}", frames[number * FRAMES : (number + 1) * FRAMES]


def coarsen(image: Image, box_xyxy: Boxes) -> Image:
    """Return the frame with a coarse face; box_xyxy: (4,) pixels, the part outside the frame is left out."""
    height, width = image.shape[:2]
    left, top, right, bottom = np.clip(np.round(box_xyxy), 0, [width, height, width, height]).astype(int)
    result = image.copy()
    face = result[top:bottom, left:right]
    if face.size:
        small = cv2.resize(face, None, fx=1 / COARSE, fy=1 / COARSE, interpolation=cv2.INTER_AREA)
        face[:] = cv2.resize(small, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    return result


def forge(frames: list[Image], detector: Detector) -> list[Image]:
    """Return the frames, each with its surest face made coarse; DfdcError for a frame without a face."""
    found = detector(frames)
    if missing := [number for number, faces in enumerate(found) if not len(faces)]:
        raise DfdcError(f"no face in frames {missing} of a piece that a fake was to be made of")
    return [coarsen(image, faces.boxes_xyxy[0]) for image, faces in zip(frames, found, strict=True)]


def main(folder: Path) -> None:
    """Write every piece, its fake, and labels.csv into `folder`; say on stdout what was made."""
    detector = BlazeDetector("back", letterbox, torch.device("cpu"), threads=1)
    rows = [("filename", "label", "original")]
    for name, frames in pieces():
        real, fake = f"{name}.mp4", f"{name}_fake.mp4"
        write_video(folder / real, frames)
        write_video(folder / fake, forge(frames, detector))
        rows += [(real, "REAL", ""), (fake, "FAKE", real)]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(folder / "labels.csv", text.getvalue())
    print(f"{folder}: {len(rows) - 1} videos, and labels.csv that says which are fakes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python scripts/tutorial_videos.py OUT_DIR")
    try:
        main(Path(sys.argv[1]))
    except DfdcError as error:
        raise SystemExit(f"error: {error}") from error
