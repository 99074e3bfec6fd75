"""What turns gradients into weights: optimiser, schedule, precision."""

from __future__ import annotations

import math
from typing import Any

import torch

from common.engine import half_precision
from train.config import TrainConfig


def make_optimizer(model: torch.nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Make the config's optimiser; weight decay works on matrices only, not on norms and biases."""
    groups = _decay_groups(model, config.weight_decay)
    fused = next(model.parameters()).is_cuda or None  # one kernel for all tensors instead of some for each
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0, fused=fused
        )
    if config.optimizer == "rmsprop":
        # Keras' defaults: its decay of the mean square is 0.9, torch's 0.99; its epsilon 1e-7, torch's 1e-8.
        return torch.optim.RMSprop(groups, lr=config.lr, alpha=0.9, eps=1e-7)
    return torch.optim.AdamW(groups, lr=config.lr, fused=fused)


def _decay_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def schedule(step: int, steps: int, config: TrainConfig) -> float:
    """Return the share of the peak learning rate at a step, from 0 to 1.

    Args:
        step: from 0.
        steps: of the whole run.
        config: its warm-up climbs linearly from 0; its schedule then goes down to 0, or stays.
    """
    warm = max(1, round(steps * config.warmup)) if config.warmup else 0
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    if config.schedule == "poly":
        return float((1 - done) ** config.poly_power)
    return 0.5 * (1 + math.cos(math.pi * done)) if config.schedule == "cosine" else 1.0


def pick_dtype(amp: str, device: torch.device) -> torch.dtype | None:
    """Choose what a training computes in. fp16 needs a gradient scaler, bf16 does not.

    Args:
        amp: as in TrainConfig. "auto" is off on the CPU, where lower precision makes no training faster, and on CUDA
            what the card multiplies in by itself (`common.engine.half_precision`).
        device: where the training runs.

    Returns:
        The type for autocast; None is plain float32.
    """
    if amp == "auto":
        amp = {"bf16": "bf16", "f16": "fp16"}[half_precision(device)] if device.type == "cuda" else "off"
    return {"off": None, "fp16": torch.float16, "bf16": torch.bfloat16}[amp]


def prefer_speed(device: torch.device) -> None:
    """Let CUDA take its faster ways: TF32 for what stays float32, and the quickest convolution for each shape."""
    if device.type != "cuda":
        return
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
