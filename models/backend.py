"""Members ready to judge: crops in, logits out, on CUDA by torch or on the CPU by OpenVINO."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from common.engine import Engine, Precision, Runner, make_runner
from common.errors import DfdcError
from faces.crop import Image
from models.checkpoint import WEIGHTS_DIR, Card, find_cards, load_member


@dataclass(frozen=True)
class LoadedMember:
    """One member with its network compiled."""

    card: Card
    run: Runner

    def logits(self, crops: Sequence[Image]) -> NDArray[np.float64]:
        """Crops (S, S, 3) uint8 RGB, cut by the card's CropSpec, to (N,) logits of P(fake)."""
        return self.run(np.stack(crops))[0].astype(np.float64)


def load_members(
    device: torch.device,
    folder: Path = WEIGHTS_DIR,
    engine: Engine | None = None,
    threads: int = 0,
    names: Collection[str] | None = None,
) -> list[LoadedMember]:
    """Every member in `folder`, verified and compiled. Raises DfdcError when there is none, or one is damaged.

    names: only these of them.

    On CUDA networks run in bf16 where the device has it and fp16 elsewhere; on the CPU in the precision of the card.
    """
    cards = find_cards(folder)
    if not cards:
        raise DfdcError(f"{folder} holds no member (a .safetensors with its .json); train one with: dfdc train")
    return [_compile(c, folder, device, engine, threads) for c in cards if names is None or c.name in names]


def _compile(card: Card, folder: Path, device: torch.device, engine: Engine | None, threads: int) -> LoadedMember:
    precision = card.precision
    if device.type == "cuda":
        precision = "bf16" if torch.cuda.is_bf16_supported() else "f16"
    network = load_member(card, folder)
    run = make_runner(network, card.crop.size, device, cast(Precision, precision), engine, threads)
    return LoadedMember(card, run)
