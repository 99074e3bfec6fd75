"""BlazeFace (Bazarevsky et al. 2019): what its two networks are, their anchors, decoding, a suppression that ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import DfdcError
from common.files import sha256_of
from faces.boxes import iou_matrix

WEIGHTS_DIR = Path(__file__).resolve().parent / "weights"
POINTS = 6  # right eye, left eye, nose, mouth, right ear, left ear (the person's right)
ANCHORS = 896


@dataclass(frozen=True)
class Variant:
    """One of the two published networks. A block is (channels out, stride)."""

    name: str
    size: int  # pixels, the side of the square input
    blocks: tuple[tuple[int, int], ...]  # down to the map of 16 x 16
    final: tuple[tuple[int, int], ...]  # from there to the map of 8 x 8
    final_skips: bool  # whether the last blocks have skip connections
    sha256: str  # of faces/weights/blazeface_<name>.safetensors


FRONT = Variant(
    name="front",
    size=128,
    blocks=((24, 1), (28, 1), (32, 2), (36, 1), (42, 1), (48, 2), (56, 1), (64, 1), (72, 1), (80, 1), (88, 1)),
    final=((96, 2), (96, 1), (96, 1), (96, 1), (96, 1)),
    final_skips=True,
    sha256="bddadc3821be16da47ef5ea7f85ec0a78865c5190c724b5c12a5a758c0fb311b",
)
BACK = Variant(
    name="back",
    size=256,
    blocks=((24, 1),) * 7 + ((24, 2),) + ((24, 1),) * 7 + ((48, 2),) + ((48, 1),) * 7 + ((96, 2),) + ((96, 1),) * 7,
    final=((96, 2),),
    final_skips=False,
    sha256="b8e0c54a91ccd8db8ac83a8ded6d17b0f98c3da9af04361b8fb4930a55002d43",
)
VARIANTS = {"front": FRONT, "back": BACK}


def check_weights(variant: Variant) -> Path:
    """The file of a network's weights; DfdcError when it is missing or its SHA-256 is not the expected one."""
    path = WEIGHTS_DIR / f"blazeface_{variant.name}.safetensors"
    if not path.exists():
        raise DfdcError(f"{path} is missing; make it with: python scripts/convert_blazeface.py")
    if (actual := sha256_of(path)) != variant.sha256:
        raise DfdcError(f"{path} has SHA-256 {actual}, expected {variant.sha256}; fetch the file again")
    return path


def anchors() -> NDArray[np.float32]:
    """Centres of the 896 anchors, (896, 2) x, y in 0..1: 2 on each cell of 16 x 16, then 6 on each of 8 x 8.

    The SSD anchors of MediaPipe's face detector with fixed size 1: only their centres matter.
    """
    parts = []
    for cells, repeat in ((16, 2), (8, 6)):
        centre = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        y, x = np.meshgrid(centre, centre, indexing="ij")
        parts.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), repeat, axis=0))
    return np.concatenate(parts)


def decode_boxes(raw: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Raw network boxes (..., 896, 16) to (..., 896, 16) in 0..1 of the input: x0, y0, x1, y1, then 6 points x, y.

    Raw values are pixels of the input relative to the anchor's centre: centre x, centre y, width, height, points.
    """
    centre = anchors()
    scaled = raw / np.float32(size)
    middle, half = scaled[..., 0:2] + centre, scaled[..., 2:4] / 2
    points = scaled[..., 4:].reshape(*raw.shape[:-1], POINTS, 2) + centre[:, None, :]
    return np.concatenate([middle - half, middle + half, points.reshape(*raw.shape[:-1], POINTS * 2)], axis=-1)


def weighted_nms(
    detections: NDArray[np.float32], scores: NDArray[np.float32], overlap: float = 0.3
) -> NDArray[np.intp]:
    """Group overlapping detections: the group's index of each row, groups numbered by their best score; -1 is refused.

    detections: (N, 4+) x0, y0, x1, y1, .... scores: (N,). A row that is not finite, inverted or without area belongs
    to no group. Every pass takes at least its own seed out, so the loop ends after at most N passes whatever comes in.
    """
    group = np.full(len(detections), -1, dtype=np.intp)
    boxes = detections[:, :4].astype(np.float64)
    # Negated so that NaN counts as bad.
    good = np.isfinite(detections).all(axis=1) & np.isfinite(scores)
    good &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    order = np.flatnonzero(good)
    order = order[np.argsort(-scores[order], kind="stable")]
    number = 0
    while len(order):
        close = iou_matrix(boxes[order[:1]], boxes[order])[0] > overlap
        close[0] = True
        group[order[close]] = number
        order, number = order[~close], number + 1
    return group


def merge_groups(
    detections: NDArray[np.float32], scores: NDArray[np.float32], group: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Blend each group into one detection, weighted by score: (G, D) detections and (G,) best scores.

    Averaging the members steadies the box between frames (Bazarevsky et al. 2019, section 3.4).
    """
    count = int(group.max(initial=-1)) + 1
    kept = group >= 0
    weight = np.maximum(scores[kept], 1e-6).astype(np.float64)
    total = np.bincount(group[kept], weights=weight, minlength=count)
    merged = np.zeros((count, detections.shape[1]), dtype=np.float64)
    np.add.at(merged, group[kept], detections[kept] * weight[:, None])
    best = np.zeros(count, dtype=np.float32)
    np.maximum.at(best, group[kept], scores[kept])
    return (merged / total[:, None]).astype(np.float32), best
