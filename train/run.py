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

from dfdc_runtime import make_runner
from ensemble.calibrate import Calibration, cross_fit, fit_calibration
from ensemble.labels import read_labels
from ensemble.metrics import auc, log_loss, log_loss_balanced, sigmoid
from faces.store import CropStore
from models.checkpoint import Card, save_member
from models.registry import TIGHT, get_member
from train.config import TrainConfig
from train.loop import StoppedError, TrainData, Trainer


def load_data(crops: Sequence[Path], labels: Path) -> TrainData:
    """Crops and labels; rows whose `split` is "val" are validated on, the rest is trained on.

    Raises ValueError when there is no validation row, or a group stands on both sides (a leak), naming it.
    """
    store, table = CropStore(crops), read_labels(labels)
    if "face" not in table or "split" not in table:
        raise ValueError(f"{labels} needs the columns 'face' and 'split' (train or val) for training")
    table = table[table["target"].notna() & table["face"].isin(store.index.keys())]
    is_val = table["split"] == "val"
    train, val = table[~is_val].reset_index(drop=True), table[is_val].reset_index(drop=True)
    if train.empty or val.empty:
        raise ValueError(
            f"{labels} and {[str(c) for c in crops]} share {len(train)} training and {len(val)} validation faces"
        )
    if leaked := sorted(set(train["group"]) & set(val["group"])):
        raise ValueError(f"{len(leaked)} groups are in training and in validation, the first is {leaked[0]!r}")
    return TrainData(store, train, val, cut_as=TIGHT)


def train_member(
    name: str, config: TrainConfig, data: TrainData, folder: Path, device: torch.device, workers: int, data_name: str
) -> Card | None:
    """Train (or go on training) one run in `folder`, then write <name>.safetensors and its card there.

    Returns None when the run was stopped by SIGTERM or Ctrl-C; its checkpoint is written by then.
    """
    trainer = Trainer(config, data, folder, device, workers)
    try:
        trainer.run()
    except StoppedError:
        return None
    best = torch.load(folder / "best.pt", map_location=device, weights_only=True)
    trainer.ema.module.load_state_dict(best)
    logits, calibration = _calibrate(trainer, data.val)
    member = get_member(config.member)
    card = Card(
        name=name,
        backbone=member.backbone,
        crop=member.crop,
        sha256="",
        bytes=0,
        parameters=0,
        dtype="",
        training=_provenance(trainer, data, data_name),
        metrics={"val": _metrics(logits, calibration, data.val)},
        seconds_per_32_crops=_seconds_per_32_crops(trainer.ema.module, member.crop.size, device),
    )
    return save_member(folder, card, trainer.ema.module.backbone)


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


def _seconds_per_32_crops(judge: torch.nn.Module, size: int, device: torch.device) -> float:
    """What judging costs here in torch: the best of five. (OpenVINO, several times faster, stays out of training.)"""
    run = make_runner(judge, size, device, engine="torch", batch=32)
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
        "fold": "rows whose split is not val",
        "start": trainer.start,
        "config": dataclasses.asdict(trainer.config),
        "history": trainer.history,
        "seconds": round(trainer.seconds),
        "device": _device_name(trainer.device),
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
