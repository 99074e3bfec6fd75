"""Members that have learnt different things from one start, in one network.

What a network has learnt since it started is a direction in the space of its weights, and directions add up (task
arithmetic: Ilharco et al. 2023, "Editing models with task arithmetic", ICLR). A member that was trained on DFDC's pairs
and one that was trained to find blending, both from one network, give a member that knows something of both without a
step of training. What it gains on the one side it pays for on the other: models/README.md has figures. Half of what a
member has learnt, added to where it started, often holds better on other data than all of it (Wortsman et al. 2022,
"Robust fine-tuning of zero-shot models", CVPR).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.checkpoint import Card, load_member, read_card, save_member
from train.start import LEARNT, called, seen_by

BATCH = 40


def merge_members(
    member: Path, other: Path, start: Path, share: float, faces: Sequence[torch.Tensor], folder: Path
) -> Card:
    """Add what another member has learnt since it started to a member that started there as well.

    Args:
        member: the .safetensors of the member that is added to; its name and crop stay.
        other: of the member whose learning is added.
        start: of the member that both were trained on from, at any distance. `member` may be this very one: then the
            result lies between it and the other.
        share: of that learning; 1 adds all of it. models/README.md has what 0.5 and 0.75 gave here.
        faces: (S, S, 3) uint8 RGB each, cut by the member's CropSpec: of its training. The statistics of batch norm
            are taken anew from them, since those of a sum are not the sum of those.
        folder: where the merged member is written.

    Returns:
        Its card. It names the groups that any of the three has seen, and has no figures: nobody has measured it yet.

    Raises:
        ValueError: the members are of other backbones or heads, one of the two did not start from `start`, or there
            are no faces.
        DfdcError: a file is missing or damaged.
    """
    cards = [read_card(path.with_suffix(".json")) for path in (member, other, start)]
    _check(cards)
    if not faces:
        raise ValueError("batch norm wants faces to take its statistics from; none is given")
    mine, theirs, first = (
        load_member(card, path.parent) for card, path in zip(cards, (member, other, start), strict=True)
    )
    before, after = first.backbone.state_dict(), theirs.backbone.state_dict()
    mine.backbone.load_state_dict(
        {
            name: value + share * (after[name] - before[name]) if value.is_floating_point() else value
            for name, value in mine.backbone.state_dict().items()
        }
    )
    renew_batch_norm(mine, faces)
    folder.mkdir(parents=True, exist_ok=True)
    return save_member(folder, _card(cards, share, len(faces)), mine.backbone)


def renew_batch_norm(network: nn.Module, faces: Sequence[torch.Tensor]) -> None:
    """Take the means and variances of every batch norm from some faces, each batch weighing the same.

    As after averaging weights (Izmailov et al. 2018, "Averaging weights leads to wider optima", section 3.2).

    Args:
        network: takes (N, S, S, 3) uint8; in its evaluation mode afterwards.
        faces: (S, S, 3) uint8 each.
    """
    network.eval()
    norms = [part for part in network.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    with torch.inference_mode():
        for begin in range(0, len(faces), BATCH):
            network(torch.stack(list(faces[begin : begin + BATCH])))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def _check(cards: Sequence[Card]) -> None:
    """ValueError unless all are one network, and the last is where the first two began."""
    if len({(card.backbone, card.head) for card in cards}) != 1:
        told = ", ".join(f"{card.name} is a {card.backbone} with the head {card.head!r}" for card in cards)
        raise ValueError(f"only members of one backbone and head add up: {told}")
    mine, theirs, start = cards
    for card, known in ((mine, (mine.sha256, *_ancestors(mine.training))), (theirs, _ancestors(theirs.training))):
        if start.sha256 not in known:
            raise ValueError(
                f"{card.name} was not trained on from {start.name} (sha256 {start.sha256[:12]}), as far as its card "
                "tells; give the member that both were started from"
            )


def _ancestors(training: dict[str, Any]) -> Iterator[str]:
    while init := training.get("init"):
        yield str(init.get("sha256"))
        training = init


def _card(cards: Sequence[Card], share: float, faces: int) -> Card:
    """The first member's card, with all that the three have seen."""
    mine, theirs, start = cards
    told = f"{called(mine)} + {share:g} x ({called(theirs)} - {called(start)}), batch norm of {faces} faces"
    training = {key: value for key, value in mine.training.items() if key in LEARNT} | {"start": told}
    # The other's groups stand between the member's own line and the start, to which its line leads as well.
    last = training
    if mine.sha256 != start.sha256:
        init = mine.training["init"]
        while init.get("sha256") != start.sha256:
            last["init"] = {key: value for key, value in init.items() if key != "init"}
            last, init = last["init"], init["init"]
    last["init"] = seen_by(theirs)
    return replace(mine, training=training, metrics={}, seconds_per_32_crops=None)
