"""An original's frame against the same frame of its fake: what is changed, where it lies, and pictures of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from common.files import atomic_path
from faces.crop import Image

CHANGED = 32  # of 255: a pixel is changed where a colour differs by more; compression alone seldom does that much
AMPLIFIED = 4  # by so much the difference is brightened in the pictures
PANEL = 320  # pixels: the longer side of each picture in a strip
GAP = 4  # pixels between the pictures of a strip


@dataclass(frozen=True, eq=False)
class Difference:
    """One frame of a fake held against the same frame of its original."""

    image: Image  # (H, W, 3), the absolute difference, not amplified
    changed: NDArray[np.bool_]  # (H, W)
    box_xyxy: tuple[int, int, int, int] | None  # pixels, around the largest changed region; None where nothing is

    @property
    def share(self) -> float:
        """Changed pixels of all, 0..1."""
        return float(self.changed.mean())

    def share_inside(self, box: NDArray[np.float32]) -> float:
        """Of the changed pixels, those in a box (4,) in pixels, 0..1; NaN where no pixel is changed."""
        height, width = self.changed.shape
        x0, y0, x1, y1 = np.clip(np.round(box).astype(int), 0, [width, height, width, height])
        total = int(self.changed.sum())
        return float(self.changed[y0:y1, x0:x1].sum() / total) if total else float("nan")


def difference(original: Image, fake: Image) -> Difference:
    """Compare two images of one size.

    A pixel is changed where any colour differs by more than CHANGED. The box is that of the largest region after
    closing gaps of a fiftieth of the short side, so that single specks of compression do not widen it.

    Args:
        original: (H, W, 3) uint8 RGB.
        fake: of the same shape.

    Raises:
        ValueError: the images are not of one size.
    """
    if original.shape != fake.shape:
        raise ValueError(f"an original of {original.shape} and a fake of {fake.shape}: images of one size are needed")
    image = np.asarray(cv2.absdiff(original, fake), dtype=np.uint8)
    changed = image.max(axis=2) > CHANGED
    side = max(3, min(changed.shape) // 50)
    closed = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((side, side), np.uint8))
    count, names = cv2.connectedComponents(closed)
    if count < 2:
        return Difference(image, changed, None)
    sizes = np.bincount(names[changed], minlength=count)
    y, x = np.nonzero(names == 1 + int(sizes[1:].argmax()))
    return Difference(image, changed, (int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1))


def draw_difference(
    fake: str, number: int, real: Image, made: Image, faces: NDArray[np.float32], folder: Path
) -> dict[str, str]:
    """Draw two strips original | fake | difference: whole frames with the changed region marked, and a close view.

    Args:
        fake: name of the fake, after which the files are named.
        number: of the frame.
        real: the original's frame, (H, W, 3) uint8 RGB.
        made: the fake's frame, of the same shape.
        faces: (N, 4) boxes in pixels; they are shown closely where nothing is changed.
        folder: where the strips are written.

    Returns:
        The names of the files: {"whole": ..., "close": ...}.
    """
    found = difference(real, made)
    bright = np.asarray(cv2.convertScaleAbs(found.image, alpha=AMPLIFIED), dtype=np.uint8)
    left, top, side = _square(found, faces)
    marked = bright.copy()
    if found.box_xyxy:
        x0, y0, x1, y1 = found.box_xyxy
        cv2.rectangle(
            marked, (x0, y0), (x1 - 1, y1 - 1), (255, 214, 64), max(1, round(max(real.shape[:2]) / PANEL * 2))
        )
    close = (slice(top, top + side), slice(left, left + side))
    stem = f"{sha256(fake.encode()).hexdigest()[:12]}_{number}"  # a name from a file may hold anything
    _write_strip(folder / f"{stem}_whole.jpg", (real, made, marked))
    _write_strip(folder / f"{stem}_close.jpg", (real[close], made[close], bright[close]))
    return {"whole": f"{stem}_whole.jpg", "close": f"{stem}_close.jpg"}


def _square(found: Difference, faces: NDArray[np.float32]) -> tuple[int, int, int]:
    """Left, top and side of a square around the changed region, else the face, else all; inside the frame."""
    height, width = found.changed.shape
    box = found.box_xyxy or (tuple(faces[0].tolist()) if len(faces) else (0, 0, width, height))
    side = int(min(height, width, max(64, 1.3 * max(box[2] - box[0], box[3] - box[1]))))
    left = int(np.clip((box[0] + box[2] - side) / 2, 0, width - side))
    top = int(np.clip((box[1] + box[3] - side) / 2, 0, height - side))
    return left, top, side


def _write_strip(path: Path, images: Iterable[Image]) -> None:
    panels = []
    for image in images:
        scale = PANEL / max(image.shape[:2])
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        panels.append(cv2.resize(image, size, interpolation=way))
        panels.append(np.full((size[1], GAP, 3), 128, np.uint8))
    strip = cv2.cvtColor(np.hstack(panels[:-1]), cv2.COLOR_RGB2BGR)
    with atomic_path(path) as temporary:
        temporary.write_bytes(cv2.imencode(".jpg", strip, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes())
