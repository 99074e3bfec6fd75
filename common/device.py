"""The device that networks run on, chosen by name."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Device:
    """A device without torch, which takes seconds to import; torch.device(str(device)) is torch's own."""

    name: str  # "cpu", "cuda", "cuda:1"

    @property
    def type(self) -> str:
        """What kind it is: "cpu" or "cuda"."""
        return self.name.split(":")[0]

    def __str__(self) -> str:
        """Give the name, as torch takes it."""
        return self.name


def find_device(name: str) -> Device:
    """Choose the device that networks run on; torch is imported only where there may be a GPU.

    Args:
        name: "cpu", "cuda", "cuda:1" and so on, or "auto": CUDA where there is a GPU that computes, else the CPU.

    Returns:
        The device. A device that the caller names outright is not tried here; it fails where it is used.

    Raises:
        ValueError: The name is none of these, or torch sees no CUDA device.
    """
    if name == "auto":
        name = "cuda" if _may_have_gpu() and _cuda_answers() else "cpu"
    if name.split(":")[0] not in ("cuda", "cpu"):
        raise ValueError(f"device is {name!r}; it must be cuda, cpu or auto")
    if name.startswith("cuda") and not _has_cuda():
        raise ValueError("torch sees no CUDA device here; use --device cpu, and `dfdc doctor` to see what there is")
    return Device(name)


def pick_device(name: str) -> torch.device:
    """Choose a device as `find_device` does, as torch's own object, for those who need torch anyway."""
    import torch

    return torch.device(str(find_device(name)))


def _may_have_gpu() -> bool:
    """Whether a driver of a GPU is installed; only then can torch see one."""
    if "torch" in sys.modules or sys.platform != "linux" or Path("/dev/kfd").exists():  # AMD's driver
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _cuda_answers() -> bool:
    """Whether the GPU computes: one that fell off its bus, or that this torch has no code for, is still listed."""
    import torch

    try:
        return _has_cuda() and bool(torch.ones(2, device="cuda").sum().item() == 2)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        print(f"the GPU does not work ({reason}): going on with the CPU", file=sys.stderr)
        return False
