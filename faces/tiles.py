"""Squares of a frame that a detector looks at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.crop import Image


@dataclass(frozen=True)
class Tile:
    """A square of a frame that the network sees at its input size; what lies outside the frame is black."""

    left: float
    top: float
    side: float


def letterbox(width: int, height: int) -> list[Tile]:
    """The whole frame in one square."""
    side = max(width, height)
    return [Tile((width - side) / 2, (height - side) / 2, side)]


def short_side_tiles(width: int, height: int) -> list[Tile]:
    """Overlapping squares of the short side along the long one: one for a square frame, three up to 2:1, then more."""
    side = min(width, height)
    count = 1 if width == height else max(3, math.ceil(max(width, height) / side) + 1)
    steps = np.linspace(0, 1, count)
    return [Tile(float(s) * (width - side), float(s) * (height - side), side) for s in steps]


def overlapping_tiles(width: int, height: int, parts: int) -> list[Tile]:
    """Squares of the short side over `parts`, row by row, which overlap by a quarter of their side or more."""
    side = min(width, height) / parts
    across, down = (np.linspace(0, 1, math.ceil((size - side) / (0.75 * side)) + 1) for size in (width, height))
    return [Tile(float(x) * (width - side), float(y) * (height - side), side) for y in down for x in across]


def focus(width: int, height: int, box_xyxy: NDArray[np.float32], size: int) -> list[Tile]:
    """One square around a box where a face may be, four times its side and at least `size`, inside the frame."""
    x0, y0, x1, y1 = (float(v) for v in box_xyxy)
    side = min(max(4 * max(x1 - x0, y1 - y0), size), width, height)
    left = min(max((x0 + x1 - side) / 2, 0.0), width - side)
    top = min(max((y0 + y1 - side) / 2, 0.0), height - side)
    return [Tile(left, top, side)]


def look(image: Image, tile: Tile, size: int) -> Image:
    """A tile of a frame at the network's input size: (size, size, 3) uint8."""
    height, width = image.shape[:2]
    left, top = max(0, round(tile.left)), max(0, round(tile.top))
    # From the rounded corner, not rounded again: a tile that begins between two pixels must not gain a third.
    right, bottom = min(width, left + round(tile.side)), min(height, top + round(tile.side))
    view = image[top:bottom, left:right]
    scale = size / tile.side
    inner = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    small = _shrink(view, inner[0], inner[1])
    if inner == (size, size):
        return small
    canvas = np.zeros((size, size, 3), dtype=np.uint8)
    x, y = round(max(0.0, -tile.left) * scale), round(max(0.0, -tile.top) * scale)
    x, y = min(x, size - inner[0]), min(y, size - inner[1])
    canvas[y : y + inner[1], x : x + inner[0]] = small
    return canvas


def _shrink(view: Image, width: int, height: int) -> Image:
    """Area averaging; by halves as far as they go, which OpenCV does four times faster than the whole way at once."""
    while min(view.shape[1] // width, view.shape[0] // height) >= 2:
        half = view.shape[1] // 2, view.shape[0] // 2
        even = view[: half[1] * 2, : half[0] * 2]
        view = np.asarray(cv2.resize(even, half, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    method = cv2.INTER_AREA if view.shape[0] > height else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(view, (width, height), interpolation=method), dtype=np.uint8)
