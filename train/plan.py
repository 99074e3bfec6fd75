"""What a run will do, said before it begins: its data, its machine, and with a dry run its hours and its price."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from common.errors import DfdcError
from train.data.loader import SHARED_MEMORY
from train.memory import describe_memory, estimate_memory

if TYPE_CHECKING:
    from train.loop import Trainer

WARM_UP = 3  # steps before the clock starts: loader processes start, CUDA picks its convolutions
TIMED = 20  # steps


@dataclass(frozen=True)
class Timing:
    """How fast a run is, measured on its own faces at its full size; epochs of smaller crops are quicker."""

    steps: int  # timed
    seconds: float  # of one step
    waiting: float  # seconds of each step in which the network waited for the loader
    images: int  # of one step, in all processes
    seconds_validating: float  # of one epoch
    steps_in_all: int
    epochs: int

    @property
    def hours(self) -> float:
        """Of the whole run, at most."""
        return (self.seconds * self.steps_in_all + self.seconds_validating * self.epochs) / 3600

    def text(self, price: float | None) -> str:
        """One line for people; `price` is of an hour of the machine, in any currency."""
        cost = "" if price is None else f", {self.hours * price:.2f} at {price:g} an hour"
        return (
            f"{self.steps} steps of {self.seconds:.3f} s, {self.images / self.seconds:.0f} images/s, "
            f"{self.waiting / self.seconds:.0%} of the time waiting for the loader; {self.hours:.2f} hours at most"
            f"{cost}"
        )


def describe(run: Trainer) -> str:
    """Return what a person wants to know before a run is paid for: device, precision, data, steps, loaders."""
    config, data, machine = run.config, run.data, run.machine
    kind = torch.cuda.get_device_name(run.device) if run.device.type == "cuda" else "cpu"
    precision = str(run.dtype or torch.float32).removeprefix("torch.")
    shared = (
        f", {shutil.disk_usage(SHARED_MEMORY).free / 2**30:.1f} GiB shared memory" if SHARED_MEMORY.is_dir() else ""
    )
    lines = [
        f"device: {run.team.world} x {kind}, {precision}; {machine.workers} loader processes each{shared}",
        f"labels: {data.dropped}",
    ]
    for name, table in (("train", data.train), ("val", data.val)):
        fakes = int(table["target"].sum())
        lines.append(f"{name}: {len(table)} faces ({fakes} fake) of {table['group'].nunique()} groups")
    faces = config.batch * config.accumulate * run.team.world
    lines.append(
        f"steps: {run.steps_in_epoch} an epoch of {faces} faces at {run.spec.size} pixels, {run.steps_in_all} in all"
    )
    there = torch.cuda.get_device_properties(run.device).total_memory if run.device.type == "cuda" else None
    lines.append(describe_memory(estimate_memory(run), config.batch, config.accumulate, there))
    return "\n".join([*lines, f"start: {run.start}"])


def time_steps(run: Trainer, steps: int = TIMED) -> Timing:
    """Train a few steps on a run's own faces and time them. The trainer must not go on: its weights have moved.

    Args:
        run: a trainer that has not begun; nothing is written. Every process must call it.
        steps: how many are timed; fewer where an epoch has fewer.

    Raises:
        DfdcError: an epoch has not enough steps, a loader died or the GPU's memory is too small.
    """
    steps = min(steps, run.steps_in_epoch - WARM_UP)
    if steps < 1:
        raise DfdcError(f"an epoch has {run.steps_in_epoch} steps; a dry run needs {WARM_UP + 1}")
    run.asked.train()
    run.sampler.epoch, run.sampler.start = run.config.small_epochs, 0  # the first epoch at full size
    batches, waiting, began = iter(run.batches), 0.0, 0.0
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            _finish(run.device)
            waiting, began = 0.0, time.perf_counter()
        asked = time.perf_counter()
        given = [next(batches) for _ in range(run.config.accumulate)]
        waiting += time.perf_counter() - asked
        run._update(given)
    _finish(run.device)
    seconds = (time.perf_counter() - began) / steps
    images = run.config.batch * run.config.accumulate * run.team.world
    validating = _time_validation(run)
    return Timing(steps, seconds, waiting / steps, images, validating, run.steps_in_all, run.config.epochs)


def _time_validation(run: Trainer, batches: int = 4) -> float:
    """Seconds of one validation, from its second to its last timed batch."""
    network, times = run.ema.module.eval(), []
    with torch.inference_mode():
        for number, (crops, *_) in enumerate(run.val_batches):
            began = time.perf_counter()
            network(crops.to(run.device))
            _finish(run.device)
            times.append(time.perf_counter() - began)
            if number == batches:
                break
    return sum(times[1:] or times) / len(times[1:] or times) * len(run.val_batches) if times else 0.0


def _finish(device: torch.device) -> None:
    """Wait for what the GPU still has to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
