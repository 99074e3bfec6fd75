"""A member on the disk: <name>.safetensors and beside it <name>.json, its card."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from dfdc_common import DfdcError, atomic_path, sha256_of, write_text
from faces.crop import CropSpec
from models.registry import Judge, build_backbone

WEIGHTS_DIR = Path(__file__).resolve().parent / "weights"


@dataclass(frozen=True)
class Card:
    """What a member is and where it comes from."""

    name: str
    backbone: str
    crop: CropSpec
    sha256: str  # of the .safetensors file
    bytes: int  # of the .safetensors file
    parameters: int
    dtype: str
    training: dict[str, Any] = field(
        default_factory=dict
    )  # data, start, seed, epochs, seconds, device, versions, commit
    metrics: dict[str, Any] = field(default_factory=dict)  # each with the data it was measured on
    precision: str = "f32"  # what the CPU backend runs in: bf16 only where it was shown not to move the scores
    seconds_per_32_crops: float | None = None

    def to_json(self) -> str:
        """The card as the text of its file."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"


def compress(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """fp16 where it halves the file, fp32 where it would hurt: vectors (norms, biases) weigh nothing, keep them."""
    half = {key: v.dtype == torch.float32 and v.ndim > 1 for key, v in state.items()}
    return {key: (v.half() if half[key] else v).contiguous().cpu() for key, v in state.items()}


def save_member(folder: Path, card: Card, model: nn.Module) -> Card:
    """Write weights, then card; returns the card with hash, bytes, parameters and dtype filled in."""
    path = folder / f"{card.name}.safetensors"
    with atomic_path(path) as temporary:
        save_file(compress(model.state_dict()), temporary)
    values = {f.name: getattr(card, f.name) for f in fields(card)} | {
        "sha256": sha256_of(path),
        "bytes": path.stat().st_size,
        "parameters": sum(p.numel() for p in model.parameters()),
        "dtype": "float16, vectors float32",
    }
    filled = Card(**values)
    write_text(folder / f"{card.name}.json", filled.to_json())
    return filled


def read_card(path: Path) -> Card:
    """Read <name>.json; DfdcError naming the file and the field when it is not a card."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Card(**{**values, "crop": CropSpec.from_dict(values["crop"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DfdcError(f"{path} is not a member card: {error}") from error


def find_cards(folder: Path = WEIGHTS_DIR) -> list[Card]:
    """All members in `folder`, by name. A card is a .json with a .safetensors beside it."""
    paths = sorted(p for p in folder.glob("*.json") if p.with_suffix(".safetensors").exists())
    return [read_card(path) for path in paths]


def load_member(card: Card, folder: Path = WEIGHTS_DIR) -> Judge:
    """The member's network in float32, in eval mode, normalisation inside.

    Raises DfdcError when the weights are missing, or their SHA-256 is not the card's, or they do not fit.
    """
    path = folder / f"{card.name}.safetensors"
    if not path.exists():
        raise DfdcError(f"weights of member {card.name!r} are missing: {path}")
    if (actual := sha256_of(path)) != card.sha256:
        raise DfdcError(f"{path} is not what its card says: SHA-256 {actual}, expected {card.sha256}; fetch it again")
    backbone = build_backbone(card.backbone)
    try:
        stored = load_file(path)
    except SafetensorError as error:
        raise DfdcError(f"{path} cannot be read: it is no safetensors file ({error})") from error
    state = {key: v.float() if v.is_floating_point() else v for key, v in stored.items()}
    try:
        backbone.load_state_dict(state)
    except RuntimeError as error:
        raise DfdcError(f"{path} does not fit {card.backbone}: {error}") from error
    return Judge(backbone, card.crop).eval()
