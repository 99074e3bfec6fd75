"""What turns gradients into weights: optimiser, schedule, precision."""

from __future__ import annotations

import math
from typing import Any

import torch

from train.config import TrainConfig


def make_optimizer(model: torch.nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The config's optimiser; weight decay on matrices only."""
    groups = _decay_groups(model, config.weight_decay)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
    if config.optimizer == "rmsprop":
        # Keras' defaults: its decay of the mean square is 0.9, torch's 0.99; its epsilon 1e-7, torch's 1e-8.
        return torch.optim.RMSprop(groups, lr=config.lr, alpha=0.9, eps=1e-7)
    return torch.optim.AdamW(groups, lr=config.lr)


def _decay_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def schedule(step: int, steps: int, config: TrainConfig) -> float:
    """Share of the peak rate at a step: linear from 0 over the warm-up, then the config's way down to 0 (or none)."""
    warm = max(1, round(steps * config.warmup)) if config.warmup else 0
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    if config.schedule == "poly":
        return float((1 - done) ** config.poly_power)
    return 0.5 * (1 + math.cos(math.pi * done)) if config.schedule == "cosine" else 1.0


def pick_dtype(amp: str, device: torch.device) -> torch.dtype | None:
    """What to compute in: None is plain float32. fp16 needs a gradient scaler, bf16 does not.

    "auto" is off on the CPU, where lower precision makes no training faster.
    """
    if amp == "off" or (amp == "auto" and device.type != "cuda"):
        return None
    if amp == "fp16" or (amp == "auto" and not torch.cuda.is_bf16_supported()):
        return torch.float16
    return torch.bfloat16
