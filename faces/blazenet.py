"""BlazeFace's two networks in torch; what comes out of them is read by faces/blazeface.py."""

from __future__ import annotations

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from faces.blazeface import VARIANTS, Variant, check_weights


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
    network = BlazeFace(VARIANTS[name])
    network.load_state_dict(load_file(check_weights(VARIANTS[name])))
    return network.eval()
