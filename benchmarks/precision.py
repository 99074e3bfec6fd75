#!/usr/bin/env python3
"""Does a faster precision move the scores? Each member on labelled face crops.

It runs on the CPU, by torch in f32 and, as on a GPU, in f16 and bf16 by autocast, and by OpenVINO in f32 and bf16.

Prints the largest and mean change of a logit against torch f32, AUC, log loss (classes half each), and seconds per 32
crops. bf16 earns its place in a card only where AUC and log loss do not move.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from common.engine import Engine, Precision, make_runner
from common.labels import read_labels
from ensemble.metrics import auc, log_loss_balanced, sigmoid
from faces.crop import box_inside_crop, cut
from faces.store import CropStore
from models.checkpoint import WEIGHTS_DIR, Card, find_cards, load_member
from models.registry import TIGHT

WAYS: tuple[tuple[Engine, Precision], ...] = (
    ("torch", "f32"),
    ("torch", "f16"),
    ("torch", "bf16"),
    ("openvino", "f32"),
    ("openvino", "bf16"),
)


def read_crops(store: CropStore, names: list[str], card: Card) -> np.ndarray:
    """The crops that a member scores, (N, S, S, 3) uint8."""
    images = [store.read(name) for name in names]
    return np.stack([cut(i, box_inside_crop(TIGHT, i.shape[1], i.shape[0]), card.crop) for i in images])


def compare(card: Card, members: Path, crops: np.ndarray, label: np.ndarray) -> None:
    """Print one line per way of running the member."""
    reference: np.ndarray | None = None
    for engine, precision in WAYS:
        run = make_runner(load_member(card, members), card.crop.size, torch.device("cpu"), precision, engine)
        run(crops[:32])
        began = time.perf_counter()
        logits = run(crops)[0].astype(np.float64)
        seconds = (time.perf_counter() - began) / len(crops) * 32
        reference = logits if reference is None else reference
        moved, prob = np.abs(logits - reference), sigmoid(logits)
        print(
            f"{card.name:<16} {engine:<9} {precision:<5} max|d| {moved.max():.4f} mean|d| {moved.mean():.4f} "
            f"AUC {auc(label, prob):.5f} log loss {log_loss_balanced(label, prob):.5f} {seconds:.3f} s per 32"
        )


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crops", type=Path, nargs="+", help="folders or tars of face crops")
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--members", type=Path, default=WEIGHTS_DIR)
    parser.add_argument("--most", type=int, default=0, help="crops, evenly spread; 0: all")
    options = parser.parse_args()
    store, table = CropStore(options.crops), read_labels(options.labels)
    rows = table[table["target"].notna() & table["face"].isin(store.index.keys())]
    if options.most:
        rows = rows.iloc[:: max(1, len(rows) // options.most)]
    for card in find_cards(options.members):
        crops = read_crops(store, list(rows["face"]), card)
        compare(card, options.members, crops, rows["target"].to_numpy())


if __name__ == "__main__":
    main()
