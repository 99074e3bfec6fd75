"""The training loop: step, validate, keep the best, resume."""

from __future__ import annotations

import dataclasses
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from timm.utils.model_ema import ModelEmaV3
from torch.nn import functional
from torch.utils.data import DataLoader
from tqdm import tqdm

from dfdc_common import DfdcError, atomic_path, write_text
from dfdc_runtime import to_device
from ensemble.calibrate import cross_fit
from ensemble.metrics import auc, log_loss_balanced, sigmoid
from faces.crop import CropSpec
from faces.store import CropStore
from models.pretrained import load_imagenet
from models.registry import Judge, build_backbone, get_member
from train.config import TrainConfig
from train.dataset import FaceDataset, PairedSampler


@dataclasses.dataclass(frozen=True)
class TrainData:
    """What a run trains and validates on."""

    store: CropStore
    train: pd.DataFrame  # columns face, target, group; filename and original where known
    val: pd.DataFrame
    cut_as: CropSpec  # how the crops in the store were cut


class StoppedError(DfdcError):
    """The run was asked to stop (SIGTERM, Ctrl-C) and has written its checkpoint."""


class Trainer:
    """One run in one folder: `last.pt` to go on from, `history.csv`, the best network so far in `best.pt`."""

    def __init__(self, config: TrainConfig, data: TrainData, folder: Path, device: torch.device, workers: int) -> None:
        self.config, self.data, self.folder, self.device, self.workers = config, data, folder, device, workers
        member = get_member(config.member)
        self.spec = member.crop
        torch.manual_seed(config.seed)
        backbone = build_backbone(member.backbone, member.dropout, member.drop_path)
        self.start = load_imagenet(backbone, member.backbone) if config.start == "imagenet" else "scratch"
        self.model = to_device(Judge(backbone, member.crop), device)
        self.ema = ModelEmaV3(self.model, decay=config.ema_decay, use_warmup=True)
        self.optimizer = torch.optim.AdamW(_decay_groups(self.model, config.weight_decay), lr=config.lr)
        self.sampler = PairedSampler(data.train, config.batch, config.seed)
        self.epoch, self.step, self.seconds = 0, 0, 0.0
        self.best = math.inf
        self.history: list[dict[str, Any]] = []
        self._stop = False

    @property
    def steps_in_all(self) -> int:
        """Optimiser steps of the whole run."""
        return len(self.sampler) * self.config.epochs

    def run(self) -> None:
        """Train to the last epoch, from `last.pt` where there is one. Raises StoppedError after SIGTERM or SIGINT."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / "last.pt").exists():
            self._load()
        with self._stoppable():
            while self.epoch < self.config.epochs:
                self._train_epoch()
                self._end_epoch()

    def _train_epoch(self) -> None:
        config, began = self.config, time.monotonic()
        saved, base = began, self.seconds
        self.model.train()
        done = self.step - self.epoch * len(self.sampler)
        bar = tqdm(
            self._batches(done), total=len(self.sampler), initial=done, desc=f"epoch {self.epoch + 1}/{config.epochs}"
        )
        for crops, target in bar:
            loss = self._update(crops.to(self.device), target.to(self.device))
            self.step += 1
            self.seconds = base + time.monotonic() - began
            bar.set_postfix(loss=f"{loss:.3f}")
            if self._stop or time.monotonic() - saved > config.save_minutes * 60:
                self._save()
                saved = time.monotonic()
            if self._stop:
                raise StoppedError(f"stopped at step {self.step} of {self.steps_in_all}; run the same command to go on")

    def _batches(self, done: int) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
        size = self.config.small_size if self.epoch < self.config.small_epochs else self.spec.size
        spec = dataclasses.replace(self.spec, size=size)
        dataset = FaceDataset(self.data.store, self.data.train, spec, self.data.cut_as, self.config.seed)
        dataset.epoch = self.sampler.epoch = self.epoch
        self.sampler.start = done
        return self._loader(dataset, batch_sampler=self.sampler)

    def _loader(self, dataset: FaceDataset, **order: Any) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
        return DataLoader(
            dataset,
            num_workers=self.workers,
            # Its own generator: a loader draws from it when it starts, and a resumed epoch starts one loader more.
            generator=torch.Generator().manual_seed(self.config.seed),
            pin_memory=self.device.type == "cuda",
            # Not fork: OpenCV's thread pool does not survive it, and the worker would wait for ever.
            multiprocessing_context="forkserver" if self.workers else None,
            worker_init_fn=_one_thread if self.workers else None,
            **order,
        )

    def _update(self, crops: torch.Tensor, target: torch.Tensor) -> float:
        """One optimiser step; returns the loss. A loss that is not finite is a DfdcError: weights would be lost."""
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * schedule(self.step, self.steps_in_all, config.warmup)
        with self._autocast():
            logits = self.model(crops)
        smooth = target.float() * (1 - config.label_smoothing) + config.label_smoothing / 2
        loss = functional.binary_cross_entropy_with_logits(logits.float(), smooth)
        if not math.isfinite(loss.item()):
            raise DfdcError(
                f"the loss became {loss.item()} at step {self.step}; lower lr ({config.lr}) and start again"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.optimizer.step()
        self.ema.update(self.model, step=self.step)
        return loss.item()

    def _autocast(self) -> torch.autocast:
        on = self.config.amp == "bf16" or (self.config.amp == "auto" and self.device.type == "cuda")
        return torch.autocast(self.device.type, torch.bfloat16, enabled=on)

    def _end_epoch(self) -> None:
        logits = self.validate()
        label, prob_fake = self.data.val["target"].to_numpy(), sigmoid(logits)
        group = self.data.val["group"].to_numpy(dtype=str)
        row = {
            "epoch": self.epoch + 1,
            "step": self.step,
            "val_log_loss_balanced": log_loss_balanced(label, prob_fake),
            # What counts: the member is calibrated when it is exported, so being too bold is no fault of an epoch.
            "val_log_loss_calibrated": log_loss_balanced(label, sigmoid(cross_fit(logits, label, group))),
            "val_auc": auc(label, prob_fake),
            "seconds": round(self.seconds, 1),
        }
        self.history.append(row)
        tqdm.write(f"epoch {row['epoch']}: val log loss {row['val_log_loss_calibrated']:.4f}, AUC {row['val_auc']:.4f}")
        if row["val_log_loss_calibrated"] < self.best:
            self.best = row["val_log_loss_calibrated"]
            with atomic_path(self.folder / "best.pt") as temporary:
                torch.save(self.ema.module.state_dict(), temporary)
        self.epoch += 1
        self._save()
        write_text(self.folder / "history.csv", pd.DataFrame(self.history).to_csv(index=False))

    @torch.inference_mode()
    def validate(self) -> np.ndarray:
        """Logits of the EMA network over the validation faces, without augmentation, in the table's order."""
        dataset = FaceDataset(self.data.store, self.data.val, self.spec, self.data.cut_as)
        network = self.ema.module.eval()
        logits = [
            network(crops.to(self.device)).float().cpu()
            for crops, _ in tqdm(self._loader(dataset, batch_size=32), desc="validate", leave=False)
        ]
        return torch.cat(logits).numpy().astype(np.float64)

    def _save(self) -> None:
        state = {
            "config": dataclasses.asdict(self.config),
            "model": self.model.state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(),
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "history": self.history,
        }
        with atomic_path(self.folder / "last.pt") as temporary:
            torch.save(state, temporary)

    def _load(self) -> None:
        path = self.folder / "last.pt"
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["config"] != (mine := dataclasses.asdict(self.config)):
            changed = sorted(k for k in mine if state["config"].get(k) != mine[k])
            raise ValueError(f"{path} was trained with another {changed}; use another folder, or the same options")
        self.model.load_state_dict(state["model"])
        self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"].cpu())
        self.epoch, self.step, self.seconds = state["epoch"], state["step"], state["seconds"]
        self.best, self.history = state["best"], state["history"]

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


def schedule(step: int, steps: int, warmup: float) -> float:
    """Share of the peak rate at a step: linear from 0 over the warm-up, then half a cosine to 0."""
    warm = max(1, round(steps * warmup))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _decay_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _one_thread(_: int) -> None:
    """A loader worker is one of many: OpenCV's own threads would fight the training for the cores."""
    import cv2

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
