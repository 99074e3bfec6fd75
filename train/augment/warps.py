"""Lay one face over another: by a similarity, or bent triangle by triangle."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.crop import Image, similarity
from train.augment.mesh import ANCHORS, Floats


def warp_similarity(donor: Image, donor_mesh: Floats, mesh: Floats, shape: tuple[int, int]) -> Image:
    """Move, turn and scale the donor until its anchors lie best on the mesh; as `warp_piecewise`."""
    rows = list(ANCHORS)
    matrix = similarity(donor_mesh[rows].astype(np.float64), mesh[rows].astype(np.float64))
    size = shape[1], shape[0]
    moved = cv2.warpAffine(donor, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, dtype=np.uint8)


def warp_piecewise(donor: Image, donor_mesh: Floats, mesh: Floats, shape: tuple[int, int]) -> Image:
    """Bend the donor until its anchors lie on those of the mesh: each triangle has an affine map of its own.

    Outside the hull of the anchors the similarity of `warp_similarity` holds.

    Args:
        donor: (H', W', 3) uint8 RGB.
        donor_mesh: (468, 2) pixels of `donor`.
        mesh: (468, 2) pixels of the result.
        shape: height and width of the result in pixels.

    Returns:
        (*shape, 3) uint8 RGB.
    """
    rows = list(ANCHORS)
    target, source = mesh[rows].astype(np.float64), donor_mesh[rows].astype(np.float64)
    back = similarity(target, source)
    x, y = np.meshgrid(np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32))
    triangles = _triangles(target)
    corners, ends = target[triangles], source[triangles]
    homogeneous = np.concatenate([corners, np.ones((*corners.shape[:2], 1))], axis=2)
    flat = np.abs(np.linalg.det(homogeneous)) < 1e-3
    homogeneous[flat] = np.eye(3)
    maps = np.linalg.solve(homogeneous, ends)  # (T, 3, 2): [x y 1] @ map = place in the donor
    maps[flat] = back.T
    maps = np.concatenate([back.T[None], maps]).astype(np.float32)
    number = np.zeros(shape, dtype=np.int32)
    for index, triangle in enumerate(corners, start=1):
        cv2.fillConvexPoly(number, np.round(triangle).astype(np.int32), index)
    chosen = maps[number]
    place = chosen[..., 0, :] * x[..., None] + chosen[..., 1, :] * y[..., None] + chosen[..., 2, :]
    moved = cv2.remap(donor, place[..., 0], place[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, dtype=np.uint8)


def _triangles(points: NDArray[np.float64]) -> NDArray[np.intp]:
    """Delaunay's triangles between (N, 2) points: (T, 3) rows."""
    from scipy.spatial import Delaunay

    return np.asarray(Delaunay(points).simplices, dtype=np.intp)
