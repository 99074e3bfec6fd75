"""The device that networks run on, chosen by name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def pick_device(name: str) -> torch.device:
    """Choose the device that networks run on.

    Args:
        name: "cpu", "cuda", "cuda:1" and so on, or "auto": CUDA where there is a GPU that computes, else the CPU.

    Returns:
        The device. A device that the caller names outright is not tried here; it fails where it is used.

    Raises:
        ValueError: The name is none of these, or torch sees no CUDA device.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() and _cuda_answers() else "cpu"
    if name.split(":")[0] not in ("cuda", "cpu"):
        raise ValueError(f"device is {name!r}; it must be cuda, cpu or auto")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("torch sees no CUDA device here; use --device cpu, and `dfdc doctor` to see what there is")
    return torch.device(name)


def _cuda_answers() -> bool:
    """Whether the GPU computes: one that fell off its bus, or that this torch has no code for, is still listed."""
    import torch

    try:
        return bool(torch.ones(2, device="cuda").sum().item() == 2)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        print(f"the GPU does not work ({reason}): going on with the CPU", file=sys.stderr)
        return False
