"""The options of a training run; one frozen instance per member lives in train/experiments."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the weights, besides the data."""

    member: str  # a name in models.registry
    start: Literal["imagenet", "scratch"] = "imagenet"
    epochs: int = 7  # an epoch shows every fake once, and as many reals
    small_epochs: int = 4  # the first epochs run at small_size: twice as fast, and they transfer
    small_size: int = 160  # pixels
    batch: int = 32  # half fakes, half reals
    lr: float = 5e-4  # peak of the schedule
    weight_decay: float = 0.02  # not on vectors (norms, biases)
    warmup: float = 0.05  # share of all steps over which the rate climbs from 0
    label_smoothing: float = 0.03  # the target of a fake is 1 - this / 2
    clip_norm: float = 2.0  # of the gradient
    ema_decay: float = 0.998  # of the weights that are validated and kept
    amp: Literal["auto", "bf16", "off"] = "auto"  # auto: bf16 on CUDA, off on the CPU (no faster there for training)
    seed: int = 0
    save_minutes: float = 3.0  # between checkpoints inside an epoch

    def __post_init__(self) -> None:
        if self.epochs < 1 or not 0 <= self.small_epochs <= self.epochs:
            raise ValueError(
                f"epochs {self.epochs} and small_epochs {self.small_epochs}: need 0 <= small <= epochs, 1 <= epochs"
            )
        for name in ("start", "amp"):
            allowed = {"start": ("imagenet", "scratch"), "amp": ("auto", "bf16", "off")}[name]
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}, not one of {allowed}")


def experiment_names() -> list[str]:
    """The runs that train/experiments defines."""
    from train import experiments

    return sorted(module.name for module in pkgutil.iter_modules(experiments.__path__))


def load_experiment(name: str) -> TrainConfig:
    """The config of one experiment; ValueError with the known names otherwise."""
    if name not in experiment_names():
        raise ValueError(f"no experiment is called {name!r}; known: {', '.join(experiment_names())}")
    config: TrainConfig = importlib.import_module(f"train.experiments.{name}").CONFIG
    return config
