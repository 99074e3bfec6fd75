"""Fakes made of a real face alone: a changed copy of the face is blended into the face itself.

The idea is Shiohara and Yamasaki's (Detecting Deepfakes with Self-Blended Images, CVPR 2022): what all face swaps
leave behind is a seam, and a mismatch of colour, sharpness and position between the inside and the outside of it. A
judge that has seen only those marks does not learn the habits of one generator. The code is our own.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from faces.crop import Image
from train.augment.face_parts import Floats, face_scale, outline_in

# Of a face blended in: mostly all of it, sometimes partly, as in the paper.
STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)


def self_blend(image: Image, points_xy: Floats, rng: Generator) -> Image:
    """A fake of `image` (H, W, 3) uint8 RGB: its face, changed a little, blended into it inside a soft mask.

    points_xy: (5, 2) pixels. Either the inside or the outside gets the change, so that neither side's look gives the
    label away. The same generator state gives the same pixels.
    """
    inside, outside = image, image
    if rng.random() < 0.5:
        inside = _change(image, rng)
    else:
        outside = _change(image, rng)
    inside = _move(inside, rng)
    mask = _soft_mask(image.shape[:2], points_xy, rng) * rng.choice(STRENGTHS)
    blended = outside + mask[..., None] * (inside.astype(np.float32) - outside)
    return np.asarray(np.clip(np.round(blended), 0, 255), dtype=np.uint8)


def _change(image: Image, rng: Generator) -> Image:
    """Another colour, and another sharpness: what a generator does to a face."""
    # The paper shifts colours by up to 20 of 255 in three cases of ten; that much in all of them would be all one sees.
    most = 20 if rng.random() < 0.3 else 6
    shifted = image.astype(np.float32) + rng.uniform(-most, most, 3).astype(np.float32)
    contrast = rng.uniform(0.8, 1.2)
    mean = shifted.mean(axis=(0, 1), keepdims=True)
    out = np.clip((shifted - mean) * contrast + mean, 0, 255).astype(np.uint8)
    height, width = image.shape[:2]
    if rng.random() < 0.6:
        factor = rng.uniform(0.25, 0.7)
        small = max(4, round(width * factor)), max(4, round(height * factor))
        shrunk = cv2.resize(out, small, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    soft = cv2.GaussianBlur(out, (0, 0), 1.5)
    return np.asarray(cv2.addWeighted(out, 1.8, soft, -0.8, 0), dtype=np.uint8)


def _move(image: Image, rng: Generator) -> Image:
    """The copy never fits exactly: up to 3 % shift, 5 % size."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-2, 2), rng.uniform(0.95, 1.05))
    matrix[:, 2] += rng.uniform(-0.03, 0.03, 2) * np.array([width, height])
    moved = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, dtype=np.uint8)


def _soft_mask(shape: tuple[int, int], points_xy: Floats, rng: Generator) -> NDArray[np.float32]:
    """The face's convex hull, or its lower or inner part, bent and blurred: (H, W) from 0 to 1."""
    outline = outline_in(points_xy)
    scale, middle = face_scale(points_xy), outline.mean(axis=0)
    kind = rng.random()
    if kind < 0.25:  # below the eyes only
        outline = outline[:11]
    elif kind < 0.5:  # eyes, nose and mouth only
        outline = middle + (outline - middle) * rng.uniform(0.6, 0.8)
    outline = outline + rng.uniform(-4, 4, outline.shape) * scale
    mask = np.zeros(shape, dtype=np.float32)
    cv2.fillConvexPoly(mask, np.round(cv2.convexHull(outline.astype(np.float32))).astype(np.int32), 1.0)
    blurred = cv2.GaussianBlur(mask, (0, 0), max(0.5, rng.uniform(1.0, 6.0) * scale))
    return np.asarray(blurred, dtype=np.float32)
