#!/usr/bin/env python3
"""Add what one member has learnt to another that was started from the same network (train/merge.py).

python scripts/merge_members.py MEMBER.safetensors OTHER.safetensors START.safetensors --crops CROPS --labels CSV -o DIR

MEMBER and OTHER were both trained on from START. DIR then has a member that knows something of both, without a step of
training; models/README.md has what that gave. Its card has no figures, so score it with `dfdc holdout` and `dfdc tune`
before it ships. `dfdc train NAME --init DIR/NAME.safetensors` goes on from it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from common.errors import DfdcError
from faces.store import CropStore
from models.checkpoint import read_card
from models.registry import TIGHT
from train.augment.degrade import assign_degradations
from train.data.dataset import FaceDataset
from train.data.provenance import read_training_labels
from train.merge import merge_members

FACES = 1200


def training_faces(member: Path, crops: list[Path], labels: Path, seed: int) -> list[torch.Tensor]:
    """Some training faces as the member sees them, three quarters of them degraded."""
    store, table = CropStore(crops), read_training_labels(labels)
    if "split" not in table:
        raise ValueError(
            f"{labels} needs a column 'split' that says 'train' of the training faces; it has {list(table)}"
        )
    table = table[(table["split"] == "train") & table["face"].isin(store.index.keys())]
    rows = table.sample(min(FACES, len(table)), random_state=seed)
    kinds = assign_degradations(list(rows["face"]))
    faces = FaceDataset(store, rows, read_card(member.with_suffix(".json")).crop, cut_as=TIGHT, degraded=kinds)
    return [faces[row][0] for row in range(len(faces))]


def main() -> None:
    """Parse, merge, say what was made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("member", type=Path, help="the member that is added to")
    parser.add_argument("other", type=Path, help="the member whose learning is added")
    parser.add_argument(
        "start", type=Path, help="the member that both were started from, at any distance; may be MEMBER itself"
    )
    parser.add_argument("--share", type=float, default=0.75, help="of the other's learning (default: 0.75)")
    parser.add_argument("--crops", type=Path, required=True, action="append", help="folder or tar; may be repeated")
    parser.add_argument("--labels", type=Path, required=True, help="CSV with face, label, split; its training faces")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the merged member")
    asked = parser.parse_args()
    try:
        faces = training_faces(asked.member, asked.crops, asked.labels, asked.seed)
        card = merge_members(asked.member, asked.other, asked.start, asked.share, faces, asked.output)
    except (ValueError, DfdcError) as error:
        sys.exit(f"merge_members.py: {error}")
    print(f"{asked.output / card.name}.safetensors: {card.training['start']}")


if __name__ == "__main__":
    main()
