"""What a run starts from: weights that ship or come through timm, or another member."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.errors import DfdcError
from models.checkpoint import Card, load_member, read_card
from models.pretrained import load_start
from models.registry import Member
from train.config import TrainConfig

# What a card says of the groups behind a member, and of what it was started from.
LEARNT = ("fold", "groups_sha256", "groups", "held_out_groups", "start", "init")
DIGESTS = ("groups", "held_out_groups")  # of these, those that are long
ABOVE = {"groups_as": "above"}  # in place of DIGESTS that are those of the run which went on from this one


def start_of(backbone: nn.Module, member: Member, config: TrainConfig) -> tuple[str, dict[str, Any]]:
    """Fill a network with what a run starts from.

    Args:
        backbone: changed in place.
        member: which network it is.
        config: its `init`, a member's file, goes before its `start`.

    Returns:
        What the card calls it; and of another member what it was itself trained on, which the new one has seen too.

    Raises:
        ValueError: the member is of another backbone or head.
        DfdcError: the weights are missing or damaged, or fill nothing.
    """
    if config.init:
        return _from_member(backbone, member, Path(config.init))
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    told = load_start(backbone, member.backbone, config.start)
    if config.start != "scratch":
        _check_filled(before, backbone.state_dict(), member.backbone, told)
    return told, {}


def _check_filled(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], backbone: str, told: str) -> None:
    """DfdcError where weights called pretrained have changed no tensor, or fewer than half of the matrices."""
    matrices = [key for key, value in after.items() if value.ndim > 1]
    filled = [key for key in matrices if not torch.equal(before[key], after[key])]
    if len(filled) * 2 < len(matrices):
        raise DfdcError(
            f"{told} fills {len(filled)} of {len(matrices)} matrices of {backbone!r}: names or shapes differ. Give "
            "--set start=scratch to train it from random weights, or another backbone"
        )


def _from_member(backbone: nn.Module, member: Member, path: Path) -> tuple[str, dict[str, Any]]:
    card = read_card(path.with_suffix(".json"))
    if (card.backbone, card.head) != (member.backbone, member.head):
        raise ValueError(
            f"{path} is a {card.backbone} with the head {card.head!r}, this experiment a {member.backbone} with "
            f"{member.head!r}; give --init a member of the same"
        )
    backbone.load_state_dict(load_member(card, path.parent).backbone.state_dict())
    return called(card), seen_by(card)


def called(card: Card) -> str:
    """What the card of another member calls this one."""
    return f"member {card.name} (sha256 {card.sha256[:12]})"


def seen_by(card: Card) -> dict[str, Any]:
    """What a member was trained on, as the card of one that goes on from it says it."""
    known = {key: card.training[key] for key in LEARNT if key in card.training}
    init = known.get("init") or {}
    if "groups" in init and all(init.get(key) == known.get(key) for key in DIGESTS):
        known["init"] = {key: value for key, value in init.items() if key not in DIGESTS} | ABOVE
    return {"member": card.name, "sha256": card.sha256} | known


def started_from(training: dict[str, Any]) -> dict[str, Any]:
    """What a card says of the member that its own started from, with all its groups; empty where there is none."""
    init: dict[str, Any] = training.get("init") or {}
    return init | {key: training[key] for key in DIGESTS} if init.items() >= ABOVE.items() else init
