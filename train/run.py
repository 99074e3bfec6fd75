"""From files on a command line to a trained member: read the data, run the loop, write the member and its card."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from common.engine import make_runner
from ensemble.calibrate import Calibration, cross_fit, fit_calibration
from ensemble.metrics import auc, log_loss, log_loss_balanced, sigmoid
from models.checkpoint import Card, save_member
from models.registry import get_member
from train.config import TrainConfig, load_experiment
from train.data.dataset import FaceDataset
from train.data.load import TrainData, load_data
from train.data.table import groups_sha256
from train.distributed import Machine, join_team
from train.loop import Trainer
from train.stopping import StoppedError


@dataclass(frozen=True)
class TrainRequest:
    """What a user asks of `dfdc train`."""

    experiment: str  # a name in train/experiments
    crops: tuple[Path, ...]  # folders or uncompressed tars of face crops
    labels: Path  # CSV with face, label, and split or fold
    output: Path  # folder of the run; a stopped run goes on from it
    device: torch.device
    fold: int | None = None  # validated on; None: the rows whose split is "val"
    mesh: Path | None = None  # meshes of the real faces
    epochs: int | None = None  # instead of the experiment's
    until: int | None = None  # the epoch after which the run pauses
    seed: int | None = None  # instead of the experiment's
    workers: int = 1  # loader processes; 0 loads in the training process
    checkpoint_every: int = 200  # steps; what kill -9 can lose at most

    def config(self) -> TrainConfig:
        """Return the experiment's config with what the request changes; ValueError for an unknown experiment."""
        config = load_experiment(self.experiment)
        if self.epochs is not None:
            small = min(config.small_epochs, self.epochs)
            config = dataclasses.replace(config, epochs=self.epochs, small_epochs=small)
        return config if self.seed is None else dataclasses.replace(config, seed=self.seed)


@dataclass(frozen=True)
class TrainResult:
    """How a run ended, for people."""

    card: Card | None  # of the member that was written; None for a stopped run, and for all processes but the first
    message: str  # one line; empty for all processes but the first


def run_training(request: TrainRequest) -> TrainResult:
    """Train (or go on training) one member on labelled face crops, in each process that torchrun has started.

    Args:
        request: what the user asks for.

    Returns:
        The member's card and a line to print.

    Raises:
        ValueError: wrong options, labels or data, or a checkpoint of another run.
        DfdcError: weights to start from are missing, the loss is not finite, or the member cannot be stored.
    """
    config = request.config()
    data = load_data(
        request.crops, request.labels, request.fold, config.val_share, config.seed, request.mesh, config.made_fakes
    )
    name = f"{request.labels.name} ({len(data.train)} training faces)"
    with join_team(request.device) as (team, device):
        machine = Machine(device, request.workers, request.checkpoint_every, request.until, team)
        card = train_member(request.experiment, config, data, request.output, machine, name)
    if card is not None:
        drift = f"storing moves prob_fake of no face by more than {card.max_drift:.4f}"
        told = f"{request.output / card.name}.safetensors: {card.bytes} bytes, {drift}, {card.metrics['val']}"
        return TrainResult(card, told)
    return TrainResult(None, f"stopped; the same command goes on from {request.output}" if team.leads else "")


def train_member(
    name: str, config: TrainConfig, data: TrainData, folder: Path, machine: Machine, data_name: str
) -> Card | None:
    """Train (or go on training) one run, then write <name>.safetensors and its card.

    Args:
        name: of the member that is written.
        config: what decides the weights.
        data: the faces of both sides.
        folder: of the run.
        machine: where it runs.
        data_name: what the card calls the data.

    Returns:
        The card; None when the run was stopped by SIGTERM or Ctrl-C, and its checkpoint is written by then. Of several
        processes the first writes the member, and the others return None.

    Raises:
        ValueError: the data does not fit the member, or the folder holds another run.
        DfdcError: the loss is not finite, or storing the weights moves a face too far.
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
    """Figures of the calibrated member: no face is scored by a calibration that saw its group."""
    label = val["target"].to_numpy()
    prob_fake = sigmoid(cross_fit(logits, label, val["group"].to_numpy(dtype=object)))
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
    """Time scoring in torch, the best of five. OpenVINO, several times faster, stays out of the training process."""
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
