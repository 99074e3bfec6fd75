"""Which part of a face is blended: regions of its mesh, deformed and softened."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from train.augment.mesh import LEFT_BROW, LEFT_EYE, LIPS, NOSE, OVAL, RIGHT_BROW, RIGHT_EYE, Floats

Mask = NDArray[np.float32]


def blend_mask(shape: tuple[int, int], mesh: Floats, rng: Generator) -> Mask:
    """Draw the region that is blended.

    A region of the mesh (whole face, lower half, inner face, eyes, mouth, nose), grown or shrunk, deformed elastically,
    its edge softened by up to a tenth of the face's width.

    Args:
        shape: height and width of the mask in pixels.
        mesh: (468, 2) pixels.
        rng: the same state gives the same mask.

    Returns:
        (H, W) float32 from 0 to 1.
    """
    width = float(np.linalg.norm(mesh[454] - mesh[234])) + 1.0
    mask: Mask = np.zeros(shape, dtype=np.float32)
    for outline in _regions(mesh, rng):
        cv2.fillConvexPoly(mask, np.round(cv2.convexHull(outline)).astype(np.int32), 1.0)
    mask = _elastic(mask, width * rng.uniform(0.0, 0.06), rng)
    sigma = width * float(np.exp(rng.uniform(np.log(0.004), np.log(0.08))))
    if rng.random() < 0.5:
        # Inwards only: the seam stays on the face.
        reach = 2 * max(1, round(sigma)) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
        mask = np.asarray(cv2.erode(mask, kernel), dtype=np.float32)
    return np.clip(np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.5, sigma)), dtype=np.float32), 0, 1)


def inner_mask(shape: tuple[int, int], mesh: Floats, rng: Generator) -> Mask:
    """Draw a region that ends well within the face, so that brows, cheeks and chin of the covered face show around it.

    The face's outline at 0.55 to 0.9 of its size, moved by up to 6 % of its width, slightly deformed, its edge hardly
    softened. Arguments and result are those of `blend_mask`.
    """
    width = float(np.linalg.norm(mesh[454] - mesh[234])) + 1.0
    outline = _grown(mesh[list(OVAL)], rng.uniform(0.55, 0.9)) + width * rng.uniform(-0.06, 0.06, 2)
    mask: Mask = np.zeros(shape, dtype=np.float32)
    cv2.fillConvexPoly(mask, np.round(cv2.convexHull(outline.astype(np.float32))).astype(np.int32), 1.0)
    mask = _elastic(mask, width * rng.uniform(0.0, 0.03), rng)
    sigma = max(0.5, width * rng.uniform(0.004, 0.03))
    return np.clip(np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma), dtype=np.float32), 0, 1)


def _regions(mesh: Floats, rng: Generator) -> list[Floats]:
    """The points whose convex hulls are blended."""
    oval, kind = mesh[list(OVAL)], rng.random()
    if kind < 0.45:
        whole = oval
        if rng.random() < 0.4:  # the mesh ends below the hairline, many swaps at the brows
            brows = mesh[[*RIGHT_BROW, *LEFT_BROW]]
            below = oval[oval[:, 1] > brows[:, 1].min()]
            whole = np.concatenate([below, brows])
        return [_grown(whole, rng.uniform(0.85, 1.08))]
    if kind < 0.6:  # from between eyes and nose down
        cut = mesh[[6, 195]][:, 1]
        below = oval[oval[:, 1] > rng.uniform(cut.min(), cut.max() + 1)]
        return [_grown(np.concatenate([below, mesh[list(NOSE[2:])]]), rng.uniform(0.85, 1.05))]
    if kind < 0.8:  # brows to lips
        inner = mesh[[*RIGHT_BROW, *LEFT_BROW, *LIPS, *RIGHT_EYE, *LEFT_EYE, 205, 425]]
        return [_grown(inner, rng.uniform(0.9, 1.25))]
    parts = ((RIGHT_EYE, RIGHT_BROW), (LEFT_EYE, LEFT_BROW)), ((LIPS,),), ((NOSE,),)
    chosen = parts[rng.choice(3, p=(0.4, 0.45, 0.15))]
    return [_grown(mesh[[i for group in part for i in group]], rng.uniform(1.1, 1.6)) for part in chosen]


def _grown(points: Floats, factor: float) -> Floats:
    middle = points.mean(axis=0)
    return np.asarray(middle + (points - middle) * factor, dtype=np.float32)


def _elastic(mask: Mask, most: float, rng: Generator) -> Mask:
    """The mask with every place moved by a smooth random field of up to some `most` pixels."""
    height, width = mask.shape
    field = rng.uniform(-most, most, (int(rng.integers(3, 7)),) * 2 + (2,)).astype(np.float32)
    shift = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.asarray(cv2.remap(mask, x + shift[..., 0], y + shift[..., 1], cv2.INTER_LINEAR), dtype=np.float32)
