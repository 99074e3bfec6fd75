"""The networks of the members, made of timm's backbones; what each is made of says models/registry.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, get_args

import timm
import torch
from torch import nn

from faces.crop import CropSpec
from models.registry import Head, Member

Made = TypeVar("Made")


def build_member(member: Member) -> nn.Module:
    """Build a member's untrained network, with its dropout and drop path; as `build_backbone`.

    Raises:
        ValueError: also, the backbone cannot look at pictures of the member's size.
    """
    options = member.backbone, member.dropout, member.drop_path, member.head, member.crop.size
    size = member.crop.size
    # On the meta device nothing is computed: hours later it would be too late.
    with torch.device("meta"), torch.inference_mode():
        found = _tried(lambda: build_backbone(*options).eval()(torch.zeros(2, 3, size, size)), member.backbone, size)
    if not isinstance(found, torch.Tensor) or found.shape != (2, 1):
        raise ValueError(f"{member.backbone} does not give one number for each picture, so it cannot be a member")
    return build_backbone(*options)


def build_backbone(
    backbone: str, dropout: float = 0.0, drop_path: float = 0.0, head: Head = "linear", size: int = 224
) -> nn.Module:
    """Build an untrained network: (N, 3, S, S) float32 normalised RGB -> (N, 1) logits of P(fake).

    Args:
        backbone: a timm model name.
        dropout: before the classifier, from 0 to 1.
        drop_path: stochastic depth over the blocks, from 0 to 1; backbones without it are built without it.
        head: how features become one logit.
        size: S in pixels; transformers and the head mlp256 depend on it.

    Returns:
        The network; the weights of its `classifier_layers` are 0.

    Raises:
        ValueError: the head is unknown, the backbone does not fit it, cannot be built for this size, or does not end in
            linear layers.
    """
    if head not in get_args(Head):
        raise ValueError(f"head is {head!r}, not one of {get_args(Head)}")
    if head == "mlp256":
        model: nn.Module = FlatMlp(backbone, size, dropout)
    else:
        model = _tried(lambda: _timm_model(backbone, dropout, drop_path, size), backbone, size)
    # timm draws the classifier's weights for many classes; with one they are so large that the first loss is 3 to 5.
    # From zero every face starts at P(fake) = 0.5, a loss of 0.69.
    for layer in classifier_layers(model):
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
    return model


def classifier_layers(model: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    """Find the layers that give the logit.

    There are several where it is the mean of several heads, as in distilled transformers.

    Args:
        model: of timm, or a FlatMlp.

    Returns:
        The last layers, each with one output and a bias.

    Raises:
        ValueError: there is none.
    """
    head = model.get_classifier()  # type: ignore[operator]
    layers = [layer for part in (head if isinstance(head, tuple) else (head,)) for layer in part.modules()]
    found = [layer for layer in layers if _outputs(layer) == 1 and layer.bias is not None]
    if not found:
        raise ValueError(f"{type(model).__name__} does not end in a linear layer, so it cannot be a member")
    return found


def _outputs(layer: nn.Module) -> int:
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, nn.Conv2d) else 0


def _timm_model(backbone: str, dropout: float, drop_path: float, size: int) -> nn.Module:
    """Timm's model with the options that it takes."""
    about = timm.get_pretrained_cfg(backbone)
    options: dict[str, Any] = {"img_size": size} if about is not None and about.fixed_input_size else {}
    if drop_path:
        try:
            return timm.create_model(backbone, num_classes=1, drop_rate=dropout, drop_path_rate=drop_path, **options)
        except TypeError as error:  # Xception, VGG and others know no drop path, and refuse the option
            if "drop_path_rate" not in str(error):
                raise
    return timm.create_model(backbone, num_classes=1, drop_rate=dropout, **options)


def _tried(make: Callable[[], Made], backbone: str, size: int) -> Made:
    """What a backbone gives; ValueError with the reason where timm's code refuses the size, however it says so."""
    try:
        return make()
    except (AssertionError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"{backbone} cannot be a member that looks at {size} x {size} pixels: {error}. Some backbones take only "
            "certain sizes: give the member's CropSpec another one"
        ) from error


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
