"""Colour and sharpness of one side of a blend: changed as generators change them, or matched to the other side."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from faces.crop import Image
from train.augment.masks import Mask
from train.augment.photometric import jpeg


def change_look(image: Image, rng: Generator) -> Image:
    """Change colour and sharpness of (H, W, 3) uint8 RGB, as a generator does: each sometimes, one of them always."""
    colour, out = rng.random() < 0.75, image
    if colour:
        out = _recolour(out, rng)
    if not colour or rng.random() < 0.75:
        out = _sharpen(out, rng) if rng.random() < 0.35 else resample(out, rng)
    if rng.random() < 0.15:
        out = jpeg(out, rng)
    return out


def _recolour(image: Image, rng: Generator) -> Image:
    """Shift channels by up to 20 of 255, hue by up to 5 of 180, saturation and contrast by a quarter."""
    out = image.astype(np.float32)
    if rng.random() < 0.6:
        most = 20.0 if rng.random() < 0.3 else 8.0
        out = out + rng.uniform(-most, most, 3).astype(np.float32)
    if rng.random() < 0.5:
        mean = out.mean(axis=(0, 1), keepdims=True)
        out = (out - mean) * np.float32(rng.uniform(0.8, 1.2)) + mean + np.float32(rng.uniform(-8, 8))
    rounded = np.clip(out, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        hsv = cv2.cvtColor(rounded, cv2.COLOR_RGB2HSV).astype(np.int16)
        hsv[..., 0] = (hsv[..., 0] + rng.integers(-5, 6)) % 180
        hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.75, 1.25), 0, 255)
        rounded = np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB), dtype=np.uint8)
    return rounded


def _sharpen(image: Image, rng: Generator) -> Image:
    amount = float(rng.uniform(0.3, 1.0))
    soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 2.0))
    return np.asarray(cv2.addWeighted(image, 1 + amount, soft, -amount, 0), dtype=np.uint8)


def resample(image: Image, rng: Generator) -> Image:
    """Softer: down and up again, or blurred."""
    height, width = image.shape[:2]
    if rng.random() < 0.3:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2.0)), dtype=np.uint8)
    factor = rng.uniform(0.25, 0.8)
    small = max(8, round(width * factor)), max(8, round(height * factor))
    methods = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
    shrunk = cv2.resize(image, small, interpolation=methods[rng.integers(3)])
    return np.asarray(cv2.resize(shrunk, (width, height), interpolation=methods[1 + rng.integers(2)]), dtype=np.uint8)


def match_colour(source: Image, target: Image, mask: Mask) -> Image:
    """Give an image the mean and the spread of another's Lab colours inside a mask (Reinhard et al. 2001).

    Args:
        source: (H, W, 3) uint8 RGB, which changes.
        target: (H, W, 3) uint8 RGB, whose colours it gets.
        mask: (H, W) float32; the colours are measured where it is above 0.5.

    Returns:
        (H, W, 3) uint8 RGB; `source` itself where the mask has fewer than 16 pixels.
    """
    inside = mask > 0.5
    if int(inside.sum()) < 16:
        return source
    ours = cv2.cvtColor(source, cv2.COLOR_RGB2LAB).astype(np.float32)
    theirs = cv2.cvtColor(target, cv2.COLOR_RGB2LAB).astype(np.float32)[inside]
    spread = np.clip(theirs.std(axis=0) / np.maximum(ours[inside].std(axis=0), 1e-3), 0.6, 1.7)
    matched = (ours - ours[inside].mean(axis=0)) * spread + theirs.mean(axis=0)
    return np.asarray(cv2.cvtColor(np.clip(matched, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB), dtype=np.uint8)
