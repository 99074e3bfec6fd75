"""Members ready to score: crops in, logits out, on CUDA by torch or on the CPU by OpenVINO."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from common.cores import cores
from common.device import Device
from common.engine import Engine, Precision, Recipe, Runner, make_runner, pick_engine
from common.errors import DfdcError
from common.graphs import code_of
from faces.crop import Image
from models.checkpoint import WEIGHTS_DIR, Card, check_weights, find_cards, load_member

if TYPE_CHECKING:
    import torch


# Of the arithmetic on a GPU. Not bf16 on those that have it: its 8 bits move logits of real faces by up to 0.5, where
# f16's 11 move them by 0.07 at most, and tensor cores multiply both as fast (`benchmarks/precision.py`).
ON_CUDA: Precision = "f16"
NETWORK = Path(__file__).with_name("network.py")  # it is imported only where a member has to be built


@dataclass(frozen=True)
class LoadedMember:
    """One member with its network compiled."""

    card: Card
    run: Runner

    def logits(self, crops: Sequence[Image]) -> NDArray[np.float64]:
        """Score crops.

        Args:
            crops: N of (S, S, 3) uint8 RGB, cut by the card's CropSpec.

        Returns:
            (N,) logits of P(fake).
        """
        return self.run(np.stack(crops))[0].astype(np.float64)


def load_members(
    device: Device | torch.device,
    folder: Path = WEIGHTS_DIR,
    engine: Engine | None = None,
    threads: int = 0,
    names: Collection[str] | None = None,
) -> list[LoadedMember]:
    """Load, verify and compile the members in a folder.

    Args:
        device: where they run: on CUDA in ON_CUDA, on the CPU in the precision of their cards.
        folder: of the members.
        engine: what runs them; None picks the fastest for the device.
        threads: of OpenVINO; 0 is all cores.
        names: only these of the members; None is all.

    Returns:
        The members by name.

    Raises:
        DfdcError: there is none, or one is damaged.
    """
    cards = find_cards(folder)
    if not cards:
        raise DfdcError(f"{folder} holds no member (a .safetensors with its .json); train one with: dfdc train")
    return [_compile(c, folder, device, engine, threads) for c in cards if names is None or c.name in names]


def _compile(
    card: Card, folder: Path, device: Device | torch.device, engine: Engine | None, threads: int
) -> LoadedMember:
    precision = ON_CUDA if device.type == "cuda" else card.precision
    check_weights(card, folder)
    parts = ("member", card.sha256, card.backbone, card.head, repr(card.crop), code_of(str(NETWORK)))
    recipe = Recipe(lambda: load_member(card, folder), parts)
    run = make_runner(recipe, card.crop.size, device, cast(Precision, precision), engine, threads)
    return LoadedMember(card, run)


def words_of(device: Device | torch.device, engine: Engine | None = None) -> str:
    """What the members run on, for people: the GPU or the CPU's cores, the engine, and the precision on a GPU."""
    engine = engine or pick_engine(device)
    if device.type != "cuda":
        return f"{cores()} CPU cores, {engine}"
    import torch

    return f"{torch.cuda.get_device_name(str(device))}, {engine}, {ON_CUDA}"
