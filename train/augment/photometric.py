"""Random changes of a face crop in training: what cameras, codecs and re-uploads do to a face.

Every change takes a crop (S, S, 3) uint8 RGB and a generator, and returns a crop of the same shape.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from faces.crop import Image
from train.augment.degrade import through_jpeg


def augment(crop: Image, rng: Generator, kind: str = "standard") -> Image:
    """Make one random variant of a crop.

    Args:
        crop: (S, S, 3) uint8 RGB.
        rng: the same state gives the same pixels.
        kind: a name in KINDS.

    Returns:
        (S, S, 3) uint8 RGB, contiguous.

    Raises:
        ValueError: no set of augmentations has this name.
    """
    if kind not in KINDS:
        raise ValueError(f"no set of augmentations is called {kind!r}; known: {', '.join(KINDS)}")
    return np.ascontiguousarray(KINDS[kind](crop, rng))


def standard(crop: Image, rng: Generator) -> Image:
    """Change as a picture changes on its way: scene (flip, geometry, light), camera (blur, noise), codec."""
    image = geometry(crop, rng)
    if rng.random() < 0.5:
        image = brightness_contrast(image, rng)
    if rng.random() < 0.3:
        image = hue_saturation(image, rng)
    if rng.random() < 0.1:
        image = blur(image, rng)
    if rng.random() < 0.15:
        image = noise(image, rng)
    if rng.random() < 0.25:
        image = down_up(image, rng)
    if rng.random() < 0.5:
        image = jpeg(image, rng)
    return image


def geometry(crop: Image, rng: Generator) -> Image:
    """Move the pixels as `standard` does before it changes them: flip, shift, scale, rotate."""
    image = crop[:, ::-1] if rng.random() < 0.5 else crop
    return shift_scale_rotate(image, rng) if rng.random() < 0.5 else image


def strong(crop: Image, rng: Generator) -> Image:
    """Change as `standard` does, and add grey pictures, shuffled channels and erased rectangles: for small data."""
    image = standard(crop, rng)
    if rng.random() < 0.15:
        image = np.repeat(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    elif rng.random() < 0.1:
        image = image[..., rng.permutation(3)]
    if rng.random() < 0.25:
        image = erase(image, rng)
    return image


def keras(crop: Image, rng: Generator) -> Image:
    """Change as the R tutorial asks of Keras' image_data_generator: rotation 40, shifts, shear and zoom 0.2, flip.

    As there, the two zooms are drawn apart, shear is in degrees, and the nearest pixel fills.
    """
    size = crop.shape[0]
    theta, shear = np.deg2rad(rng.uniform(-40, 40)), np.deg2rad(rng.uniform(-0.2, 0.2))
    zoom_y, zoom_x = rng.uniform(0.8, 1.2, 2)
    shift = rng.uniform(-0.2, 0.2, 2) * size
    rotated = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
    linear = rotated @ np.array([[1, -np.sin(shear)], [0, np.cos(shear)]]) @ np.diag([zoom_x, zoom_y])
    centre = np.array([(size - 1) / 2, (size - 1) / 2])
    matrix = np.column_stack([linear, centre + rotated @ shift - linear @ centre])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(crop, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped[:, ::-1] if rng.random() < 0.5 else warped, dtype=np.uint8)


def none(crop: Image, rng: Generator) -> Image:
    """Change nothing."""
    return crop


# The sets that begin with `geometry` and move no pixel after it: what is known of a place can be moved along.
MOVED_BY_GEOMETRY = ("standard", "strong")

KINDS = {"standard": standard, "strong": strong, "keras": keras, "none": none}


def erase(image: Image, rng: Generator) -> Image:
    """Replace one rectangle of 2 to 15 % of the area by noise."""
    size = image.shape[0]
    area, ratio = rng.uniform(0.02, 0.15), np.exp(rng.uniform(-1, 1))
    height, width = (min(size, max(1, round(size * v))) for v in (np.sqrt(area * ratio), np.sqrt(area / ratio)))
    top, left = rng.integers(size - height + 1), rng.integers(size - width + 1)
    out = image.copy()
    out[top : top + height, left : left + width] = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return out


def shift_scale_rotate(image: Image, rng: Generator) -> Image:
    """Shift by up to 6 % of the side, scale by 0.88 to 1.12, rotate by up to 12 degrees; the edge is repeated."""
    size = image.shape[0]
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), rng.uniform(-12, 12), rng.uniform(0.88, 1.12))
    matrix[:, 2] += rng.uniform(-0.06, 0.06, 2) * size
    warped = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, dtype=np.uint8)


def brightness_contrast(image: Image, rng: Generator) -> Image:
    """Change contrast by 0.75 to 1.25 about the mean, and brightness by up to 30 of 255."""
    contrast, brightness = rng.uniform(0.75, 1.25), rng.uniform(-30, 30)
    table = np.arange(256, dtype=np.float32)
    mean = float(image.mean())
    table = (table - mean) * contrast + mean + brightness
    return np.asarray(cv2.LUT(image, np.clip(table, 0, 255).astype(np.uint8)), dtype=np.uint8)


def hue_saturation(image: Image, rng: Generator) -> Image:
    """Change hue by up to 10 of 180 (20 degrees), saturation by 0.7 to 1.3."""
    hue, saturation = rng.integers(-10, 11), rng.uniform(0.7, 1.3)
    hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV)
    values = np.arange(256)
    hue_table = ((values + hue) % 180).astype(np.uint8)
    saturation_table = np.clip(values * saturation, 0, 255).astype(np.uint8)
    hsv[..., 0] = cv2.LUT(hsv[..., 0], hue_table)
    hsv[..., 1] = cv2.LUT(hsv[..., 1], saturation_table)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), dtype=np.uint8)


def blur(image: Image, rng: Generator) -> Image:
    """Blur by a Gaussian of sigma 0.4 to 1.6 pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6)), dtype=np.uint8)


def noise(image: Image, rng: Generator) -> Image:
    """Add Gaussian noise of standard deviation 2 to 10 of 255."""
    grain = rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(2, 10)
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def down_up(image: Image, rng: Generator) -> Image:
    """Shrink to between a third and all of the size and back, as small faces and re-uploads are."""
    size = image.shape[0]
    small = max(8, round(size * rng.uniform(0.33, 0.95)))
    methods = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
    shrunk = cv2.resize(image, (small, small), interpolation=methods[rng.integers(len(methods))])
    grown = cv2.resize(shrunk, (size, size), interpolation=methods[1 + rng.integers(len(methods) - 1)])
    return np.asarray(grown, dtype=np.uint8)


def jpeg(image: Image, rng: Generator) -> Image:
    """Compress to JPEG at quality 40 to 100, and back."""
    return through_jpeg(image, int(rng.integers(40, 101)))
