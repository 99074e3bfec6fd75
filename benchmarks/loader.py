#!/usr/bin/env python3
"""How many faces a second the loader hands to training: read, changed as each experiment says, cut to its input.

    python benchmarks/loader.py --crops faces_train_0.tar --labels faces.csv lite0_tight lite0_eyes

One worker process per core, no network behind them: what a GPU could be fed with on this machine.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import typer

WARM_UP = 20  # batches


def main(
    experiments: Annotated[list[str], typer.Argument(help="names in train/experiments")],
    crops: Annotated[list[Path], typer.Option(help="face crops, as for dfdc train")],
    labels: Annotated[Path, typer.Option(help="their labels")],
    workers: Annotated[int, typer.Option(help="0: one per core")] = 0,
    seconds: Annotated[float, typer.Option(help="measured per experiment, after the workers have started")] = 20.0,
) -> None:
    """Print images a second for each experiment, and for its crops without any change."""
    from common.cores import cores
    from common.labels import read_labels
    from faces.store import CropStore
    from train.config import load_experiment

    store, table = CropStore(crops), read_labels(labels)
    table = table[table["face"].isin(store.index.keys()) & table["target"].notna()].reset_index(drop=True)
    workers = workers or cores()
    print(f"{len(table)} faces, {workers} workers, {cores()} cores")
    for name in experiments:
        config = load_experiment(name)
        plain = dataclasses.replace(config, augment="none", cutout=0, self_blend=0, degrade=0)
        rates = [measure(store, table, c, workers, seconds) for c in (config, plain)]
        print(f"{name:<20} {rates[0]:8.0f} images/s, {rates[1]:8.0f} only read and cut", flush=True)


def measure(store, table, config, workers: int, seconds: float) -> float:
    """Images a second over `seconds`, from the first batch on."""
    import torch

    from models.registry import TIGHT, get_member
    from train.data.dataset import FaceDataset
    from train.data.loader import make_loader
    from train.data.sampler import PairedSampler

    spec = get_member(config.member).crop
    spec = dataclasses.replace(spec, size=config.size or spec.size)
    dataset = FaceDataset(store, table, spec, TIGHT, config)
    sampler = PairedSampler(table, config.batch, config.seed, config.sampling)
    loader = make_loader(dataset, torch.device("cpu"), workers, config.seed, batch_sampler=sampler)
    began, images = 0.0, 0
    while True:
        for number, (crops, *_) in enumerate(loader):
            if not began:
                # The first batches were made while the slowest worker was still starting.
                began = time.perf_counter() if number >= WARM_UP else 0.0
                continue
            images += len(crops)
            if time.perf_counter() - began > seconds:
                return images / (time.perf_counter() - began)


if __name__ == "__main__":
    typer.run(main)
