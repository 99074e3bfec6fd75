"""One process of many: under torchrun every process runs the same command and owns one GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from timm.layers.norm_act import convert_sync_batchnorm
from torch import distributed, nn


@dataclass(frozen=True)
class Team:
    """Which of how many processes this one is."""

    rank: int = 0  # from 0
    world: int = 1  # how many there are

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and draws the bars."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Return the value of every process, in the order of the ranks. Every process must call it."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        distributed.all_gather_object(values, value)
        return values

    def any(self, flag: bool, device: torch.device) -> bool:
        """Return whether the flag is up in any process: they must leave a loop together.

        Args:
            flag: of this process.
            device: where the processes exchange it.
        """
        if self.world == 1:
            return flag
        raised = torch.tensor(int(flag), device=device)
        distributed.all_reduce(raised, op=distributed.ReduceOp.MAX)
        return bool(raised.item())

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.world > 1:
            distributed.barrier()


@dataclass(frozen=True)
class Machine:
    """Where a run runs; decides nothing about the weights but rounding."""

    device: torch.device
    workers: int = 1  # loader processes
    checkpoint_every: int = 200  # steps
    until: int | None = None  # the epoch after which the run pauses
    team: Team = field(default_factory=Team)


def share_batch_statistics(backbone: nn.Module, team: Team) -> nn.Module:
    """Let batch norms take their statistics over all processes; one process keeps its network as it is.

    timm's converter, not torch's: timm's `BatchNormAct2d` holds the activation too, and torch's drops it.

    Args:
        backbone: a network; its layers may be replaced in place.
        team: the processes.

    Returns:
        The network, with the same keys and the same output in eval mode.
    """
    if team.world == 1:
        return backbone
    shared: nn.Module = convert_sync_batchnorm(backbone)
    return shared


@contextmanager
def join_team(device: torch.device) -> Iterator[tuple[Team, torch.device]]:
    """Join the processes that torchrun has started; a process started without torchrun is alone.

    Args:
        device: what the user asked for; of several GPUs each process gets its own.

    Yields:
        The team, and this process's device. The process group ends with the context.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Team(), device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(distributed.get_rank(), world), device
    finally:
        distributed.destroy_process_group()
