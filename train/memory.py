"""What to do when a batch does not fit into the GPU's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from common.errors import DfdcError

if TYPE_CHECKING:
    from train.loop import Trainer


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
