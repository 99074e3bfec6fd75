"""One process of many: under torchrun every process runs the same command and owns one GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed


@dataclass(frozen=True)
class Team:
    """Which of how many processes this is."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and draws the bars."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Everybody's value, in the order of the ranks."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        distributed.all_gather_object(values, value)
        return values

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is up in any process: they must leave a loop together."""
        if self.world == 1:
            return flag
        raised = torch.tensor(int(flag), device=device)
        distributed.all_reduce(raised, op=distributed.ReduceOp.MAX)
        return bool(raised.item())

    def wait(self) -> None:
        """Until everybody is here."""
        if self.world > 1:
            distributed.barrier()


@contextmanager
def join_team(device: torch.device) -> Iterator[tuple[Team, torch.device]]:
    """The team that torchrun has set up, and this process's device; alone when started without torchrun."""
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
