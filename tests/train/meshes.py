"""Meshes of faces that were never found by a network: every part where a face has it, on an ellipse."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from train.augment import mesh
from train.augment.mesh import Meshes


def make_mesh(middle: tuple[float, float], radius: float, turn: float = 0.0) -> np.ndarray:
    """(468, 2) float32 pixels: the outline on an ellipse of half width `radius`, parts inside, turned by radians."""
    points = np.zeros((mesh.POINTS, 2))
    angle = np.linspace(-np.pi / 2, 3 * np.pi / 2, len(mesh.OVAL), endpoint=False)
    points[list(mesh.OVAL)] = np.stack([np.cos(angle), 1.3 * np.sin(angle)], axis=1)
    for part, x, y, wide, high in (
        (mesh.RIGHT_EYE, -0.45, -0.25, 0.2, 0.08),
        (mesh.LEFT_EYE, 0.45, -0.25, 0.2, 0.08),
        (mesh.RIGHT_BROW, -0.45, -0.5, 0.28, 0.05),
        (mesh.LEFT_BROW, 0.45, -0.5, 0.28, 0.05),
        (mesh.LIPS, 0.0, 0.65, 0.35, 0.12),
        (mesh.NOSE, 0.0, 0.1, 0.18, 0.35),
        ((205, 425), 0.0, 0.25, 0.5, 0.02),
    ):
        around = np.linspace(0, 2 * np.pi, len(part), endpoint=False) + 0.1
        points[list(part)] = np.stack([x + wide * np.cos(around), y + high * np.sin(around)], axis=1)
    c, s = np.cos(turn), np.sin(turn)
    return (points @ np.array([[c, s], [-s, c]]) * radius + middle).astype(np.float32)


def make_meshes(names: Sequence[str], size: int, radius: float | None = None) -> Meshes:
    """One mesh in the middle of each of some square crops, no two quite alike."""
    half = radius or 0.32 * size
    points = [make_mesh((size / 2, size / 2), half * (1 - 0.01 * (i % 7))) for i in range(len(names))]
    return Meshes.of_points(names, np.stack(points).astype(np.float16))


def write_meshes(path: Path, names: Sequence[str], size: int) -> None:
    """The file that scripts/find_mesh.py would write for some square crops."""
    meshes = make_meshes(list(names), size)
    np.savez_compressed(path, faces=np.array(meshes.names), points=meshes.points)


def noise_picture(size, seed=0):
    """(size, size, 3) uint8: colours that change slowly from place to place."""
    small = np.random.default_rng(seed).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
