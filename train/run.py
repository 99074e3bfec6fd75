"""From files on a command line to a trained member: read the data, run the loop, write the member and its card."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from common.engine import make_runner
from common.labels import read_labels
from ensemble.calibrate import Calibration, cross_fit, fit_calibration
from ensemble.metrics import auc, log_loss, log_loss_balanced, sigmoid
from faces.store import CropStore
from models.checkpoint import Card, save_member
from models.registry import TIGHT, get_member
from train.augment.mesh import Meshes
from train.config import TrainConfig
from train.data.dataset import FaceDataset
from train.data.table import HOLDOUT, groups_sha256
from train.loop import Machine, StoppedError, TrainData, Trainer


def load_data(
    crops: Sequence[Path],
    labels: Path,
    fold: int | None = None,
    val_share: float = 0.0,
    seed: int = 0,
    mesh: Path | None = None,
    made_fakes: bool = False,
) -> TrainData:
    """Crops and labels, cut into what is trained on and what is validated on.

    With `fold` the rows of that fold are validated on, those held out altogether (fold -1) left alone, the rest is
    trained on. Without it the rows whose `split` is "val" are validated on; and where the table has no split, a
    `val_share` of its groups, drawn with `seed`. Raises ValueError when a side is empty, or a group stands on both
    (a leak), naming it.
    """
    store, table = CropStore(crops), read_labels(labels)
    if "face" not in table:
        raise ValueError(f"{labels} needs a column 'face' for training; it has {list(table.columns)}")
    table = table[table["target"].notna() & table["face"].isin(store.index.keys())]
    is_val, is_out, held_out = _held_out(table, labels, fold, val_share, seed)
    train, val = table[~is_val & ~is_out].reset_index(drop=True), table[is_val].reset_index(drop=True)
    if train.empty or val.empty:
        raise ValueError(
            f"{labels} and {[str(c) for c in crops]} share {len(train)} training and {len(val)} validation faces"
        )
    if leaked := sorted(set(train["group"]) & set(val["group"])):
        raise ValueError(f"{len(leaked)} groups are in training and in validation, the first is {leaked[0]!r}")
    # Each side has donors of its own: a face that is validated on must not show up in a fake that is trained on.
    meshes, val_meshes = (None if mesh is None else Meshes.read(mesh, set(side["face"])) for side in (train, val))
    if made_fakes:
        if meshes is None or val_meshes is None:
            raise ValueError("this experiment makes its fakes from meshes; give --mesh (scripts/find_mesh.py makes it)")
        train, val = with_made_fakes(train, meshes), with_made_fakes(val, val_meshes)
    return TrainData(store, train, val, cut_as=TIGHT, fold=held_out, meshes=meshes, val_meshes=val_meshes)


def with_made_fakes(table: pd.DataFrame, meshes: Meshes) -> pd.DataFrame:
    """The reals that have a mesh, and as many fakes to be made of them, each the copy of its real."""
    reals = table[(table["target"] == 0) & table["face"].isin(meshes.row_of)].assign(made=False)
    fakes = reals.assign(target=1, made=True, original=reals["filename"], filename="made of " + reals["filename"])
    return pd.concat([reals, fakes], ignore_index=True)


def _held_out(
    table: pd.DataFrame, labels: Path, fold: int | None, val_share: float, seed: int
) -> tuple[pd.Series[bool], pd.Series[bool], int | str]:
    """Which rows are validated on, which are not used at all, and what the former are called."""
    nothing = pd.Series(False, index=table.index)
    if fold is not None:
        if "fold" not in table:
            raise ValueError(f"{labels} has no column 'fold'; make it with `dfdc folds`, or leave --fold out")
        numbers = pd.to_numeric(table["fold"], errors="raise").astype(int)
        return numbers == fold, numbers == HOLDOUT, fold
    if "split" in table:
        return table["split"] == "val", nothing, "val"
    if not val_share:
        raise ValueError(f"{labels} needs a column 'split' (train or val), or `dfdc folds` and --fold")
    groups = np.unique(table["group"].to_numpy(dtype=str))
    chosen = np.random.default_rng(seed).permutation(groups)[: max(1, round(len(groups) * val_share))]
    return table["group"].isin(chosen), nothing, f"{val_share:g} of the groups"


def train_member(
    name: str, config: TrainConfig, data: TrainData, folder: Path, machine: Machine, data_name: str
) -> Card | None:
    """Train (or go on training) one run in `folder`, then write <name>.safetensors and its card there.

    Returns None when the run was stopped by SIGTERM or Ctrl-C; its checkpoint is written by then. Of several processes
    the first writes the member, and the others return None.
    """
    trainer = Trainer(config, data, folder, machine)
    try:
        trainer.run()
    except StoppedError:
        return None
    best = torch.load(folder / "best.pt", map_location=machine.device, weights_only=True)
    trainer.ema.module.load_state_dict(best)
    logits, calibration = _calibrate(trainer, data.val)
    if not machine.team.leads:
        return None
    member, scorer = get_member(config.member), trainer.ema.module
    card = Card(
        name=name,
        backbone=member.backbone,
        crop=trainer.spec,
        sha256="",
        bytes=0,
        parameters=0,
        dtype="",
        head=member.head,
        training=_provenance(trainer, data, data_name),
        metrics={"val": _metrics(logits, calibration, data.val)},
        seconds_per_32_crops=_seconds_per_32_crops(scorer, trainer.spec.size, machine.device),
    )
    return save_member(folder, card, scorer.backbone, drift_on=_some_faces(trainer))


def _some_faces(trainer: Trainer, count: int = 256) -> NDArray[np.uint8]:
    """Validation crops, evenly spread over the table, on which halving the precision must change nothing."""
    data = trainer.data
    dataset = FaceDataset(data.store, data.val, trainer.spec, data.cut_as, meshes=data.val_meshes)
    rows = np.unique(np.linspace(0, len(dataset) - 1, count).round().astype(int))
    return np.stack([dataset[int(row)][0].numpy() for row in rows])


def _calibrate(trainer: Trainer, val: pd.DataFrame) -> tuple[NDArray[np.float64], Calibration]:
    """Fit the calibration on the validation faces and build it into the classifier; returns the logits before it."""
    logits = trainer.validate()
    calibration = fit_calibration(logits, val["target"].to_numpy())
    classifier: torch.nn.Linear = trainer.ema.module.backbone.get_classifier()
    with torch.no_grad():
        classifier.weight.mul_(calibration.scale)
        classifier.bias.mul_(calibration.scale).add_(calibration.shift)
    return logits, calibration


def _metrics(logits: NDArray[np.float64], calibration: Calibration, val: pd.DataFrame) -> dict[str, Any]:
    """What the calibrated member is worth: no face is scored by a calibration that saw its group."""
    label = val["target"].to_numpy()
    prob_fake = sigmoid(cross_fit(logits, label, val["group"].to_numpy(dtype=str)))
    return {
        "faces": len(val),
        "auc": round(auc(label, prob_fake), 5),
        "log_loss_balanced": round(log_loss_balanced(label, prob_fake), 5),
        "log_loss": round(log_loss(label, prob_fake), 5),
        "log_loss_balanced_uncalibrated": round(log_loss_balanced(label, sigmoid(logits)), 5),
        "calibration": {"scale": round(calibration.scale, 5), "shift": round(calibration.shift, 5)},
        "note": "calibration cross-fitted by group; the epoch was chosen on these faces, so slightly optimistic",
    }


def _seconds_per_32_crops(scorer: torch.nn.Module, size: int, device: torch.device) -> float:
    """What judging costs here in torch: the best of five. (OpenVINO, several times faster, stays out of training.)"""
    run = make_runner(scorer, size, device, engine="torch", batch=32)
    crops = np.zeros((32, size, size, 3), dtype=np.uint8)
    run(crops)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        run(crops)
        times.append(time.perf_counter() - began)
    return round(min(times), 4)


def _provenance(trainer: Trainer, data: TrainData, data_name: str) -> dict[str, Any]:
    packages = ("torch", "timm", "numpy", "opencv-python-headless")
    return {
        "data": data_name,
        "faces": len(data.train),
        "fold": data.fold,
        "groups_sha256": groups_sha256(data.train),
        "start": trainer.start,
        "config": dataclasses.asdict(trainer.config),
        "history": trainer.history,
        "seconds": round(trainer.seconds),
        "device": _device_name(trainer.device),
        "processes": trainer.team.world,
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "commit": _commit(),
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


def _commit() -> str:
    """The source's commit, with + when files differ from it; empty outside a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=12", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
