#!/usr/bin/env python3
"""What each member is and what it is worth on each data set, as the tables of models/README.md.

python benchmarks/members.py --members models/weights dfdc=holdout.csv ffpp=clips.csv --labels ffpp=clips_labels.csv

The tables are those of `dfdc holdout` and `dfdc predict --probabilities`. A labels file with a column `method` (how a
fake was made, empty for real videos) gives one AUC for each method, against all real videos of its data set.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd

from common.labels import read_labels
from ensemble.aggregate import PLAIN, aggregate
from ensemble.blend import Blend
from ensemble.metrics import Floats, auc, bootstrap, sigmoid
from ensemble.sources import named
from ensemble.table import Faces, read_faces
from models.checkpoint import Card, find_cards


def card_row(card: Card) -> list[str]:
    """What a card says of a member: backbone, crop, input, start, crops seen, hours, held-out figures, bytes."""
    training, metrics = card.training, card.metrics.get("val", {})
    history = training.get("history", [])
    steps = history[-1]["step"] if history else 0
    config = training.get("config", {})
    crops = steps * config.get("batch", 0) * config.get("accumulate", 1) * training.get("processes", 1)
    hours = sum(epoch.get("seconds", 0) for epoch in history[-1:]) / 3600
    return [
        card.name, card.backbone, f"x{1 + 2 * card.crop.margin:.2f}", str(card.crop.size), family_of(config),
        start_of(card), f"{crops:,}", f"{hours:.1f}", f"{metrics.get('auc', float('nan')):.3f}",
        f"{card.bytes / 1e6:.1f} MB",
    ]  # fmt: skip


def family_of(config: Mapping[str, Any]) -> str:
    """What a member learnt from."""
    if config.get("made_fakes"):
        return "made fakes"
    share = config.get("self_blend") or 0.0
    return f"DFDC pairs, {share:.0%} blends" if share else "DFDC pairs"


def start_of(card: Card) -> str:
    """Where its run started: another member, or the name of weights."""
    before = (card.training.get("init") or {}).get("member")
    if before is None:
        return str(card.training.get("config", {}).get("start", ""))
    return "itself" if before == card.name else str(before)


def values_of(faces: Faces) -> Floats:
    """(V, M) logits of videos, the plain way."""
    return aggregate(faces.logit, faces.layout, PLAIN)


def score_rows(faces: Faces, columns: Mapping[str, Floats], method: pd.Series | None) -> list[list[str]]:
    """A row for each column of P(fake): AUC and balanced log loss with intervals, and AUC by method."""
    truth, rows = faces.known(), []
    kinds = [] if method is None else sorted(set(method[method != ""]))
    for name, prob in columns.items():
        found = bootstrap(truth.label, prob, truth.group)
        cells = [
            f"{found[k].value:.3f} [{found[k].low:.3f}, {found[k].high:.3f}]" for k in ("auc", "log_loss_balanced")
        ]
        for kind in kinds:
            kept = (truth.label < 0.5) | (method.reindex(faces.filename).to_numpy() == kind)  # type: ignore[union-attr]
            cells.append(f"{auc(truth.label[kept], prob[kept]):.3f}")
        rows.append([name, *cells])
    return [["P(fake) by", "AUC", "log loss", *kinds], *rows]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, the first row its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", help="NAME=TABLE.csv, one data set each")
    parser.add_argument("--labels", nargs="*", default=[], help="NAME=LABELS.csv for tables without labels")
    parser.add_argument("--members", type=Path, required=True)
    parser.add_argument(
        "--blend", nargs="*", type=Path, default=[], help="blend.json files to score beside the members"
    )
    options = parser.parse_args()
    cards = {card.name: card for card in find_cards(options.members)}
    head = ["member", "backbone", "crop", "input", "learnt from", "start", "crops", "hours", "own held-out AUC", "size"]
    print(markdown([head, *(card_row(card) for card in cards.values())]))
    labels = named(options.labels)
    for source, paths in named(options.tables).items():
        known = pd.concat([read_labels(path) for path in labels[source]]) if source in labels else None
        faces = read_faces(paths, known)
        method = None
        if known is not None and "method" in known:
            method = known.set_index("filename")["method"].fillna("").astype(str)
        values = values_of(faces)
        columns = {name: sigmoid(values[:, i]) for i, name in enumerate(faces.members)}
        for path in options.blend:
            blend = Blend.read(path)
            columns[f"{path.stem}"] = blend.predict_all(faces.of(blend.members).logit, faces.layout, faces.face_pixels)
        print(f"\n{source}: {faces}\n")
        print(markdown(score_rows(faces, columns, method)))
        correlation = np.corrcoef(values.T)
        print(
            "\n"
            + markdown(
                [
                    ["correlation", *faces.members],
                    *(
                        [name, *(f"{value:.2f}" for value in row)]
                        for name, row in zip(faces.members, correlation, strict=True)
                    ),
                ]
            )
        )


if __name__ == "__main__":
    main()
