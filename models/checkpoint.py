"""A member on the disk: <name>.safetensors and beside it <name>.json, its card."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.errors import DfdcError
from common.files import atomic_path, sha256_of, write_text
from faces.crop import CropSpec
from models.registry import Head

# Imported where they are used: a prediction with compiled networks at hand needs neither torch nor timm.
if TYPE_CHECKING:
    import torch
    from torch import nn

    from models.network import Scorer

WEIGHTS_DIR = Path(__file__).resolve().parent / "weights"

# How far a face's prob_fake may move because weights are stored in fp16. A trained lite0 moved by 0.011 with every
# tensor halved and by less with vectors kept in fp32; what moves further has weights that fp16 cannot hold.
DRIFT_LIMIT = 0.01


@dataclass(frozen=True)
class Card:
    """The description of a member and where it comes from; the text of <name>.json."""

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
    head: Head = "linear"  # what stands on the backbone; a card without it is older than the choice
    max_drift: float | None = None  # most that storing moved prob_fake on validation faces; None: not measured

    def to_json(self) -> str:
        """Return the text of the card's file."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"


# Tensors with fewer values than this stay float32. On a trained EfficientNet-Lite0 the small and the depthwise ones are
# 5 % of the values and 80 % of what rounding moves: halving all moved single logits by up to 0.082, this by 0.011.
HALVED_FROM = 20_000


def compress(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Convert a network's state for its file.

    Args:
        state: float32 tensors by key.

    Returns:
        The same tensors on the CPU: fp16 where that halves the file, float32 where it saves little and hurts (norms,
        biases, stem, depthwise convolutions).
    """
    return {key: (v.half() if _is_halved(v) else v).contiguous().cpu() for key, v in state.items()}


def _is_halved(value: torch.Tensor) -> bool:
    import torch

    depthwise = value.ndim == 4 and value.shape[1] == 1
    return value.dtype == torch.float32 and value.ndim > 1 and value.numel() >= HALVED_FROM and not depthwise


def export_drift(scorer: Scorer, stored: dict[str, torch.Tensor], crops: NDArray[np.uint8]) -> float:
    """Measure how far storing moves the score of a face.

    Args:
        scorer: the trained network.
        stored: what `compress` makes of its backbone's state.
        crops: (N, S, S, 3) uint8 RGB. Pictures of faces: noise moves otherwise than they do.

    Returns:
        The largest |prob_fake of `scorer` - prob_fake of the stored network|; NaN when one of the two gives NaN.

    Raises:
        ValueError: there are no crops.
    """
    import torch

    if not len(crops):
        raise ValueError("drift is measured on faces, and there are none")
    original, reloaded = copy.deepcopy(scorer).eval(), copy.deepcopy(scorer).eval()
    reloaded.backbone.load_state_dict(_as_float32(stored))
    moved = [
        (_prob_fake(original, piece) - _prob_fake(reloaded, piece)).abs().max()
        for piece in torch.from_numpy(np.ascontiguousarray(crops)).split(32)
    ]
    return float(torch.stack(moved).max())  # torch's max, unlike Python's, keeps a NaN


def _prob_fake(scorer: Scorer, crops: torch.Tensor) -> torch.Tensor:
    """(N, S, S, 3) uint8 -> (N,) float32 on the CPU."""
    import torch

    with torch.inference_mode():
        prob_fake: torch.Tensor = scorer(crops.to(scorer.shift.device)).float().sigmoid().cpu()
    return prob_fake


def _as_float32(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: v.float() if v.is_floating_point() else v for key, v in stored.items()}


def save_member(folder: Path, card: Card, backbone: nn.Module, drift_on: NDArray[np.uint8] | None = None) -> Card:
    """Write a member: its weights, then its card.

    Args:
        folder: of the member.
        card: without hash, bytes, parameters, dtype and drift.
        backbone: the network without its normalisation.
        drift_on: (N, S, S, 3) uint8 faces cut by the card's CropSpec, on which the stored network is compared with
            this one; None: it is not compared.

    Returns:
        The card, complete.

    Raises:
        DfdcError: storing moves prob_fake of a face by more than DRIFT_LIMIT; nothing is written.
    """
    from safetensors.torch import save_file

    from models.network import Scorer

    stored, drift = compress(backbone.state_dict()), None
    if drift_on is not None:
        drift = export_drift(Scorer(backbone, card.crop).to(_device_of(backbone)), stored, drift_on)
        if not drift <= DRIFT_LIMIT:
            raise DfdcError(
                f"stored in fp16, member {card.name!r} moves prob_fake of one of {len(drift_on)} faces by {drift:.4f}, "
                f"more than {DRIFT_LIMIT}: some weights are too large or too small for fp16. Train with more "
                f"weight_decay or a lower lr; the float32 weights are still in the run's folder"
            )
    path = folder / f"{card.name}.safetensors"
    with atomic_path(path) as temporary:
        save_file(stored, temporary)
    filled = replace(
        card,
        sha256=sha256_of(path),
        bytes=path.stat().st_size,
        parameters=sum(p.numel() for p in backbone.parameters()),
        dtype="float16, small and depthwise float32",
        max_drift=None if drift is None else round(drift, 6),
    )
    write_text(folder / f"{card.name}.json", filled.to_json())
    return filled


def _device_of(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def read_card(path: Path) -> Card:
    """Read <name>.json; DfdcError, with the file and the field, when it is not a card."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Card(**{**values, "crop": CropSpec.from_dict(values["crop"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DfdcError(f"{path} is not a member card: {error}") from error


def find_cards(folder: Path = WEIGHTS_DIR) -> list[Card]:
    """Read the cards in `folder`, sorted by name. A card is a .json with a .safetensors beside it."""
    paths = sorted(p for p in folder.glob("*.json") if p.with_suffix(".safetensors").exists())
    return [read_card(path) for path in paths]


def check_weights(card: Card, folder: Path = WEIGHTS_DIR) -> Path:
    """The file of a member's weights; DfdcError when it is missing or its SHA-256 is not the card's."""
    path = folder / f"{card.name}.safetensors"
    if not path.exists():
        raise DfdcError(f"weights of member {card.name!r} are missing: {path}")
    if (actual := sha256_of(path)) != card.sha256:
        raise DfdcError(f"{path} is not what its card says: SHA-256 {actual}, expected {card.sha256}; fetch it again")
    return path


def load_member(card: Card, folder: Path = WEIGHTS_DIR) -> Scorer:
    """Load a member's network: float32, in eval mode, normalisation inside.

    Args:
        card: the member's.
        folder: where its weights lie.

    Raises:
        DfdcError: the weights are missing, their SHA-256 is not the card's, or they do not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from models.network import Scorer, build_backbone

    path = check_weights(card, folder)
    backbone = build_backbone(card.backbone, head=card.head, size=card.crop.size)
    try:
        stored = load_file(path)
    except SafetensorError as error:
        raise DfdcError(f"{path} cannot be read: it is no safetensors file ({error})") from error
    try:
        backbone.load_state_dict(_as_float32(stored))
    except RuntimeError as error:
        raise DfdcError(f"{path} does not fit {card.backbone}: {error}") from error
    return Scorer(backbone, card.crop).eval()
