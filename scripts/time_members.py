#!/usr/bin/env python3
"""Time members as `dfdc predict` runs them here, side by side, and write the seconds into their cards.

python scripts/time_members.py models/weights

`dfdc tune` compares members by these seconds, so they must come from one machine, one backend and one quiet moment.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from common.device import pick_device
from common.files import write_text
from models.backend import load_members

CROPS = 32


def main(folder: Path, device: str, rounds: int) -> None:
    """Time the members of a folder side by side and write the seconds into their cards."""
    loaded_members = load_members(pick_device(device), folder)
    rng = np.random.default_rng(0)
    sizes = {p.card.name: p.card.crop.size for p in loaded_members}
    crops = {name: list(rng.integers(0, 256, (CROPS, s, s, 3), dtype=np.uint8)) for name, s in sizes.items()}
    seconds: dict[str, list[float]] = {name: [] for name in sizes}
    for loaded in loaded_members:
        loaded.logits(crops[loaded.card.name])  # compiles, and warms the caches up
    for _ in range(rounds):
        for loaded in loaded_members:  # in turns, so that a busy moment slows all of them
            began = time.perf_counter()
            loaded.logits(crops[loaded.card.name])
            seconds[loaded.card.name].append(time.perf_counter() - began)
    for loaded in loaded_members:
        card, median = loaded.card, statistics.median(seconds[loaded.card.name])
        print(f"{card.name}: {median:.4f} s per {CROPS} crops, was {card.seconds_per_32_crops}")
        write_text(
            folder / f"{card.name}.json", dataclasses.replace(card, seconds_per_32_crops=round(median, 4)).to_json()
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of members; their cards are rewritten")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    main(options.folder, options.device, options.rounds)
