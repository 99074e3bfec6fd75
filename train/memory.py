"""How much of the GPU's memory a run takes, and what to do when a batch does not fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.func import functional_call

from common.errors import DfdcError

if TYPE_CHECKING:
    from train.loop import Trainer

# Numbers that an optimiser keeps for each weight: AdamW two moments, SGD a momentum, RMSprop a mean square and one.
KEPT_BY_OPTIMIZER = {"adamw": 2, "sgd": 1, "rmsprop": 2}
NUMBER = 4  # bytes of a weight and of what the optimiser keeps: they stay in float32 in every precision
GIB = 1 << 30


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a training takes on each device, without what cuDNN and the allocator take beside."""

    states: int  # weights, their gradients and averages, and what the optimiser keeps
    activations: int  # what the forward pass of a batch keeps for the backward pass

    @property
    def total(self) -> int:
        """Both."""
        return self.states + self.activations


def estimate_memory(run: Trainer) -> MemoryEstimate:
    """Run a forward pass of the largest batch on tensors without contents, and add up what it keeps.

    Args:
        run: its network stays as it is, and no memory of its device is taken.

    Returns:
        The estimate. The activations are those that a real pass keeps, to a hundredth.
    """
    weights = sum(weight.numel() for weight in run.asked.parameters())
    each = 3 + KEPT_BY_OPTIMIZER[run.config.optimizer]  # the weight, its gradient and its average
    size, batch = run.spec.size, run.config.batch
    return MemoryEstimate(weights * each * NUMBER, kept_by_forward(run.model, size, batch, run.dtype))


def kept_by_forward(network: nn.Module, size: int, batch: int, dtype: torch.dtype | None) -> int:
    """Count the bytes that a forward pass keeps for the backward pass.

    Args:
        network: takes (B, S, S, 3) uint8.
        size: S.
        batch: B.
        dtype: of autocast; None is without.

    Returns:
        Bytes of all storages that are kept, each once, besides the network's own.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    mode, kept = FakeTensorMode(), {}
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    with mode:
        fake: dict[str, torch.Tensor] = {name: mode.from_tensor(tensor) for name, tensor in tensors.items()}
        own = {tensor.untyped_storage()._cdata for tensor in fake.values()}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                kept[storage._cdata] = storage  # held, so that no other gets its address
            return tensor

        images = torch.zeros(batch, size, size, 3, dtype=torch.uint8, device=next(iter(fake.values())).device)
        cast = torch.autocast(images.device.type, dtype or torch.bfloat16, enabled=dtype is not None)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), cast:
            functional_call(network, fake, (images,))
        return sum(storage.nbytes() for storage in kept.values())


def describe_memory(estimate: MemoryEstimate, batch: int, accumulate: int, there: int | None) -> str:
    """Say how much memory a run takes, and what to do where that is more than there is.

    Args:
        estimate: of the run.
        batch: faces of a process.
        accumulate: batches of a step.
        there: bytes of the device; None where they are not known.

    Returns:
        One line for people.
    """
    told = (
        f"memory: about {estimate.total / GIB:.1f} GiB: weights and what is kept for each "
        f"{estimate.states / GIB:.1f}, a batch of {batch} {estimate.activations / GIB:.1f}"
    )
    if there is None:
        return told
    told += f"; the device has {there / GIB:.1f}"
    if estimate.total <= there:
        return told
    fits = int((there - estimate.states) // max(1, estimate.activations / batch)) // 2 * 2
    if fits < 2:
        return f"{told}, which is too little for two faces: train on a larger one"
    return (
        f"{told}, which is too little: train with --set batch={fits} --set accumulate={-(-batch * accumulate // fits)}"
    )


def explain_out_of_memory(run: Trainer, batch: tuple[torch.Tensor, ...]) -> DfdcError:
    """Find the largest half, quarter, ... of a batch that fits, by trying, and say how to train with it.

    Args:
        run: the trainer; it must not go on, since the attempts change its batch norms and random states.
        batch: the one that did not fit.

    Returns:
        The error to raise.
    """
    config, size = run.config, len(batch[0])
    half = size // 2
    while half >= 2:
        run.optimizer.zero_grad(set_to_none=True)
        if run.device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            # Not the network of the team: the other processes do not take part in this.
            run._loss(tuple(tensor[:half] for tensor in batch), 0, run.asked).backward()
        except torch.cuda.OutOfMemoryError:
            half //= 2
            continue
        half -= half % 2  # half fakes, half reals
        return DfdcError(
            f"a batch of {size} at {run.spec.size} pixels does not fit into the memory of {run.device}; {half} do: "
            f"train with --set batch={half} accumulate={config.accumulate * size // half}, which is the same step"
        )
    return DfdcError(f"not even two faces at {run.spec.size} pixels fit into the memory of {run.device}; use another")
