"""The networks of the members, made of timm's backbones; what each is made of says models/registry.py."""

from __future__ import annotations

from typing import Any, get_args

import timm
import torch
from torch import nn

from faces.crop import CropSpec
from models.registry import Head, Member


def build_member(member: Member) -> nn.Module:
    """Build a member's untrained network, with its dropout and drop path; as `build_backbone`."""
    return build_backbone(member.backbone, member.dropout, member.drop_path, member.head, member.crop.size)


def build_backbone(
    backbone: str, dropout: float = 0.0, drop_path: float = 0.0, head: Head = "linear", size: int = 224
) -> nn.Module:
    """Build an untrained network: (N, 3, S, S) float32 normalised RGB -> (N, 1) logits of P(fake).

    Args:
        backbone: a timm model name.
        dropout: before the classifier, from 0 to 1.
        drop_path: stochastic depth over the blocks, from 0 to 1; 0 for backbones without it.
        head: how features become one logit.
        size: S in pixels; only the head mlp256 depends on it.

    Returns:
        The network; its `get_classifier()` is the last linear layer, whose weights are 0.

    Raises:
        ValueError: the head is unknown, or the backbone does not fit it.
    """
    if head not in get_args(Head):
        raise ValueError(f"head is {head!r}, not one of {get_args(Head)}")
    if head == "mlp256":
        model: nn.Module = FlatMlp(backbone, size, dropout)
    else:
        # Some backbones (Xception, VGG) know no drop path and refuse the option, even at 0.
        options: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
        model = timm.create_model(backbone, pretrained=False, num_classes=1, drop_rate=dropout, **options)
    # timm draws the classifier's weights for many classes; with one they are so large that the first loss is 3 to 5.
    # From zero every face starts at P(fake) = 0.5, a loss of 0.69.
    classifier: nn.Module = model.get_classifier()  # type: ignore[operator]
    for parameter in classifier.parameters():
        nn.init.zeros_(parameter)
    return model


class FlatMlp(nn.Module):
    """The convolutions of a timm model, flattened, dense 256 with ReLU, one output: the head of the Keras tutorials.

    (N, 3, S, S) float32 -> (N, 1). The convolutions keep timm's names, so its pretrained weights fit them.
    """

    WIDTH = 256

    def __init__(self, backbone: str, size: int, dropout: float = 0.0) -> None:
        super().__init__()
        # On the meta device: a VGG has 120 million parameters behind its convolutions, and here they are dropped.
        with torch.device("meta"), torch.inference_mode():
            features = getattr(timm.create_model(backbone, pretrained=False), "features", None)
            if not isinstance(features, nn.Sequential):
                raise ValueError(f"the head mlp256 needs a backbone with one stack of convolutions, not {backbone!r}")
            values = features(torch.zeros(1, 3, size, size)).numel()
        self.features = features.to_empty(device=torch.get_default_device())
        for layer in self.features:
            if isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
                layer.reset_parameters()
        self.drop = nn.Dropout(dropout)
        self.hidden = nn.Linear(values, self.WIDTH)
        self.classifier = nn.Linear(self.WIDTH, 1)

    def get_classifier(self) -> nn.Linear:
        """The last linear layer, as timm's models have it."""
        return self.classifier

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) normalised -> (N, 1) logits."""
        flat = self.drop(self.features(images).flatten(1))
        logits: torch.Tensor = self.classifier(torch.relu(self.hidden(flat)))
        return logits


class Scorer(nn.Module):
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
