"""The training loop: step, validate, keep the best, save, resume."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.utils.model_ema import ModelEmaV3
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Subset
from tqdm import tqdm

from common.engine import to_device
from common.errors import DfdcError
from common.files import atomic_path
from ensemble.calibrate import cross_fit
from ensemble.metrics import auc, log_loss_balanced, sigmoid
from models.pretrained import load_start
from models.registry import Scorer, build_member, get_member
from train.augment.mixing import mix_pairs
from train.checkpoint import RunState, check_resumable, read_checkpoint, write_checkpoint
from train.config import TrainConfig
from train.curves import publish
from train.data.coverage import check_coverage
from train.data.dataset import FaceDataset
from train.data.load import TrainData
from train.data.loader import Batches, make_loader
from train.data.sampler import PairedSampler
from train.distributed import Machine, share_batch_statistics
from train.optim import make_optimizer, pick_dtype, schedule
from train.seams import WithSeams
from train.stopping import StoppedError, stop_requests

LOOK_EVERY = 10  # steps between looks at the loss: each look makes the CPU wait for the GPU


class Trainer:
    """One run in one folder: `last.pt` to go on from, `history.csv`, the best network so far in `best.pt`.

    Args:
        config: what decides the weights.
        data: the faces of both sides.
        folder: of the run; a checkpoint in it is gone on from.
        machine: the device, the loader processes and the team.

    Raises:
        ValueError: the stored crops are too small for the member, or the faces do not fill a batch.
        DfdcError: the weights to start from are missing or damaged.
    """

    def __init__(self, config: TrainConfig, data: TrainData, folder: Path, machine: Machine) -> None:
        self.config, self.data, self.folder, self.machine = config, data, folder, machine
        self.device, self.team = machine.device, machine.team
        self.fingerprint = data.fingerprint()
        member = get_member(config.member)
        self.spec = dataclasses.replace(member.crop, size=config.size or member.crop.size)
        torch.manual_seed(config.seed)
        backbone = build_member(member)
        for table in (data.train, data.val):
            check_coverage(table, self.spec)
        self.start = load_start(backbone, member.backbone, config.start)
        if config.sync_bn:
            backbone = share_batch_statistics(backbone, self.team)
        self.model = to_device(Scorer(backbone, self.spec), self.device)
        self.ema = ModelEmaV3(self.model, decay=config.ema_decay, use_warmup=config.ema_decay > 0)
        # Only the scorer is averaged, validated and kept: the head for seams teaches it, and is dropped.
        self.asked = to_device(WithSeams(self.model), self.device) if config.seams else self.model
        self.network = DistributedDataParallel(self.asked) if self.team.world > 1 else self.asked
        self.optimizer = make_optimizer(self.asked, config)
        self.dtype = pick_dtype(config.amp, self.device)
        self.scaler = torch.amp.grad_scaler.GradScaler(self.device.type, enabled=self.dtype is torch.float16)
        self.sampler = PairedSampler(
            data.train, config.batch, config.seed, config.sampling, self.team.rank, self.team.world
        )
        torch.manual_seed(config.seed + self.team.rank)  # the start is common, what falls to dropout is not
        self.epoch, self.step, self.seconds, self.loss_sum = 0, 0, 0.0, 0.0
        self.best = math.inf
        self.history: list[dict[str, Any]] = []
        self._asked_to_stop: Callable[[], bool] = lambda: False
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
        """Train to the last epoch, from `last.pt` where there is one.

        Raises:
            StoppedError: SIGTERM or SIGINT came, or the machine's `until` is reached; the checkpoint is written.
            ValueError: `last.pt` is of other options, other data or another number of processes.
            DfdcError: the loss is no longer finite.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / "last.pt").exists():
            self._apply(self.folder / "last.pt")
        with stop_requests() as self._asked_to_stop:
            while self.epoch < self.config.epochs:
                self._train_epoch()
                self._end_epoch()
                if self.epoch == self.machine.until and self.epoch < self.config.epochs:
                    raise StoppedError(f"paused after epoch {self.epoch}; run the same command to go on")

    def _train_epoch(self) -> None:
        self.asked.train()
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
            stop = self.team.any(self._asked_to_stop(), self.device)
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
        return make_loader(dataset, self.device, self.machine.workers, self.config.seed, **order)

    def _update(self, batches: Iterator[tuple[torch.Tensor, ...]]) -> torch.Tensor:
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
                loss = self._loss(next(batches), part) / config.accumulate
                self.scaler.scale(loss).backward()
            total += loss.detach()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.asked.parameters(), config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.ema.update(self.model, step=self.step)
        return total

    def _loss(self, batch: tuple[torch.Tensor, ...], part: int) -> torch.Tensor:
        config = self.config
        crops, target, *where = (tensor.to(self.device, non_blocking=True) for tensor in batch)
        if config.mixup:
            seed = (config.seed, self.step, part, self.team.rank)
            crops, target = mix_pairs(crops, target, config.mixup, np.random.default_rng(seed))
        with self._autocast():
            answer = self.network(crops)
        logits, *seams = answer if config.seams else (answer,)
        smooth = target.float() * (1 - config.label_smoothing) + config.label_smoothing / 2
        loss = functional.binary_cross_entropy_with_logits(logits.float(), smooth)
        for told, truth in zip(seams, where, strict=True):
            loss = loss + config.seams * functional.binary_cross_entropy_with_logits(told.float(), truth)
        return loss

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype or torch.bfloat16, enabled=self.dtype is not None)

    def _end_epoch(self) -> None:
        logits = self.validate()
        label, prob_fake = self.data.val["target"].to_numpy(), sigmoid(logits)
        group = self.data.val["group"].to_numpy(dtype=object)
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
            publish(self.history, self.folder, self.config.member)
        self._save()

    @torch.inference_mode()
    def validate(self) -> np.ndarray:
        """Score the validation faces by the averaged network, without augmentation.

        Returns:
            (N,) float64 logits in the order of the table. Every process must call it; each scores its share.
        """
        dataset = FaceDataset(self.data.store, self.data.val, self.spec, self.data.cut_as, meshes=self.data.val_meshes)
        mine = range(self.team.rank, len(dataset), self.team.world)
        network = self.ema.module.eval()
        logits = np.full(len(dataset), np.nan)
        loader = self._loader(Subset(dataset, list(mine)), batch_size=32)
        bar = tqdm(loader, desc="validate", leave=False, **self._quiet)
        found = [network(crops.to(self.device)).float().cpu() for crops, *_ in bar]
        for rank, part in enumerate(self.team.gather(torch.cat(found).numpy().astype(np.float64) if found else [])):
            logits[rank :: self.team.world] = part
        return logits

    def _save(self) -> None:
        state = self._state()
        if self.team.leads:
            write_checkpoint(self.folder / "last.pt", state)
        self.team.wait()

    def _state(self) -> RunState:
        """All that decides how the run goes on. Every process must call it: each gives its random state."""
        on_cuda = self.device.type == "cuda"
        tensors = {
            "model": self.model.state_dict(),
            "seams": self.asked.head.state_dict() if isinstance(self.asked, WithSeams) else {},
            "ema": self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": self.team.gather(torch.get_rng_state()),
            "cuda_rng": self.team.gather(torch.cuda.get_rng_state(self.device) if on_cuda else None),
        }
        facts = {
            "config": dataclasses.asdict(self.config),
            "world": self.team.world,
            "data": self.fingerprint,
            "loss_sum": self.team.gather(self.loss_sum),
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "history": self.history,
        }
        return RunState(tensors, facts)

    def _apply(self, path: Path) -> None:
        """Put the run back to where a checkpoint saw it; ValueError when it belongs to another run."""
        state = read_checkpoint(path)
        tensors, facts = state.tensors, state.facts
        check_resumable(path, facts, dataclasses.asdict(self.config), self.team.world, self.fingerprint)
        self.model.load_state_dict(tensors["model"])
        if isinstance(self.asked, WithSeams):
            self.asked.head.load_state_dict(tensors["seams"])
        self.ema.module.load_state_dict(tensors["ema"])
        self.optimizer.load_state_dict(tensors["optimizer"])
        self.scaler.load_state_dict(tensors["scaler"])
        torch.set_rng_state(tensors["rng"][self.team.rank])
        if self.device.type == "cuda" and tensors["cuda_rng"][self.team.rank] is not None:
            torch.cuda.set_rng_state(tensors["cuda_rng"][self.team.rank], self.device)
        self.loss_sum = facts["loss_sum"][self.team.rank]
        self.epoch, self.step, self.seconds = facts["epoch"], facts["step"], facts["seconds"]
        self.best, self.history = facts["best"], facts["history"]
