"""BlazeFace (Bazarevsky et al. 2019) in torch: two networks, their anchors, decoding, and a suppression that ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

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


class BlazeBlock(nn.Module):
    """Depthwise 3 x 3, pointwise 1 x 1, and a skip that is max-pooled and padded with zero channels to fit."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, skip: bool = True) -> None:
        super().__init__()
        self.stride, self.extra, self.skip = stride, channels_out - channels_in, skip
        pad = 0 if stride == 2 else 1
        self.depthwise = nn.Conv2d(channels_in, channels_in, 3, stride, pad, groups=channels_in)
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # TensorFlow's "same" padding puts the odd pixel at the end.
        padded = functional.pad(x, (0, 1, 0, 1)) if self.stride == 2 else x
        out: torch.Tensor = self.pointwise(self.depthwise(padded))
        if self.skip:
            base = functional.max_pool2d(x, 2) if self.stride == 2 else x
            out = out + functional.pad(base, (0, 0, 0, 0, 0, self.extra))
        return functional.relu(out)


class BlazeFace(nn.Module):
    """(N, S, S, 3) uint8 RGB -> raw boxes (N, 896, 16) in pixels of the input, logits (N, 896)."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        self.stem = nn.Conv2d(3, 24, 5, 2)
        widths = [24, *(c for c, _ in variant.blocks)]
        self.blocks = nn.Sequential(*(BlazeBlock(w, c, s) for w, (c, s) in zip(widths, variant.blocks, strict=False)))
        deep = [widths[-1], *(c for c, _ in variant.final)]
        self.final = nn.Sequential(
            *(BlazeBlock(w, c, s, variant.final_skips) for w, (c, s) in zip(deep, variant.final, strict=False))
        )
        self.score_16, self.score_8 = nn.Conv2d(widths[-1], 2, 1), nn.Conv2d(deep[-1], 6, 1)
        self.box_16, self.box_8 = nn.Conv2d(widths[-1], 32, 1), nn.Conv2d(deep[-1], 96, 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalises to [-1, 1] itself, so that bytes travel."""
        x = images.permute(0, 3, 1, 2).to(self.stem.weight.dtype) / 127.5 - 1
        x = functional.relu(self.stem(functional.pad(x, (1, 2, 1, 2))))
        mid = self.blocks(x)
        deep = self.final(mid)
        boxes = [_flat(self.box_16(mid), 16), _flat(self.box_8(deep), 16)]
        scores = [_flat(self.score_16(mid), 1), _flat(self.score_8(deep), 1)]
        return torch.cat(boxes, 1), torch.cat(scores, 1).squeeze(2)


def _flat(maps: torch.Tensor, width: int) -> torch.Tensor:
    """(N, A * width, H, W) -> (N, H * W * A, width), the anchors' order."""
    flat: torch.Tensor = maps.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, width))
    return flat


def load_blazeface(name: str) -> BlazeFace:
    """The network `front` or `back` with its weights, float32, eval mode.

    Raises ValueError for another name, DfdcError when the weights are missing or their SHA-256 is not the expected one.
    """
    if name not in VARIANTS:
        raise ValueError(f"BlazeFace has no variant {name!r}; known: {', '.join(VARIANTS)}")
    variant, path = VARIANTS[name], WEIGHTS_DIR / f"blazeface_{name}.safetensors"
    if not path.exists():
        raise DfdcError(f"{path} is missing; make it with: python scripts/convert_blazeface.py")
    if (actual := sha256_of(path)) != variant.sha256:
        raise DfdcError(f"{path} has SHA-256 {actual}, expected {variant.sha256}; fetch the file again")
    network = BlazeFace(variant)
    network.load_state_dict(load_file(path))
    return network.eval()


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
