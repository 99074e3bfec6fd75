"""From files on a command line to a trained member: read the data, run the loop, write the member and its card."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from common.errors import DfdcError
from faces.remote import CACHE_GIB
from models.checkpoint import Card
from train.config import TrainConfig, load_experiment
from train.data.load import MAX_DROPPED, TrainData, load_data
from train.data.loader import default_workers
from train.distributed import Machine, Team, join_team
from train.export import export_member
from train.loop import Trainer
from train.mirror import Mirror
from train.optim import prefer_speed
from train.plan import describe, time_steps
from train.stopping import StoppedError, Stops, stop_requests


@dataclass(frozen=True)
class TrainRequest:
    """What a user asks of `dfdc train`."""

    experiment: str  # a name in train/experiments, or the path of a file like those
    crops: tuple[Path | str, ...]  # folders or uncompressed tars of face crops, or URLs
    labels: Path  # CSV with face, label, and split or fold
    output: Path  # folder of the run; a stopped run goes on from it
    device: torch.device
    fold: int | None = None  # validated on; None: the rows whose split is "val"
    mesh: Path | None = None  # meshes of the real faces
    epochs: int | None = None  # instead of the experiment's
    until: int | None = None  # the epoch after which the run pauses
    seed: int | None = None  # instead of the experiment's
    workers: int | None = None  # loader processes; 0 loads in the training process; None: from the cores
    checkpoint_every: int = 200  # steps; what kill -9 can lose at most
    changes: tuple[str, ...] = ()  # key=value, over the experiment's config
    init: Path | None = None  # the weights of a member to start from
    extend: bool = False  # go on with other options or another number of processes
    compile: bool = False  # torch.compile
    mirror: str | None = None  # URL of a folder that follows the run
    dry_run: bool = False  # say what the run would do and how long it would take, and do not do it
    price: float | None = None  # of an hour of the machine
    max_dropped: float = MAX_DROPPED  # share of the rows that may lack a label or a crop
    cache_gib: float = CACHE_GIB  # of crops behind URLs that are kept on this machine
    track: tuple[str, ...] = ()  # wandb, mlflow: told beside TensorBoard's events

    def config(self) -> TrainConfig:
        """Return the experiment's config with what the request changes; ValueError for what does not exist."""
        config = load_experiment(self.experiment).changed(self.changes)
        if self.epochs is not None:
            small = min(config.small_epochs, self.epochs)
            config = dataclasses.replace(config, epochs=self.epochs, small_epochs=small)
        if self.init is not None:
            config = dataclasses.replace(config, init=str(self.init))
        return config if self.seed is None else dataclasses.replace(config, seed=self.seed)

    @property
    def name(self) -> str:
        """Of the member that is written."""
        return Path(self.experiment).stem if self.experiment.endswith(".py") else self.experiment


@dataclass(frozen=True)
class TrainResult:
    """How a run ended, for people."""

    card: Card | None  # of the member that was written; None for a stopped run, and for all processes but the first
    message: str  # one line; empty for all processes but the first
    stopped: bool = False  # the same command goes on
    interrupted: bool = False  # stopped by Ctrl-C


def run_training(request: TrainRequest) -> TrainResult:
    """Train (or go on training) one member on labelled face crops, in each process that torchrun has started.

    Args:
        request: what the user asks for.

    Returns:
        The member's card and a line to print.

    Raises:
        ValueError: wrong options, labels or data, or a checkpoint of another run.
        DfdcError: weights to start from are missing, the loss is not finite, a loader process died, the disk, the
            shared memory or the GPU's memory is full, or the member cannot be stored.
    """
    leads = True
    with stop_requests() as stops:
        try:
            config = request.config()
            data = load_data(
                request.crops, request.labels, request.fold, config.val_share, config.seed, request.mesh,
                config.made_fakes, request.max_dropped, request.cache_gib,
            )  # fmt: skip
            with join_team(request.device) as (team, device):
                leads = team.leads
                prefer_speed(device)
                machine = _machine(request, device, team)
                if request.dry_run:
                    trainer = Trainer(config, data, request.output, machine, stops)
                    told = f"{describe(trainer)}\n{time_steps(trainer).text(request.price)}"
                    return TrainResult(None, told if leads else "")
                name = f"{request.labels.name} ({len(data.train)} training faces)"
                card = _train(request.name, config, data, request.output, machine, name, stops)
        except StoppedError as stop:
            told = f"{stop}, from {request.output}" if leads else ""
            return TrainResult(None, told, stopped=True, interrupted=stops.interrupted)
    if card is None:
        return TrainResult(None, "")
    drift = f"storing moves prob_fake of no face by more than {card.max_drift:.4f}"
    told = f"{request.output / card.name}.safetensors: {card.bytes} bytes, {drift}; {in_words(card.metrics['val'])}"
    return TrainResult(card, told)


def in_words(metrics: Mapping[str, Any]) -> str:
    """Write the figures of the validation faces, as `train.export` makes them, as a clause for people."""
    balanced = (
        f"{metrics['log_loss_balanced']:.4f} ({metrics['log_loss_balanced_uncalibrated']:.4f} before calibration)"
    )
    figures = f"AUC {metrics['auc']:.4f} and log loss {metrics['log_loss']:.4f}, with the classes balanced {balanced}"
    return f"on {metrics['faces']} validation faces {figures}; {metrics['note']}"


def _machine(request: TrainRequest, device: torch.device, team: Team) -> Machine:
    mirror = Mirror(request.mirror) if request.mirror and team.leads else None
    workers = default_workers(device, team.here) if request.workers is None else request.workers
    return Machine(
        device,
        workers,
        request.checkpoint_every,
        request.until,
        request.extend,
        request.compile,
        mirror,
        request.track,
        team,
    )


def train_member(
    name: str,
    config: TrainConfig,
    data: TrainData,
    folder: Path,
    machine: Machine,
    data_name: str,
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
        DfdcError: as `run_training`.
    """
    with stop_requests() as stops:
        try:
            return _train(name, config, data, folder, machine, data_name, stops)
        except StoppedError:
            return None


def _train(
    name: str, config: TrainConfig, data: TrainData, folder: Path, machine: Machine, data_name: str, stops: Stops
) -> Card | None:
    """As `train_member`; StoppedError when the run was stopped."""
    # In a team nobody leaves alone: the others would wait for ever.
    with stops.held() if machine.team.world > 1 else nullcontext():
        trainer = Trainer(config, data, folder, machine, stops)
        if machine.team.leads:
            print(describe(trainer), file=sys.stderr)
        try:
            trainer.run()
            card = export_member(trainer, name, data_name)
        except DfdcError:  # a stop among them: what was saved last shall be away before this process is
            if machine.mirror is not None:
                machine.mirror.close()
            raise
        if card is not None and machine.mirror is not None:
            machine.mirror.send_member(folder, name)
        return card
