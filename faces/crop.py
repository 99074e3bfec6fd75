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

# Where the five points (right eye, left eye, nose, right and left mouth corner, as seen by the viewer from the
# left) lie in an aligned face of side 1: the 112 x 96 template of SphereFace (Liu et al. 2017), squared to 112.
ALIGNED_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    dtype=np.float64,
)
ALIGNED_SIDE = 112.0


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
    side = _side(x0, y0, x1, y1)
    return (x0 + x1) / 2, (y0 + y1) / 2 + spec.shift_y * side, side * (1 + 2 * spec.margin)


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
    order of ALIGNED_POINTS, needed when spec.align is "5pt". Returns (size, size, 3) uint8 RGB.
    Raises ValueError for a box without area, or not finite, or without points where they are needed.
    """
    x0, y0, x1, y1 = (float(v) for v in box_xyxy)
    if not all(map(math.isfinite, (x0, y0, x1, y1))) or x1 <= x0 or y1 <= y0:
        raise ValueError(f"cannot cut a face: box {[x0, y0, x1, y1]} has no area or is not finite")
    if spec.align == "5pt":
        if points_xy is None:
            raise ValueError(f"CropSpec {spec.name!r} aligns by five points, and the face has none")
        return _cut_aligned(image, np.asarray(points_xy, dtype=np.float64), spec)
    centre_x, centre_y, side = square_around(box_xyxy, spec)
    if side > 4 * max(image.shape[:2]):
        # The frame is a speck in this square: shrunk first, or the padding around it would fill the memory.
        factor = spec.size / side
        image = _shrunk(image, factor)
        centre_x, centre_y, side = centre_x * factor, centre_y * factor, float(spec.size)
    # Beyond one side away nothing changes but the memory that the padding takes.
    height, width = image.shape[:2]
    whole = max(1, round(side))
    left = round(min(max(centre_x - side / 2, -whole), width))
    top = round(min(max(centre_y - side / 2, -whole), height))
    return _resize(_window(image, left, top, whole, spec.pad), spec.size)


def _side(x0: float, y0: float, x1: float, y1: float) -> float:
    return ((x1 - x0) + (y1 - y0)) / 2


def _shrunk(image: Image, factor: float) -> Image:
    """The image by area averaging, each side times `factor`, at least one pixel."""
    height, width = image.shape[:2]
    small = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _window(image: Image, left: int, top: int, side: int, pad: str) -> Image:
    """The square [top, top+side) x [left, left+side), padded where it leaves the image."""
    height, width = image.shape[:2]
    if pad == "black" and (left >= width or top >= height or left + side <= 0 or top + side <= 0):
        return np.zeros((side, side, 3), dtype=np.uint8)
    # A square wholly outside the frame still gives a crop: the nearest strip of pixels, or black.
    inner_left, inner_top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    inner_right, inner_bottom = (
        max(min(left + side, width), inner_left + 1),
        max(min(top + side, height), inner_top + 1),
    )
    view = image[inner_top:inner_bottom, inner_left:inner_right]
    borders = (
        max(0, inner_top - top),
        max(0, top + side - inner_bottom),
        max(0, inner_left - left),
        max(0, left + side - inner_right),
    )
    if not any(borders):
        return view
    kind = cv2.BORDER_CONSTANT if pad == "black" else cv2.BORDER_REPLICATE
    padded = cv2.copyMakeBorder(view, *borders, kind, value=(0, 0, 0))
    return np.asarray(padded[:side, :side], dtype=np.uint8)


def _resize(window: Image, size: int) -> Image:
    """Area averaging when shrinking (no aliasing), bilinear when growing."""
    if window.shape[0] == size and window.shape[1] == size:
        return np.array(window, order="C")  # a copy: the frame is not ours to lend
    method = cv2.INTER_AREA if window.shape[0] > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(window, (size, size), interpolation=method), dtype=np.uint8)


def _cut_aligned(image: Image, points_xy: NDArray[np.float64], spec: CropSpec) -> Image:
    """Similarity warp that brings the five points onto the template, widened by the margin."""
    scale = spec.size / (ALIGNED_SIDE * (1 + 2 * spec.margin))
    offset = np.array([spec.size / 2, spec.size / 2 - spec.shift_y * ALIGNED_SIDE * scale])
    target = (ALIGNED_POINTS - ALIGNED_SIDE / 2) * scale + offset
    matrix = similarity(points_xy, target)
    # Bilinear sampling aliases beyond a factor of two, so large faces are shrunk by area first.
    shrink = 1 / math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
    if shrink > 2:
        height, width = image.shape[:2]
        image = _shrunk(image, 1 / shrink)
        matrix = similarity(points_xy * [image.shape[1] / width, image.shape[0] / height], target)
    border = cv2.BORDER_CONSTANT if spec.pad == "black" else cv2.BORDER_REPLICATE
    warped = cv2.warpAffine(image, matrix, (spec.size, spec.size), flags=cv2.INTER_LINEAR, borderMode=border)
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
