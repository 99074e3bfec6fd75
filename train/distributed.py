"""One process of many: under torchrun every process runs the same command and owns one GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from timm.layers.norm_act import convert_sync_batchnorm
from torch import distributed, nn

if TYPE_CHECKING:
    from train.mirror import Mirror


@dataclass(frozen=True)
class Team:
    """Which of how many processes this one is."""

    rank: int = 0  # from 0
    world: int = 1  # how many there are
    here: int = 1  # how many of them run on this machine

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

    def any(self, flag: bool) -> bool:
        """Return whether the flag is up in any process: they must leave a loop together.

        The processes exchange it on the CPU, so that no GPU is waited for. Every process must call it.
        """
        if self.world == 1:
            return flag
        raised = torch.tensor(int(flag))
        distributed.all_reduce(raised, op=distributed.ReduceOp.MAX)
        return bool(raised.item())

    def wait(self) -> None:
        """Wait until every process is here."""
        self.any(False)

    @torch.no_grad()
    def average_buffers(self, module: nn.Module) -> None:
        """Replace the floating-point buffers of a module (a batch norm's statistics) by their means over all processes.

        Each process has seen other faces, so its statistics are its own. Averages of averages do not depend on when
        they are taken: doing this for every checkpoint changes what comes out at the end by rounding only. Every
        process must call it.
        """
        if self.world == 1:
            return
        weights = {name for name, _ in module.named_parameters()}
        state = module.state_dict()
        mine = [value for key, value in state.items() if key not in weights and value.is_floating_point()]
        if not mine:
            return
        flat = torch.cat([value.flatten() for value in mine])
        distributed.all_reduce(flat)
        flat /= self.world
        for value, part in zip(mine, flat.split([value.numel() for value in mine]), strict=True):
            value.copy_(part.view_as(value))


@dataclass(frozen=True)
class Machine:
    """Where a run runs; decides nothing about the weights but rounding."""

    device: torch.device
    workers: int = 1  # loader processes
    checkpoint_every: int = 200  # steps
    until: int | None = None  # the epoch after which the run pauses
    extend: bool = False  # a checkpoint of other options or another number of processes is gone on from
    compile: bool = False  # torch.compile the network that is trained
    mirror: Mirror | None = None  # where checkpoints are copied to, away from this machine
    track: tuple[str, ...] = ()  # the trackers that are told beside TensorBoard's events
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
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(distributed.get_rank(), world, int(os.environ.get("LOCAL_WORLD_SIZE", world))), device
    finally:
        distributed.destroy_process_group()
