"""The dense meshes of stored faces: the outline and the parts of each, and other faces of like pose."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float32]

POINTS = 468

# Numbers of MediaPipe's face mesh (canonical_face_model_uv_visualization.png of that project): the outline clockwise
# from the middle of the forehead, and the parts.
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
LEFT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
NOSE = (168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 327, 129, 358)

# Corners that a face is warped by: enough to follow pose and expression, few enough to be quick.
_CHOSEN = (OVAL[::2], LIPS[::2], RIGHT_EYE[::4], LEFT_EYE[::4], RIGHT_BROW[::3], LEFT_BROW[::3], NOSE[::2])
ANCHORS = tuple(dict.fromkeys(point for part in _CHOSEN for point in part))


@dataclass(frozen=True)
class Meshes:
    """Meshes by the name of their face."""

    row_of: dict[str, int]
    points: NDArray[np.float16]  # (N, 468, 2) pixels of the stored crop, all finite
    names: tuple[str, ...]
    poses: Floats  # (N, D) the mesh without its place, size and slant

    @classmethod
    def read(cls, path: Path, only: set[str] | None = None) -> Meshes:
        """Read what scripts/find_mesh.py wrote; faces without a mesh are left out.

        Args:
            path: the .npz file.
            only: names to keep; all where it is None.

        Raises:
            ValueError: the file does not hold meshes of POINTS points.
        """
        with np.load(path) as file:
            if not {"faces", "points"} <= set(file.files):
                raise ValueError(f"{path} holds {file.files}, not faces and points; make it with scripts/find_mesh.py")
            faces, points = file["faces"], file["points"]
        if points.shape != (len(faces), POINTS, 2):
            raise ValueError(f"{path} holds points of shape {points.shape}, expected ({len(faces)}, {POINTS}, 2)")
        kept = np.isfinite(points).all(axis=(1, 2)) & np.array([only is None or name in only for name in faces], bool)
        return cls.of_points([str(name) for name in faces[kept]], points[kept])

    @classmethod
    def of_points(cls, names: Sequence[str], points: NDArray[np.float16]) -> Meshes:
        """Make it from N names and their meshes, (N, 468, 2) pixels, all finite."""
        return cls({name: row for row, name in enumerate(names)}, points, tuple(names), _poses(points))

    def of(self, name: str) -> Floats | None:
        """Return the mesh of one face, (468, 2) pixels of its stored crop, or None."""
        row = self.row_of.get(name)
        return None if row is None else self.points[row].astype(np.float32)

    def sha256(self) -> str:
        """Return the hex SHA-256 over the names and the points, in their order."""
        digest = hashlib.sha256("\n".join(self.names).encode("utf-8", "surrogateescape"))
        digest.update(np.ascontiguousarray(self.points).tobytes())
        return digest.hexdigest()

    def like(self, name: str, rng: Generator, candidates: int = 200) -> str:
        """Name another face of like pose, the nearest of `candidates` drawn at random; itself where it is alone."""
        row = self.row_of[name]
        drawn = rng.integers(len(self.names), size=candidates)
        drawn = drawn[drawn != row]
        if not len(drawn) and len(self.names) > 1:  # of very few: any other
            drawn = (row + rng.integers(1, len(self.names), size=1)) % len(self.names)
        distance = ((self.poses[drawn] - self.poses[row]) ** 2).sum(axis=1)
        return self.names[int(drawn[distance.argmin()])] if len(drawn) else name


def _poses(points: NDArray[np.float16]) -> Floats:
    """Anchors about their mean, of spread 1, turned until the eyes lie level: (N, 2 A)."""
    if not len(points):
        return np.zeros((0, 2 * len(ANCHORS)), dtype=np.float32)
    z = points[:, ANCHORS, 0].astype(np.float32) + 1j * points[:, ANCHORS, 1].astype(np.float32)
    eyes = points[:, 263].astype(np.float32) - points[:, 33].astype(np.float32)
    z = (z - z.mean(axis=1, keepdims=True)) * np.exp(-1j * np.arctan2(eyes[:, 1], eyes[:, 0]))[:, None]
    z /= np.sqrt((np.abs(z) ** 2).mean(axis=1, keepdims=True))
    return np.concatenate([z.real, z.imag], axis=1).astype(np.float32)
