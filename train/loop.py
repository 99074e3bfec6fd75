"""The training loop: step, validate, keep the best, save, resume."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.utils.model_ema import ModelEmaV3
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from common.engine import to_device
from common.errors import DfdcError
from models.network import Scorer, build_member
from models.registry import get_member
from train.augment.mixing import mix_pairs
from train.checkpoint import BEST, LAST, read_latest, remove_leftovers, save_weights, write_checkpoint
from train.config import TrainConfig
from train.curves import publish
from train.data.coverage import check_coverage
from train.data.load import TrainData
from train.data.sampler import PairedSampler
from train.distributed import Machine, share_batch_statistics
from train.memory import explain_out_of_memory
from train.optim import make_optimizer, pick_dtype, schedule
from train.seams import WithSeams
from train.start import start_of
from train.state import apply_state, take_state
from train.stopping import GO_ON, StoppedError, Stops
from train.trackers import RunLog, open_trackers
from train.validate import figures_of, score_together, training_batches, validation_batches

LOOK_EVERY = 10  # steps between looks at the loss: each look makes the CPU wait for the GPU
Batch = tuple[torch.Tensor, ...]


class Trainer:
    """One run in one folder: `last.pt` to go on from, `history.csv`, the best network so far in `best.pt`.

    Args:
        config: what decides the weights.
        data: the faces of both sides.
        folder: of the run; a checkpoint in it is gone on from.
        machine: the device, the loader processes and the team.
        stops: who asks the run to stop.

    Raises:
        ValueError: the stored crops are too small for the member, or the faces do not fill a batch.
        DfdcError: the weights to start from are missing or damaged, or shared memory is too small.
    """

    def __init__(
        self, config: TrainConfig, data: TrainData, folder: Path, machine: Machine, stops: Stops | None = None
    ) -> None:
        self.config, self.data, self.folder, self.machine = config, data, folder, machine
        self.device, self.team, self.stops = machine.device, machine.team, stops or Stops()
        self.fingerprint = data.fingerprint()
        member = get_member(config.member)
        self.spec = dataclasses.replace(member.crop, size=config.size or member.crop.size)
        torch.manual_seed(config.seed)
        backbone = build_member(member)
        for table in (data.train, data.val):
            check_coverage(table, self.spec)
        self.start, self.learnt = start_of(backbone, member, config)
        if config.sync_bn:
            backbone = share_batch_statistics(backbone, self.team)
        self.model = to_device(Scorer(backbone, self.spec), self.device)
        self.ema = ModelEmaV3(self.model, decay=config.ema_decay, use_warmup=config.ema_decay > 0)
        # Only the scorer is averaged, validated and kept: the head for seams teaches it, and is dropped.
        self.asked = to_device(WithSeams(self.model), self.device) if config.seams else self.model
        self.together = DistributedDataParallel(self.asked) if self.team.world > 1 else None
        self.network: Any = self.together or self.asked
        if machine.compile:
            self.network = torch.compile(self.network)
        self.optimizer = make_optimizer(self.asked, config)
        self.dtype = pick_dtype(config.amp, self.device)
        self.scaler = torch.amp.grad_scaler.GradScaler(self.device.type, enabled=self.dtype is torch.float16)
        self.sampler = PairedSampler(
            data.train, config.batch, config.seed, config.sampling, self.team.rank, self.team.world
        )
        self.batches, self.val_batches = training_batches(self), validation_batches(self)
        torch.manual_seed(config.seed + self.team.rank)  # the start is common, what falls to dropout is not
        self.epoch, self.step, self.seconds, self.loss_sum = 0, 0, 0.0, 0.0
        self.best = math.inf
        self.history: list[dict[str, Any]] = []
        self.extended: list[dict[str, Any]] = []  # what --extend has changed, and when
        self.log = RunLog((), self.device, config.batch * config.accumulate * self.team.world)
        self._fresh = torch.zeros((), dtype=torch.float64, device=self.device)  # the loss since the last look
        self._failure: DfdcError | None = None  # of this process's loaders
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
        """Train to the last epoch, from the newest checkpoint of the folder or of the mirror where there is one.

        Raises:
            StoppedError: a stop was asked for, or the machine's `until` is reached; the checkpoint is written.
            ValueError: the checkpoint is of other options, other data or another number of processes.
            DfdcError: the loss is no longer finite, a loader process died, the disk or the GPU's memory is full.
        """
        with self.stops.held(), closing(self.log):
            self._resume()
            if self.team.leads:
                options = dataclasses.asdict(self.config)
                self.log.trackers = open_trackers(self.machine.track, self.folder, self.folder.name, options)
            while self.epoch < self.config.epochs:
                self._train_epoch()
                self._end_epoch()
                if self.epoch == self.machine.until and self.epoch < self.config.epochs:
                    raise StoppedError(f"paused after epoch {self.epoch}; {GO_ON}")

    def _resume(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.team.leads:
            remove_leftovers(self.folder)
            if self.machine.mirror is not None:
                self.machine.mirror.restore(self.folder)
        self.team.wait()
        if (state := read_latest(self.folder)) is not None:
            apply_state(self, state)

    def _train_epoch(self) -> None:
        self.asked.train()
        began, base = time.monotonic(), self.seconds
        done = self.step - self.epoch * self.steps_in_epoch
        if done == self.steps_in_epoch:
            return  # stopped while it was validated
        self.sampler.epoch, self.sampler.start = self.epoch, done * self.config.accumulate
        batches = iter(self.batches)
        title = f"epoch {self.epoch + 1}/{self.config.epochs}"
        bar = tqdm(total=self.steps_in_epoch, initial=done, desc=title, **self._quiet)
        self._fresh.zero_()
        self.log.begin()
        for _ in range(done, self.steps_in_epoch):
            with self.log.waiting():
                given = self._fetch(batches)
            if self.team.any(given is None or self.stops.asked):
                self._stop(bar)
            self._fresh += self._update(given or [])
            self.step += 1
            bar.update()
            self.seconds = base + time.monotonic() - began
            save = self.step % self.machine.checkpoint_every == 0
            if save or self.step % LOOK_EVERY == 0 or self.step % self.steps_in_epoch == 0:
                self._look(bar)
            if save:
                self._save()

    def _fetch(self, batches: Iterator[Batch]) -> list[Batch] | None:
        """The batches of one step; None when a stop was asked for or the loaders are gone.

        All of a step at once: whoever stops here has taken no part of a step, and the others can stop before theirs.
        """
        try:
            with self.stops.released():
                return [next(batches) for _ in range(self.config.accumulate)]
        except StoppedError:
            return None
        except RuntimeError as error:
            if "DataLoader worker (pid" not in str(error):
                raise
            self._failure = DfdcError(
                f"a loader process died ({str(error).splitlines()[0]}), most often for want of memory; the run is "
                f"saved: give fewer --workers (now {self.machine.workers}) and {GO_ON}"
            )
            self._failure.__cause__ = error
            return None

    def _stop(self, bar: tqdm[Any]) -> None:
        """Save and leave, all processes together."""
        self._look(bar)
        self._save()
        if self._failure is not None:
            raise self._failure
        raise StoppedError(f"stopped at step {self.step} of {self.steps_in_all}; {GO_ON}")

    def _look(self, bar: tqdm[Any]) -> None:
        """Take the loss off the device. One that is not finite is a DfdcError, before anything is saved."""
        loss = self._fresh.item()
        if not math.isfinite(loss):
            raise DfdcError(
                f"the loss became {loss} before step {self.step}; go on from the last checkpoint with --extend and a "
                f"lr < {self.config.lr}, or start again with it"
            )
        self.loss_sum += loss
        self._fresh.zero_()
        self.log.look(self.step, loss, self.optimizer.param_groups[0]["lr"])
        seen = max(1, self.step - self.epoch * self.steps_in_epoch)
        bar.set_postfix(loss=f"{self.loss_sum / seen:.3f}")

    def _update(self, batches: list[Batch]) -> torch.Tensor:
        """One optimiser step over `accumulate` batches; returns their mean loss, still on the device."""
        config, total = self.config, torch.zeros((), dtype=torch.float64, device=self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * schedule(self.step, self.steps_in_all, config)
        self.optimizer.zero_grad(set_to_none=True)
        for part, batch in enumerate(batches):
            # Gradients travel between processes once per step.
            last = part == config.accumulate - 1
            with nullcontext() if last or self.together is None else self.together.no_sync():
                try:
                    loss = self._loss(batch, part) / config.accumulate
                    self.scaler.scale(loss).backward()
                except torch.cuda.OutOfMemoryError as error:
                    raise explain_out_of_memory(self, batch) from error
            total += loss.detach()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.asked.parameters(), config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.ema.update(self.model, step=self.step)
        return total

    def _loss(self, batch: Batch, part: int, network: Any = None) -> torch.Tensor:
        config = self.config
        crops, target, *where = (tensor.to(self.device, non_blocking=True) for tensor in batch)
        if config.mixup:
            seed = (config.seed, self.step, part, self.team.rank)
            crops, target = mix_pairs(crops, target, config.mixup, np.random.default_rng(seed))
        with self._autocast():
            answer = (network or self.network)(crops)
        logits, *seams = answer if config.seams else (answer,)
        smooth = target.float() * (1 - config.label_smoothing) + config.label_smoothing / 2
        loss = functional.binary_cross_entropy_with_logits(logits.float(), smooth)
        for told, truth in zip(seams, where, strict=True):
            loss = loss + config.seams * functional.binary_cross_entropy_with_logits(told.float(), truth)
        return loss

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype or torch.bfloat16, enabled=self.dtype is not None)

    def _end_epoch(self) -> None:
        self._save()  # before validation, which may take long: a machine that goes away in it costs no step
        logits = self.validate()
        row = {
            "epoch": self.epoch + 1,
            "step": self.step,
            "train_loss": float(np.mean(self.team.gather(self.loss_sum / self.steps_in_epoch))),
            **figures_of(logits, self.data.val),
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
                save_weights(self.folder / BEST, self.ema.module.state_dict())
        self._save()
        if self.team.leads:
            publish(self.history, self.folder, self.config.member)
            self.log.epoch(row)

    def validate(self) -> np.ndarray:
        """Score the validation faces by the averaged network, without augmentation.

        Returns:
            (N,) float64 logits in the order of the table. Every process must call it; each scores its share.

        Raises:
            StoppedError: a stop was asked for; it is acted on between two batches.
        """
        self.team.average_buffers(self.ema.module)
        return score_together(self, self.ema.module.eval())

    def _save(self) -> None:
        self.team.average_buffers(self.ema.module)
        state = take_state(self)
        if self.team.leads:
            write_checkpoint(self.folder / LAST, state)
            if self.machine.mirror is not None:
                self.machine.mirror.send(self.folder, self.step)
        self.team.wait()
