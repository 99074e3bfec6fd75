"""What the tests of crops share: pictures, boxes, points and what is found in a picture."""

import numpy as np

from faces.crop import CropSpec

NAN, INF = float("nan"), float("inf")
SPEC = CropSpec("test", 8)
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(1, 256, (20, 20, 3), dtype=np.uint8)  # no black pixel
WIDE = RNG.integers(1, 256, (48, 64, 3), dtype=np.uint8)
MEGAPIXEL_MB = 3.0  # what a crop may take, whatever its box


def box(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def moved(points: np.ndarray, angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    """Turned by degrees, scaled, shifted."""
    c, s = np.cos(np.radians(angle)) * scale, np.sin(np.radians(angle)) * scale
    return points @ np.array([[c, -s], [s, c]]).T + shift


def dots(points: np.ndarray, radius: float, side: int) -> list[np.ndarray]:
    """One image per point, with a soft white dot there."""
    y, x = np.mgrid[:side, :side]
    squares = [(x - px) ** 2 + (y - py) ** 2 for px, py in points]
    return [np.repeat((255 * np.exp(-s / (2 * radius**2))).astype(np.uint8)[..., None], 3, axis=2) for s in squares]


def centroid(image: np.ndarray) -> tuple[float, float]:
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    weight = image[..., 0].astype(float)
    return float((x * weight).sum() / weight.sum()), float((y * weight).sum() / weight.sum())
