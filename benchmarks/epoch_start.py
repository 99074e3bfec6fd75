"""How long loader processes take to start, how much each is sent and holds, at 300,000 faces.

    python benchmarks/epoch_start.py [--faces 300000] [--workers 2]

The index is synthetic, the pictures behind it are one small file: what is timed is the start, not the decoding. "each
epoch" makes the processes anew, as the loop did before they stayed.
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import psutil
import torch

from faces.store import CropStore, Where
from models.registry import TIGHT
from train.data.array_index import compact
from train.data.dataset import FaceDataset
from train.data.loader import make_loader


def synthetic(folder: Path, count: int) -> tuple[CropStore, pd.DataFrame]:
    """A store of one picture under `count` names, and the table of them."""
    cv2.imwrite(str(folder / "face.png"), np.full((32, 32, 3), 127, np.uint8))
    store = CropStore([folder])
    names = [f"video_{i // 32:06d}_frame_{i % 32:03d}_0.jpg" for i in range(count)]
    store.index = {name: Where(folder / "face.png") for name in names}
    return store, pd.DataFrame({"face": names, "target": np.arange(count) % 2})


def held() -> float:
    """MiB of memory of its own that the largest process below this one has: a loader process with its data set."""
    return max(child.memory_full_info().uss for child in psutil.Process().children(recursive=True)) / 2**20


def main() -> None:
    """Time the start of an epoch and print it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--faces", type=int, default=300_000)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        objects, table = synthetic(Path(folder), given.faces)
        for name, store in (("objects", objects), ("arrays", compact(objects))):
            dataset = FaceDataset(store, table, TIGHT, TIGHT)
            began = time.perf_counter()
            sent = len(pickle.dumps(dataset))
            print(
                f"{name}: {sent / 2**20:.1f} MiB a process, pickled in {time.perf_counter() - began:.2f} s", flush=True
            )
            loader = make_loader(dataset, torch.device("cpu"), given.workers, 0, batch_size=8)
            for epoch in (1, 2):
                began = time.perf_counter()
                next(iter(loader))
                print(f"{name}: first batch of epoch {epoch} after {time.perf_counter() - began:.2f} s", flush=True)
            print(f"{name}: a loader process holds {held():.0f} MiB of its own", flush=True)
            del loader


if __name__ == "__main__":
    main()
