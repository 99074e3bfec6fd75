"""Videos that lie on their side or stand on their head, and whose file does not say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from faces.boxes import iou_matrix
from faces.cascade import Cascade
from faces.crop import Image
from faces.detect import SURE, FrameFaces, MtcnnDetector
from faces.video import Frames

PROBES = 4  # frames on which another way up is tried
AGREED = 2  # of them on which both detectors must find a face there: one of them alone finds faces in cartoons
OVERLAP = 0.4  # IoU of their boxes: on upright faces 0.6 to 0.8, on faces that lie on their side half find none
BETTER = 0.1  # by which the mean score must rise; upright faces have 0.90 to 0.96, turned by 90 degrees 0.75 to 0.90
LYING = 45.0  # degrees between the line from eyes to mouth and the vertical


def find_upright(
    detector: Cascade, frames: Frames, thorough: bool = True, between: NDArray[np.bool_] | None = None
) -> tuple[Frames, list[FrameFaces], int]:
    """Find the faces of a video, and turn the video first where its faces are then upright.

    Args:
        detector: finds faces.
        frames: of one video, upright as far as the file says.
        thorough: False for a run that is short of time: nothing is turned.
        between: (N,) the frames whose faces may be taken from their neighbours; none without it.

    Returns:
        The frames, turned where that makes faces upright, with a note of it; the faces of each; and by how many
        quarters the frames were turned clockwise.
    """
    if not thorough:
        return frames, detector(frames.images, thorough=False, between=between), 0
    found = detector(frames.images, between=between)
    turns = _best_turn(detector, frames.images, _suspected(found)) if frames.images else 0
    if not turns:
        return frames, found, 0
    turned = turn_frames(frames, turns)
    return turned, detector(turned.images, between=between), turns


def turn_frames(frames: Frames, turns: int) -> Frames:
    """Turn all frames of a video.

    Args:
        frames: of one video.
        turns: quarters clockwise, 0 to 3.

    Returns:
        The same frames, turned, with a note that says so.
    """
    if not turns:
        return frames
    lay = "stood on its head" if turns == 2 else "lay on its side"
    said = f"the picture {lay} and was turned by {90 * turns} degrees"
    width, height = frames.info.width, frames.info.height
    info = frames.info if turns == 2 else replace(frames.info, width=height, height=width)
    images = tuple(turn_image(image, turns) for image in frames.images)
    return replace(frames, images=images, info=info, note="; ".join(part for part in (frames.note, said) if part))


def turn_image(image: Image, turns: int) -> Image:
    """Turn a picture, (H, W, 3), by quarters clockwise."""
    return np.ascontiguousarray(np.rot90(image, -turns))


def _suspected(found: Sequence[FrameFaces]) -> list[int]:
    """The turns, in quarters clockwise, that may make the faces upright; none where they are.

    BlazeFace finds faces that lie on their side, and its points tell which side is up. MTCNN takes a mouth for eyes, so
    that a face which it alone finds may stand on its head.
    """
    sure = [(faces, i) for faces in found for i in np.flatnonzero(faces.scores >= SURE)]
    if not sure or all(faces.detector == MtcnnDetector.name for faces, _ in sure):
        return [1, 2, 3]
    down = np.mean([_down(faces, int(i)) for faces, i in sure], axis=0)
    angle = float(np.degrees(np.arctan2(down[0], down[1])))  # 0: upright; 90: the mouth is to the right of the eyes
    if abs(angle) < LYING:
        return []
    return [round(angle / 90) % 4]


def _best_turn(detector: Cascade, images: Sequence[Image], turns: Sequence[int]) -> int:
    """Of some turns the one with which both detectors find upright faces, surer than without any; else 0."""
    if not turns:
        return 0
    probes = [images[i] for i in sorted({round(i) for i in np.linspace(0, len(images) - 1, PROBES)})]
    scores = {turn: _agreement(detector, [turn_image(image, turn) for image in probes]) for turn in (0, *turns)}
    best = max(turns, key=lambda turn: scores[turn])
    return best if scores[best] > scores[0] + BETTER else 0


def _down(faces: FrameFaces, index: int) -> NDArray[np.float64]:
    """From the middle of the eyes to that of the mouth, as a direction (2,)."""
    points = faces.points_xy[index].astype(np.float64)
    way = points[3:5].mean(axis=0) - points[:2].mean(axis=0)
    return np.asarray(way / max(float(np.linalg.norm(way)), 1e-9))


def _agreement(detector: Cascade, images: Sequence[Image]) -> float:
    """The mean score of upright faces at which both detectors point; 0 where they agree on too few of the frames."""
    scores = []
    for image, faces in zip(images, detector.first_look(images), strict=True):
        upright = [i for i in range(len(faces)) if _down(faces, i)[1] > np.cos(np.radians(LYING))]
        if not upright:
            continue
        (others,) = detector.mtcnn([image])
        overlap = iou_matrix(faces.boxes_xyxy[upright].astype(np.float64), others.boxes_xyxy.astype(np.float64))
        agreed = overlap.max(axis=1, initial=0) >= OVERLAP
        scores += [float(faces.scores[upright][agreed].max())] if agreed.any() else []
    return float(np.mean(scores)) if len(scores) >= min(AGREED, len(images)) else 0.0
