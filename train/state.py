"""A run's state out of a trainer, and back into one."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch

from train.checkpoint import LAST, RunState, changed_keys, check_resumable, check_same_data
from train.config import TrainConfig
from train.seams import WithSeams

if TYPE_CHECKING:
    from train.loop import Trainer

# What --extend must not change: a network of another shape, or other faces, are another run.
FIXED = ("member", "size", "seams", "made_fakes", "val_share")


def take_state(run: Trainer) -> RunState:
    """Return all that decides how the run goes on. Every process must call it: each gives its random state."""
    on_cuda = run.device.type == "cuda"
    tensors = {
        "model": run.model.state_dict(),
        "seams": run.asked.head.state_dict() if isinstance(run.asked, WithSeams) else {},
        "ema": run.ema.module.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "scaler": run.scaler.state_dict(),
        "rng": run.team.gather(torch.get_rng_state()),
        "cuda_rng": run.team.gather(torch.cuda.get_rng_state(run.device) if on_cuda else None),
    }
    facts = {
        "config": dataclasses.asdict(run.config),
        "world": run.team.world,
        "data": run.fingerprint,
        "loss_sum": run.team.gather(run.loss_sum),
        "epoch": run.epoch,
        "step": run.step,
        "seconds": run.seconds,
        "best": run.best,
        "history": run.history,
        "extended": run.extended,
    }
    return RunState(tensors, facts)


def apply_state(run: Trainer, state: RunState) -> None:
    """Put a run back to where a checkpoint saw it.

    Args:
        run: a trainer that has not begun; its options may be others than the checkpoint's where its machine says
            `extend`, and the change is noted in `run.extended`.
        state: what `read_latest` has read.

    Raises:
        ValueError: the checkpoint belongs to another run.
    """
    tensors, facts = state.tensors, state.facts
    saved = _with_defaults(facts["config"])
    now, world, path = dataclasses.asdict(run.config), run.team.world, run.folder / LAST
    if run.machine.extend:
        _check_extendable(run, {**facts, "config": saved})
    else:
        check_resumable(path, {**facts, "config": saved}, now, world, run.fingerprint)
    run.model.load_state_dict(tensors["model"])
    if isinstance(run.asked, WithSeams):
        run.asked.head.load_state_dict(tensors["seams"])
    run.ema.module.load_state_dict(tensors["ema"])
    if saved["optimizer"] == now["optimizer"]:
        _load_optimizer(run, tensors["optimizer"])
    if run.scaler.is_enabled() and tensors["scaler"]:
        run.scaler.load_state_dict(tensors["scaler"])
    rank = run.team.rank
    if rank < len(tensors["rng"]):
        torch.set_rng_state(tensors["rng"][rank])
        if run.device.type == "cuda" and tensors["cuda_rng"][rank] is not None:
            torch.cuda.set_rng_state(tensors["cuda_rng"][rank], run.device)
    run.epoch, run.step, run.seconds = facts["epoch"], facts["step"], facts["seconds"]
    run.best, run.history = facts["best"], facts["history"]
    run.extended = list(facts.get("extended", []))
    if facts["world"] == world and not changed_keys(saved, now):
        run.loss_sum = facts["loss_sum"][rank]
    else:
        _extend(run, saved, now, facts)


def _load_optimizer(run: Trainer, state: dict[str, Any]) -> None:
    """The moments of the checkpoint, with the options of now."""
    # Whether it is fused stays: the two keep their count of steps in other places.
    options = [
        {key: value for key, value in group.items() if key not in ("params", "fused")}
        for group in run.optimizer.param_groups
    ]
    run.optimizer.load_state_dict(state)
    for group, wanted in zip(run.optimizer.param_groups, options, strict=True):
        group.update(wanted)


def _with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """A config of an older version, with what it did not know as it was then: the default."""
    known = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    return {**{key: value for key, value in known.items() if key != "member"}, **config}


def _check_extendable(run: Trainer, facts: dict[str, Any]) -> None:
    path = run.folder / LAST
    check_same_data(path, facts, run.fingerprint)
    now = dataclasses.asdict(run.config)
    if fixed := [key for key in changed_keys(facts["config"], now) if key in FIXED]:
        raise ValueError(f"{path} was trained with another {fixed}, which --extend cannot change; use another folder")
    if run.config.epochs < facts["epoch"]:
        raise ValueError(f"{path} has {facts['epoch']} epochs behind it; give --extend as many --epochs at least")


def _extend(run: Trainer, saved: dict[str, Any], now: dict[str, Any], facts: dict[str, Any]) -> None:
    """Find the place in the new order of steps, and note what changed.

    With other batches an epoch has another number of steps; the share of it that is behind the run stays.
    """
    before = _steps_in_epoch(run, saved, facts["world"])
    done = facts["step"] - facts["epoch"] * before
    share = done / before
    here = min(run.steps_in_epoch, round(share * run.steps_in_epoch))
    run.step = run.epoch * run.steps_in_epoch + here
    mean = sum(facts["loss_sum"]) / len(facts["loss_sum"]) / max(1, done)
    run.loss_sum = mean * here
    changes: dict[str, Any] = {key: [saved.get(key), now.get(key)] for key in changed_keys(saved, now)}
    if facts["world"] != run.team.world:
        changes["processes"] = [facts["world"], run.team.world]
    run.extended.append({"epoch": facts["epoch"], "step": facts["step"], "changes": changes})


def _steps_in_epoch(run: Trainer, saved: dict[str, Any], world: int) -> int:
    """Of the run that wrote the checkpoint."""
    batches = run.sampler.pairs // (int(saved["batch"]) // 2 * world)
    return max(1, batches // int(saved["accumulate"]))
