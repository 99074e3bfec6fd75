"""The outline and the parts of a face from its five points, to cut parts out."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from faces.crop import ALIGNED_POINTS, Image, similarity

Floats = NDArray[np.float64]

# The outline of a face in the coordinates of ALIGNED_POINTS (112 x 112), drawn by hand around that template: temples,
# cheeks and chin, and the brows on top. The generators of DFDC's fakes replace about this region.
OUTLINE = np.array(
    [
        [24, 46], [25, 62], [29, 79], [36, 94], [46, 106], [56, 110], [66, 106], [76, 94], [83, 79], [87, 62],
        [88, 46], [79, 36], [66, 32], [56, 33], [46, 32], [33, 36],
    ],
    dtype=np.float64,
)  # fmt: skip


def outline_in(points_xy: Floats) -> Floats:
    """Return the face's outline, (16, 2) pixels, from its five points, (5, 2) pixels."""
    matrix = similarity(ALIGNED_POINTS, np.asarray(points_xy, dtype=np.float64))
    return OUTLINE @ matrix[:, :2].T + matrix[:, 2]


def face_scale(points_xy: Floats) -> float:
    """Return how many pixels of the image are one pixel of the 112 x 112 template; points_xy: (5, 2) pixels."""
    matrix = similarity(ALIGNED_POINTS, np.asarray(points_xy, dtype=np.float64))
    return float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))


def cut_out(image: Image, points_xy: Floats, rng: Generator) -> Image:
    """Remove the eyes, the nose, the mouth or one half of a face: a member must not depend on one part alone.

    After the winner of the challenge (Seferbekov 2020), who removed parts by landmarks. Each part goes with probability
    a half, at least one; or, in a fifth of the calls, half of the face.

    Args:
        image: (H, W, 3) uint8 RGB.
        points_xy: (5, 2) pixels of `image`, in the order of faces.crop.ALIGNED_POINTS.
        rng: the same state gives the same pixels.

    Returns:
        (H, W, 3) uint8 RGB; what is gone is black, or the image's mean colour.
    """
    points = np.asarray(points_xy, dtype=np.float64)
    scale = face_scale(points)
    mask = np.zeros(image.shape[:2], dtype=np.uint8)
    if rng.random() < 0.2:
        _half_face(mask, points, rng)
    else:
        right_eye, left_eye, nose, right_mouth, left_mouth = points
        lines = ((right_eye, left_eye, 16.0), ((right_eye + left_eye) / 2, nose, 18.0), (right_mouth, left_mouth, 18.0))
        chosen = rng.random(3) < 0.5
        chosen[rng.integers(3)] = True
        for (start, end, width), wanted in zip(lines, chosen, strict=True):
            if wanted:
                thick = max(1, round(width * scale * rng.uniform(0.8, 1.3)))
                cv2.line(mask, _whole(start), _whole(end), 255, thick)
    fill = (0.0, 0.0, 0.0) if rng.random() < 0.5 else cv2.mean(image)[:3]
    out = image.copy()
    out[mask > 0] = np.round(fill)
    return out


def _half_face(mask: NDArray[np.uint8], points: Floats, rng: Generator) -> None:
    """Fill the outline on one side of a line through the face's middle, at any angle."""
    outline = outline_in(points)
    cv2.fillConvexPoly(mask, np.round(cv2.convexHull(outline.astype(np.float32))).astype(np.int32), 255)
    angle = rng.uniform(0, 2 * np.pi)
    middle = points.mean(axis=0)
    y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
    mask[(x - middle[0]) * np.cos(angle) + (y - middle[1]) * np.sin(angle) < 0] = 0


def _whole(point: Floats) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
