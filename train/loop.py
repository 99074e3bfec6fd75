"""The training loop: step, validate, keep the best, resume."""

from __future__ import annotations

import dataclasses
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from timm.utils.model_ema import ModelEmaV3
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from common.engine import to_device
from common.errors import DfdcError
from common.files import atomic_path, write_text
from ensemble.calibrate import cross_fit
from ensemble.metrics import auc, log_loss_balanced, sigmoid
from faces.crop import CropSpec
from faces.store import CropStore
from models.pretrained import load_start
from models.registry import Scorer, build_member, get_member
from train.augment.mesh import Meshes
from train.augment.mixing import mix_pairs
from train.checkpoint import checkpoint, restore
from train.config import TrainConfig
from train.curves import open_events, write_curves
from train.data.coverage import check_coverage
from train.data.dataset import FaceDataset
from train.data.sampler import PairedSampler
from train.distributed import Team
from train.optim import make_optimizer, pick_dtype, schedule

Batches = DataLoader[tuple[torch.Tensor, torch.Tensor]]
LOOK_EVERY = 10  # steps between looks at the loss: each look makes the CPU wait for the GPU


@dataclasses.dataclass(frozen=True)
class TrainData:
    """What a run trains and validates on."""

    store: CropStore
    train: pd.DataFrame  # columns face, target, group; filename and original where known
    val: pd.DataFrame
    cut_as: CropSpec  # how the crops in the store were cut, where the table does not tell
    fold: int | str = "val"  # which fold, or split, `val` is
    meshes: Meshes | None = None  # of the training faces, where fakes are made of them
    val_meshes: Meshes | None = None  # of the validation faces


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where a run runs; decides nothing about the weights but rounding."""

    device: torch.device
    workers: int = 1  # loader processes
    checkpoint_every: int = 200  # steps
    until: int | None = None  # the epoch after which the run pauses
    team: Team = dataclasses.field(default_factory=Team)


class StoppedError(DfdcError):
    """The run was asked to stop (SIGTERM, Ctrl-C) and has written its checkpoint."""


class Trainer:
    """One run in one folder: `last.pt` to go on from, `history.csv`, the best network so far in `best.pt`."""

    def __init__(self, config: TrainConfig, data: TrainData, folder: Path, machine: Machine) -> None:
        self.config, self.data, self.folder, self.machine = config, data, folder, machine
        self.device, self.team = machine.device, machine.team
        member = get_member(config.member)
        self.spec = dataclasses.replace(member.crop, size=config.size or member.crop.size)
        torch.manual_seed(config.seed)
        backbone = build_member(member)
        for table in (data.train, data.val):
            check_coverage(table, self.spec)
        self.start = load_start(backbone, member.backbone, config.start)
        if config.sync_bn:
            backbone = torch.nn.SyncBatchNorm.convert_sync_batchnorm(backbone)
        self.model = to_device(Scorer(backbone, self.spec), self.device)
        self.ema = ModelEmaV3(self.model, decay=config.ema_decay, use_warmup=config.ema_decay > 0)
        self.network = DistributedDataParallel(self.model) if self.team.world > 1 else self.model
        self.optimizer = make_optimizer(self.model, config)
        self.dtype = pick_dtype(config.amp, self.device)
        self.scaler = torch.amp.grad_scaler.GradScaler(self.device.type, enabled=self.dtype is torch.float16)
        self.sampler = PairedSampler(
            data.train, config.batch, config.seed, config.sampling, self.team.rank, self.team.world
        )
        torch.manual_seed(config.seed + self.team.rank)  # the start is common, what falls to dropout is not
        self.epoch, self.step, self.seconds, self.loss_sum = 0, 0, 0.0, 0.0
        self.best = math.inf
        self.history: list[dict[str, Any]] = []
        self._stop = False
        if self.steps_in_epoch < 1:
            raise ValueError(f"accumulate {config.accumulate} is more than the {len(self.sampler)} batches of an epoch")

    @property
    def steps_in_epoch(self) -> int:
        """Optimiser steps of an epoch."""
        return len(self.sampler) // self.config.accumulate

    @property
    def steps_in_all(self) -> int:
        """Optimiser steps of the whole run."""
        return self.steps_in_epoch * self.config.epochs

    @property
    def _quiet(self) -> dict[str, bool]:
        """Bars are drawn by one process."""
        return {} if self.team.leads else {"disable": True}

    def run(self) -> None:
        """Train to the last epoch, from `last.pt` where there is one. Raises StoppedError after SIGTERM or SIGINT."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / "last.pt").exists():
            restore(self, self.folder / "last.pt")
        with self._stoppable():
            while self.epoch < self.config.epochs:
                self._train_epoch()
                self._end_epoch()
                if self.epoch == self.machine.until and self.epoch < self.config.epochs:
                    raise StoppedError(f"paused after epoch {self.epoch}; run the same command to go on")

    def _train_epoch(self) -> None:
        self.model.train()
        began, base = time.monotonic(), self.seconds
        done = self.step - self.epoch * self.steps_in_epoch
        batches = iter(self._batches(done * self.config.accumulate))
        title = f"epoch {self.epoch + 1}/{self.config.epochs}"
        bar = tqdm(total=self.steps_in_epoch, initial=done, desc=title, **self._quiet)
        fresh = torch.zeros((), dtype=torch.float64, device=self.device)  # the loss since the last look
        for _ in range(done, self.steps_in_epoch):
            fresh += self._update(batches)
            self.step += 1
            bar.update()
            self.seconds = base + time.monotonic() - began
            stop = self.team.any(self._stop, self.device)
            save = stop or self.step % self.machine.checkpoint_every == 0
            if save or self.step % LOOK_EVERY == 0 or self.step % self.steps_in_epoch == 0:
                self._look(fresh, bar)
            if save:
                self._save()
            if stop:
                raise StoppedError(f"stopped at step {self.step} of {self.steps_in_all}; run the same command to go on")

    def _look(self, fresh: torch.Tensor, bar: tqdm[Any]) -> None:
        """Take the loss off the device. One that is not finite is a DfdcError, before anything is saved."""
        loss = fresh.item()
        if not math.isfinite(loss):
            raise DfdcError(f"the loss became {loss} before step {self.step}; start again with lr < {self.config.lr}")
        self.loss_sum += loss
        fresh.zero_()
        seen = self.step - self.epoch * self.steps_in_epoch
        bar.set_postfix(loss=f"{self.loss_sum / seen:.3f}")

    def _batches(self, done: int) -> Batches:
        size = self.config.small_size if self.epoch < self.config.small_epochs else self.spec.size
        spec = dataclasses.replace(self.spec, size=min(size, self.spec.size))
        dataset = FaceDataset(
            self.data.store, self.data.train, spec, self.data.cut_as, self.config, meshes=self.data.meshes
        )
        dataset.epoch = self.sampler.epoch = self.epoch
        self.sampler.start = done
        return self._loader(dataset, batch_sampler=self.sampler)

    def _loader(self, dataset: Any, **order: Any) -> Batches:
        workers = self.machine.workers
        return DataLoader(
            dataset,
            num_workers=workers,
            # Its own generator: a loader draws from it when it starts, and a resumed epoch starts one loader more.
            generator=torch.Generator().manual_seed(self.config.seed),
            pin_memory=self.device.type == "cuda",
            # Not fork: OpenCV's thread pool does not survive it, and the worker would wait for ever.
            multiprocessing_context="forkserver" if workers else None,
            worker_init_fn=one_thread if workers else None,
            **order,
        )

    def _update(self, batches: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """One optimiser step over `accumulate` batches; returns their mean loss, still on the device."""
        config, total = self.config, torch.zeros((), dtype=torch.float64, device=self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * schedule(self.step, self.steps_in_all, config)
        self.optimizer.zero_grad(set_to_none=True)
        for part in range(config.accumulate):
            # Gradients travel between processes once per step.
            last = part == config.accumulate - 1
            network = self.network
            with nullcontext() if last or not isinstance(network, DistributedDataParallel) else network.no_sync():
                loss = self._loss(*next(batches), part) / config.accumulate
                self.scaler.scale(loss).backward()
            total += loss.detach()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.ema.update(self.model, step=self.step)
        return total

    def _loss(self, crops: torch.Tensor, target: torch.Tensor, part: int) -> torch.Tensor:
        config = self.config
        crops, target = crops.to(self.device, non_blocking=True), target.to(self.device, non_blocking=True)
        if config.mixup:
            seed = (config.seed, self.step, part, self.team.rank)
            crops, target = mix_pairs(crops, target, config.mixup, np.random.default_rng(seed))
        with self._autocast():
            logits = self.network(crops)
        smooth = target.float() * (1 - config.label_smoothing) + config.label_smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits.float(), smooth)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype or torch.bfloat16, enabled=self.dtype is not None)

    def _end_epoch(self) -> None:
        logits = self.validate()
        label, prob_fake = self.data.val["target"].to_numpy(), sigmoid(logits)
        group = self.data.val["group"].to_numpy(dtype=str)
        losses = self.team.gather(self.loss_sum / self.steps_in_epoch)
        row = {
            "epoch": self.epoch + 1,
            "step": self.step,
            "train_loss": float(np.mean(losses)),
            "val_log_loss_balanced": log_loss_balanced(label, prob_fake),
            # What counts: the member is calibrated when it is exported, so being too bold is no fault of an epoch.
            "val_log_loss_calibrated": log_loss_balanced(label, sigmoid(cross_fit(logits, label, group))),
            "val_auc": auc(label, prob_fake),
            "lr": float(self.optimizer.param_groups[0]["lr"]),
            "seconds": round(self.seconds, 1),
        }
        self.history.append(row)
        better = row["val_log_loss_calibrated"] < self.best
        self.best = min(self.best, row["val_log_loss_calibrated"])
        self.epoch, self.loss_sum = self.epoch + 1, 0.0
        if self.team.leads:
            tqdm.write(
                f"epoch {self.epoch}: val log loss {row['val_log_loss_calibrated']:.4f}, AUC {row['val_auc']:.4f}"
            )
            if better:
                with atomic_path(self.folder / "best.pt") as temporary:
                    torch.save(self.ema.module.state_dict(), temporary)
            self._publish(row)
        self._save()

    def _publish(self, row: dict[str, Any]) -> None:
        """The epoch for people: a table, a picture, an event for TensorBoard."""
        write_text(self.folder / "history.csv", pd.DataFrame(self.history).to_csv(index=False))
        write_curves(self.history, self.folder / "curves.png", self.config.member)
        with open_events(self.folder) as events:
            for key, value in row.items():
                if key not in ("epoch", "step"):
                    events.add_scalar(key, value, row["step"])

    @torch.inference_mode()
    def validate(self) -> np.ndarray:
        """Logits of the EMA network over the validation faces, without augmentation, in the table's order."""
        dataset = FaceDataset(self.data.store, self.data.val, self.spec, self.data.cut_as, meshes=self.data.val_meshes)
        mine = range(self.team.rank, len(dataset), self.team.world)
        network = self.ema.module.eval()
        logits = np.full(len(dataset), np.nan)
        loader = self._loader(Subset(dataset, list(mine)), batch_size=32)
        bar = tqdm(loader, desc="validate", leave=False, **self._quiet)
        found = [network(crops.to(self.device)).float().cpu() for crops, _ in bar]
        for rank, part in enumerate(self.team.gather(torch.cat(found).numpy().astype(np.float64) if found else [])):
            logits[rank :: self.team.world] = part
        return logits

    def _save(self) -> None:
        state = checkpoint(self)
        if self.team.leads:
            with atomic_path(self.folder / "last.pt") as temporary:
                torch.save(state, temporary)
        self.team.wait()

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """While training, SIGTERM and SIGINT ask for a checkpoint after the step in hand."""

        def ask(*_: object) -> None:
            self._stop = True

        before = {s: signal.signal(s, ask) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def one_thread(_: int) -> None:
    """A loader worker is one of many: OpenCV's own threads would fight the training for the cores."""
    import cv2

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
