"""What a stopped run needs to go on as if nothing had happened."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from train.loop import Trainer


def checkpoint(run: Trainer) -> dict[str, Any]:
    """All that decides how the run goes on. Every process must call it: each gives its random state."""
    on_cuda = run.device.type == "cuda"
    return {
        "config": dataclasses.asdict(run.config),
        "world": run.team.world,
        "model": run.model.state_dict(),
        "ema": run.ema.module.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "scaler": run.scaler.state_dict(),
        "rng": run.team.gather(torch.get_rng_state()),
        "cuda_rng": run.team.gather(torch.cuda.get_rng_state(run.device) if on_cuda else None),
        "loss_sum": run.team.gather(run.loss_sum),
        "epoch": run.epoch,
        "step": run.step,
        "seconds": run.seconds,
        "best": run.best,
        "history": run.history,
    }


def restore(run: Trainer, path: Path) -> None:
    """Put a run back to where `checkpoint` saw it.

    Raises ValueError when it was trained with other options, or by another number of processes.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["config"] != (mine := dataclasses.asdict(run.config)):
        changed = sorted(k for k in mine if state["config"].get(k) != mine[k])
        raise ValueError(f"{path} was trained with another {changed}; use another folder, or the same options")
    rank, world = run.team.rank, run.team.world
    if state["world"] != world:
        raise ValueError(
            f"{path} was trained by {state['world']} processes, now there are {world}: the batches would be others; "
            f"go on with --nproc-per-node {state['world']}, or use another folder"
        )
    run.model.load_state_dict(state["model"])
    run.ema.module.load_state_dict(state["ema"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.scaler.load_state_dict(state["scaler"])
    torch.set_rng_state(state["rng"][rank])
    if run.device.type == "cuda" and state["cuda_rng"][rank] is not None:
        torch.cuda.set_rng_state(state["cuda_rng"][rank], run.device)
    run.loss_sum = state["loss_sum"][rank]
    run.epoch, run.step, run.seconds = state["epoch"], state["step"], state["seconds"]
    run.best, run.history = state["best"], state["history"]
