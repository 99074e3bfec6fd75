"""A second question in training: where in the face was it blended?

One label a face says little. That a seam runs through this cell of a coarse grid and not through that one says much
more, and costs one convolution. After Face X-ray (Li et al., CVPR 2020), which predicts the boundary of the blending
mask; the code is our own. The head that answers is dropped when the member is written.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from faces.crop import Image
from models.network import Scorer

STRIDE = 16  # pixels of the crop to a cell: fine enough to place a seam, coarse enough to have seen its surroundings


def boundary(mask: NDArray[np.float32]) -> Image:
    """Where a blend has its seam: 4 m (1 - m), 255 where both sides weigh alike (Face X-ray, equation 2).

    Args:
        mask: (H, W) float32 from 0 to 1.

    Returns:
        (H, W, 3) uint8, three times the same, so that it can be cut and moved as the face is.
    """
    # A hard mask has no pixel between 0 and 1: a seam is at least three pixels wide.
    soft = cv2.blur(mask, (3, 3))
    seam = np.clip(4 * soft * (1 - soft) * 255 + 0.5, 0, 255).astype(np.uint8)
    return np.repeat(seam[..., None], 3, axis=2)


def cells(seam: Image) -> NDArray[np.float32]:
    """The strongest seam in each cell: (S, S, 3) uint8 to (S // STRIDE, S // STRIDE) float32 from 0 to 1."""
    count = seam.shape[0] // STRIDE
    grid = cv2.resize(seam[..., 0], (count * STRIDE, count * STRIDE), interpolation=cv2.INTER_AREA)
    blocks = np.asarray(grid).reshape(count, STRIDE, count, STRIDE)
    return np.asarray(blocks.max(axis=(1, 3)) / np.float32(255), dtype=np.float32)


class WithSeams(nn.Module):
    """A scorer, and beside it a head that says for each cell whether a seam runs through it.

    Args:
        scorer: its backbone is a timm model with a stage of STRIDE.

    Raises:
        ValueError: the backbone has no such stage.
    """

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.scorer = scorer
        stages = [f for f in getattr(scorer.backbone, "feature_info", ()) if f["reduction"] == STRIDE]
        if not stages:
            raise ValueError(f"this backbone has no stage of stride {STRIDE}, which `seams` looks at; set seams to 0")
        self.head = nn.Conv2d(stages[-1]["num_chs"], 1, 1)
        nn.init.zeros_(self.head.weight)
        if self.head.bias is not None:
            nn.init.constant_(self.head.bias, -2.0)  # about one cell in eight has a seam
        self._seen = torch.empty(0)  # the stage's features in the latest pass
        scorer.backbone.get_submodule(stages[-1]["module"]).register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _given: object, features: torch.Tensor) -> None:
        self._seen = features

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, S, S, 3) uint8 -> logits (N,) of the label and (N, G, G) of the cells."""
        logits = self.scorer(crops)
        seams: torch.Tensor = self.head(self._seen).squeeze(1)
        return logits, seams
