"""Faces in a frame between two others: where those show the same faces in the same places, nobody need look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from faces.boxes import iou_matrix
from faces.detect import SURE, FrameFaces

# Seconds between the two frames at most. 32 frames of ten seconds have 0.6, 12 of them 1.7.
LONGEST = 2.0
FEWEST = 8  # frames of a video below which all are searched
# IoU of a face's boxes in the two frames at least. In 36 clips of DFDC and FaceForensics++, 32 frames each, half of the
# frames that might be left out pass. Their faces overlap what the detector finds there by 0.94 (median, 0.83 at the 5th
# percentile), as its own boxes on two frames of a face at rest do; nobody is missed and nobody is made up.
STILL = 0.85
NAME = "between"  # stands for the detector of such faces


def frames_between(seconds: Sequence[float], cuts: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say which frames of a video may be left out of the search.

    They are every other one, with two close neighbours of the same shot; none of a video of fewer frames than FEWEST.

    Args:
        seconds: (N,) when each frame is shown, rising.
        cuts: (N,) whether a cut lies before it.

    Returns:
        (N,) bool.
    """
    between = np.zeros(len(seconds), dtype=np.bool_)
    if len(seconds) < FEWEST:
        return between
    for number in range(1, len(seconds) - 1, 2):
        near = seconds[number + 1] - seconds[number - 1] <= LONGEST
        between[number] = near and not cuts[number] and not cuts[number + 1]
    return between


def faces_between(before: FrameFaces, after: FrameFaces) -> FrameFaces | None:
    """Take the faces of a frame from those of its neighbours.

    Args:
        before: the faces of the frame before.
        after: of the frame after.

    Returns:
        Each face halfway between its two places; None where the neighbours do not show the same sure faces in nearly
        the same places, so that somebody has to look.
    """
    count = len(before)
    if not count or len(after) != count or min(before.scores.min(), after.scores.min()) < SURE:
        return None
    overlap = iou_matrix(before.boxes_xyxy.astype(np.float64), after.boxes_xyxy.astype(np.float64))
    same = overlap.argmax(axis=1)
    if len(set(same.tolist())) < count or overlap.max(axis=1).min() < STILL:
        return None
    return FrameFaces(
        (before.boxes_xyxy + after.boxes_xyxy[same]) / 2,
        np.minimum(before.scores, after.scores[same]),
        (before.points_xy + after.points_xy[same]) / 2,
        NAME,
    )
