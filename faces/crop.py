"""CropSpec and the one function that cuts a face: training, out-of-fold and the kernel all call `cut`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]
Rect = tuple[int, int, int, int]  # left, top, right, bottom in whole pixels, the last two outside

# Where the five points (right eye, left eye, nose, right and left mouth corner, as seen by the viewer from the
# left) lie in an aligned face of side 1: the 112 x 96 template of SphereFace (Liu et al. 2017), squared to 112.
ALIGNED_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    dtype=np.float64,
)
ALIGNED_SIDE = 112.0

# Pixels. A window with a longer side is averaged in place: its padding could fill the memory.
LARGEST = 2048


@dataclass(frozen=True)
class CropSpec:
    """How a face is cut out of a frame, as data: it travels in a member's card.

    All lengths are shares of the box's side, the mean of its width and its height.
    """

    name: str
    size: int  # pixels, the side of the square that comes out
    margin: float = 0.0  # added on each of the four sides; negative cuts into the face
    shift_y: float = 0.0  # the square's centre below the box's centre
    align: Literal["none", "5pt"] = "none"  # 5pt: turn the face upright by its five points
    pad: Literal["black", "edge"] = "black"  # what stands outside the frame
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # of RGB in 0..1, subtracted
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)  # of RGB in 0..1, divided by

    def __post_init__(self) -> None:
        if self.size < 8:
            raise ValueError(f"CropSpec {self.name!r}: size {self.size} is below 8 pixels")
        if not -0.5 < self.margin < math.inf:
            raise ValueError(f"CropSpec {self.name!r}: margin {self.margin} leaves nothing; it must be above -0.5")
        if not math.isfinite(self.shift_y) or not all(value > 0 for value in self.std):
            raise ValueError(f"CropSpec {self.name!r}: shift_y {self.shift_y} must be finite, std {self.std} above 0")
        for field, value, allowed in (("align", self.align, ("none", "5pt")), ("pad", self.pad, ("black", "edge"))):
            if value not in allowed:
                raise ValueError(f"CropSpec {self.name!r}: {field} is {value!r}, not one of {allowed}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CropSpec:
        """The inverse of `to_dict`; an unknown field is a ValueError, since it would change what is cut."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"CropSpec has no field {unknown[0]!r}; it has {sorted(known)}")
        # JSON has no tuples.
        fitted: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**fitted)


def square_around(box_xyxy: Boxes, spec: CropSpec) -> tuple[float, float, float]:
    """Centre x, centre y and side, in pixels, of the square that `spec` cuts around a box."""
    x0, y0, x1, y1 = (float(v) for v in box_xyxy)
    return _square(x0, y0, x1, y1, spec)


def box_inside_crop(cut_as: CropSpec, width: int, height: int) -> Boxes:
    """The detector's box in the coordinates of a crop that was cut by `cut_as`: (4,) pixels, xyxy.

    The inverse of `square_around`. It lets a folder of ready face crops go the same way as a video: a member's
    own CropSpec is applied inside the crop.
    """
    side = (width + height) / 2 / (1 + 2 * cut_as.margin)
    x, y = width / 2, height / 2 - cut_as.shift_y * side
    return np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], dtype=np.float32)


def cut(image: Image, box_xyxy: Boxes, spec: CropSpec, points_xy: Boxes | None = None) -> Image:
    """Cut one face.

    image: (H, W, 3) uint8 RGB. box_xyxy: (4,) pixels, may reach outside the image. points_xy: (5, 2) pixels in the
    order of ALIGNED_POINTS, needed when spec.align is "5pt". Returns (size, size, 3) uint8 RGB: the same pixels for
    a frame and for any part of it that holds `reach`, box and points moved along.
    Raises ValueError for a box without area, or not finite, or without points where they are needed.
    """
    rect = reach(box_xyxy, spec, points_xy)
    if spec.align == "5pt":
        return _cut_aligned(image, np.asarray(points_xy, dtype=np.float64), spec, rect)
    return _resized(image, rect, spec.size, spec.size, spec.pad)


def reach(box_xyxy: Boxes, spec: CropSpec, points_xy: Boxes | None = None) -> Rect:
    """The pixels that `cut` reads: left, top, right, bottom, whole numbers, outside the image too.

    Arguments and errors are those of `cut`. Positions are taken from a whole pixel at the face, so that moving box and
    points by whole pixels moves the answer by as many, to the last bit.
    """
    x0, y0, x1, y1 = (float(v) for v in box_xyxy)
    if not all(map(math.isfinite, (x0, y0, x1, y1))) or x1 <= x0 or y1 <= y0:
        raise ValueError(f"cannot cut a face: box {[x0, y0, x1, y1]} has no area or is not finite")
    if spec.align == "5pt":
        if points_xy is None:
            raise ValueError(f"CropSpec {spec.name!r} aligns by five points, and the face has none")
        return _reach_aligned(np.asarray(points_xy, dtype=np.float64), spec)
    base_x, base_y = math.floor(x0), math.floor(y0)
    x, y, side = _square(x0 - base_x, y0 - base_y, x1 - base_x, y1 - base_y, spec)
    whole = max(1, _half_up(side))
    left, top = base_x + _half_up(x - side / 2), base_y + _half_up(y - side / 2)
    return left, top, left + whole, top + whole


def inside(rect: Rect, width: int, height: int) -> Rect:
    """The part of `rect` in an image of that size; where they do not meet, the strip of pixels nearest to `rect`."""
    left, top = min(max(rect[0], 0), width - 1), min(max(rect[1], 0), height - 1)
    return left, top, max(min(rect[2], width), left + 1), max(min(rect[3], height), top + 1)


def _half_up(value: float) -> int:
    """Rounded, a half always up: Python's `round` goes to the even number, which moves with the image's origin."""
    return math.floor(value + 0.5)


def _square(x0: float, y0: float, x1: float, y1: float, spec: CropSpec) -> tuple[float, float, float]:
    side = ((x1 - x0) + (y1 - y0)) / 2
    return (x0 + x1) / 2, (y0 + y1) / 2 + spec.shift_y * side, side * (1 + 2 * spec.margin)


def _resized(image: Image, rect: Rect, width: int, height: int, pad: str) -> Image:
    """`rect` of the image at (height, width): area averaging when shrinking (no aliasing), bilinear when growing."""
    whole_x, whole_y = rect[2] - rect[0], rect[3] - rect[1]
    if max(whole_x, whole_y) > LARGEST:
        return _averaged(image, rect, width, height, pad)
    window = _window(image, rect, pad)
    if (whole_x, whole_y) == (width, height):
        return np.array(window, order="C")  # a copy: the frame is not ours to lend
    method = cv2.INTER_AREA if whole_x > width else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(window, (width, height), interpolation=method), dtype=np.uint8)


def _window(image: Image, rect: Rect, pad: str) -> Image:
    """The pixels of `rect`, padded where it leaves the image."""
    left, top, right, bottom = rect
    height, width = image.shape[:2]
    if pad == "black" and (left >= width or top >= height or right <= 0 or bottom <= 0):
        return np.zeros((bottom - top, right - left, 3), dtype=np.uint8)
    inner = inside(rect, width, height)
    view = image[inner[1] : inner[3], inner[0] : inner[2]]
    # Beyond one side away nothing changes but the memory that the padding takes.
    borders = (
        min(max(0, inner[1] - top), bottom - top),
        min(max(0, bottom - inner[3]), bottom - top),
        min(max(0, inner[0] - left), right - left),
        min(max(0, right - inner[2]), right - left),
    )
    if not any(borders):
        return view
    kind = cv2.BORDER_CONSTANT if pad == "black" else cv2.BORDER_REPLICATE
    padded = cv2.copyMakeBorder(view, *borders, kind, value=(0, 0, 0))
    return np.asarray(padded[: bottom - top, : right - left], dtype=np.uint8)


def _averaged(image: Image, rect: Rect, width: int, height: int, pad: str) -> Image:
    """The mean over each pixel's area, of a window so large that its padding must not come to be in memory."""
    inner = inside(rect, image.shape[1], image.shape[0])
    view = image[inner[1] : inner[3], inner[0] : inner[2]].astype(np.float32)
    across = _area_weights(inner[0] - rect[0], inner[2] - rect[0], rect[2] - rect[0], width, pad)
    down = _area_weights(inner[1] - rect[1], inner[3] - rect[1], rect[3] - rect[1], height, pad)
    mean = np.einsum("yhc,xh->yxc", np.tensordot(down, view, axes=1), across, optimize=True)
    return np.asarray(np.clip(np.floor(mean + 0.5), 0, 255), dtype=np.uint8)


def _area_weights(first: int, last: int, length: int, count: int, pad: str) -> NDArray[np.float32]:
    """(count, last - first): what the source pixels [first, last) of a line of `length` give to each of `count` parts.

    What no source pixel covers is black, or goes to the pixel at that end.
    """
    edges = np.arange(count + 1) * (float(length) / count)
    pixels = float(first) + np.arange(last - first + 1, dtype=np.float64)
    begin, end = edges[:-1, None], edges[1:, None]
    share = np.clip(np.minimum(end, pixels[1:]) - np.maximum(begin, pixels[:-1]), 0, None)
    if pad == "edge":
        share[:, 0] += np.clip(pixels[0] - begin[:, 0], 0, edges[1])
        share[:, -1] += np.clip(end[:, 0] - pixels[-1], 0, edges[1])
    return np.asarray(share / edges[1], dtype=np.float32)


def _template(spec: CropSpec) -> NDArray[np.float64]:
    """Where the five points lie in the crop, (5, 2) pixels: the template widened by the margin."""
    scale = spec.size / (ALIGNED_SIDE * (1 + 2 * spec.margin))
    offset = np.array([spec.size / 2, spec.size / 2 - spec.shift_y * ALIGNED_SIDE * scale])
    return np.asarray((ALIGNED_POINTS - ALIGNED_SIDE / 2) * scale + offset)


def _pixels_per_pixel(matrix: NDArray[np.float64]) -> float:
    """How many pixels of the source, along a line, become one pixel of the crop."""
    return 1 / math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))


def _reach_aligned(points_xy: NDArray[np.float64], spec: CropSpec) -> Rect:
    """The box around the turned square in the source, with the room that interpolation needs."""
    base = np.floor(points_xy[0])
    matrix = similarity(points_xy - base, _template(spec))
    corners = np.array([[0, 0], [0, spec.size], [spec.size, 0], [spec.size, spec.size]], dtype=np.float64)
    # The inverse of a rotation with scale is its transpose over the squared scale.
    source = (corners - matrix[:, 2]) @ matrix[:, :2] * _pixels_per_pixel(matrix) ** 2
    room = 2 + math.ceil(_pixels_per_pixel(matrix))
    left, top = (math.floor(low) - room + int(b) for low, b in zip(source.min(axis=0), base, strict=True))
    right, bottom = (math.ceil(high) + room + int(b) for high, b in zip(source.max(axis=0), base, strict=True))
    return left, top, right, bottom


def _cut_aligned(image: Image, points_xy: NDArray[np.float64], spec: CropSpec, rect: Rect) -> Image:
    """Similarity warp that brings the five points onto the template, out of the pixels of `rect` alone."""
    target = _template(spec)
    width, height = rect[2] - rect[0], rect[3] - rect[1]
    local = points_xy - [rect[0], rect[1]]
    matrix = similarity(local, target)
    # Bilinear sampling aliases beyond a factor of two, so large faces are shrunk by area first.
    if (shrink := _pixels_per_pixel(matrix)) > 2:
        small = max(1, _half_up(width / shrink)), max(1, _half_up(height / shrink))
        window = _resized(image, rect, *small, spec.pad)
        matrix = similarity(local * [small[0] / width, small[1] / height], target)
    else:
        window = _window(image, rect, spec.pad)
    size = (spec.size, spec.size)
    warped = cv2.warpAffine(window, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, dtype=np.uint8)


def similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The (2, 3) rotation + scale + shift that best maps source (N, 2) onto target (N, 2), least squares.

    Closed form in complex numbers: minimise |a z + b - w|^2 over complex a, b. Raises ValueError when all source
    points coincide.
    """
    z, w = source[:, 0] + 1j * source[:, 1], target[:, 0] + 1j * target[:, 1]
    centred = z - z.mean()
    spread = float(np.vdot(centred, centred).real)
    if not math.isfinite(spread) or spread <= 0:
        raise ValueError(f"cannot align a face: its points {source.tolist()} coincide or are not finite")
    a = np.vdot(centred, w - w.mean()) / spread
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
