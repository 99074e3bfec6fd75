"""Areas of boxes and how far they overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def box_areas(boxes_xyxy: Floats) -> Floats:
    """Return the area of each box: (N, 4) corners to (N,), negative where exactly one side is turned round."""
    return np.asarray((boxes_xyxy[:, 2] - boxes_xyxy[:, 0]) * (boxes_xyxy[:, 3] - boxes_xyxy[:, 1]))


def shared_areas(one: Floats, other: Floats) -> Floats:
    """Return the area that each box of `one`, (N, 4), has in common with each of `other`, (M, 4): (N, M)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    return np.asarray(np.prod(np.maximum(high - low, 0), axis=2))


def iou_matrix(one: Floats, other: Floats) -> Floats:
    """Return the intersection over union of each box of `one` with each of `other`.

    Args:
        one: (N, 4) corners x0, y0, x1, y1.
        other: (M, 4), in the same units.

    Returns:
        (N, M) from 0 to 1; 0 where the union has no area.
    """
    shared = shared_areas(one, other)
    union = box_areas(one)[:, None] + box_areas(other) - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))
