"""The members: a backbone from timm and the crop it looks at. Adding a member is adding one entry."""

from __future__ import annotations

from dataclasses import dataclass

import timm
import torch
from torch import nn

from faces.crop import CropSpec

# TensorFlow's EfficientNets were trained on (x - 127) / 128 with x in 0..255.
TF_MEAN = (127 / 255, 127 / 255, 127 / 255)
TF_STD = (128 / 255, 128 / 255, 128 / 255)

# The public DFDC face crops are squares from dlib's HOG detector, brow to chin. Against BlazeFace's box of the same
# face they are this much wider on each side, and lie this much lower: medians over 267 of them, measured by
# scripts/measure_crop_geometry.py (the way "crops", corrected by its control).
DLIB_MARGIN = 0.035
DLIB_SHIFT_Y = -0.047


@dataclass(frozen=True)
class Member:
    """One judge of the ensemble: what it is built from and what it looks at."""

    name: str  # also the name of its files in models/weights
    backbone: str  # a timm model name
    crop: CropSpec  # cut from the frame, and its mean and std
    dropout: float = 0.2  # before the classifier
    drop_path: float = 0.1  # stochastic depth over the blocks


def _inside(name: str, size: int, margin: float, shift_y: float) -> CropSpec:
    """A crop that a public DFDC face crop holds whole, for the backbones with TensorFlow's weights."""
    return CropSpec(name, size=size, margin=margin, shift_y=shift_y, pad="edge", mean=TF_MEAN, std=TF_STD)


# What the shipped members look at: all lie within the public crops, so the CPU-sized data can teach them.
TIGHT = _inside("tight", 224, DLIB_MARGIN, DLIB_SHIFT_Y)
WHOLE256 = _inside("tight256", 256, DLIB_MARGIN, DLIB_SHIFT_Y)
INNER = _inside("inner", 192, -0.1, -0.02)
MOUTH = _inside("mouth", 160, -0.17, 0.158)
EYES = _inside("eyes", 160, -0.1, -0.18)

SHIPPED = (
    Member("lite0_tight", "tf_efficientnet_lite0", TIGHT),
    Member("lite0_mouth", "tf_efficientnet_lite0", MOUTH, dropout=0.3),
    Member("lite0_eyes", "tf_efficientnet_lite0", EYES, dropout=0.3),
    Member("lite0_inner", "tf_efficientnet_lite0", INNER, dropout=0.3),
    Member("lite1_tight", "tf_efficientnet_lite1", WHOLE256, dropout=0.3),
)

MEMBERS = {member.name: member for member in SHIPPED}


def get_member(name: str) -> Member:
    """The member called `name`; ValueError with the known names otherwise."""
    if name not in MEMBERS:
        raise ValueError(f"no member is called {name!r}; known: {', '.join(sorted(MEMBERS))}")
    return MEMBERS[name]


def build_backbone(backbone: str, dropout: float = 0.0, drop_path: float = 0.0) -> nn.Module:
    """The untrained network: (N, 3, S, S) float32 normalised RGB -> (N, 1) logit of P(fake)."""
    model: nn.Module = timm.create_model(
        backbone, pretrained=False, num_classes=1, drop_rate=dropout, drop_path_rate=drop_path
    )
    # timm draws the classifier's weights for many classes; with one they are so large that the first loss is 3 to 5.
    # From zero every face starts at P(fake) = 0.5, a loss of 0.69.
    classifier: nn.Module = model.get_classifier()  # type: ignore[operator]
    for parameter in classifier.parameters():
        nn.init.zeros_(parameter)
    return model


class Judge(nn.Module):
    """A backbone with its normalisation inside: (N, S, S, 3) uint8 RGB -> (N,) logits.

    Bytes go to the device as they are (a quarter of the traffic of float32), and no caller can forget or repeat the
    normalisation.
    """

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, backbone: nn.Module, crop: CropSpec) -> None:
        super().__init__()
        self.backbone = backbone
        mean, std = torch.tensor(crop.mean) * 255, torch.tensor(crop.std) * 255
        self.register_buffer("shift", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", 1 / std.view(1, 3, 1, 1), persistent=False)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """(N, S, S, 3) uint8 -> (N,) logits."""
        # A permuted NHWC tensor is already channels_last in memory.
        images = crops.permute(0, 3, 1, 2).to(self.shift.dtype)
        logits: torch.Tensor = self.backbone((images - self.shift) * self.scale)
        return logits.squeeze(1)
