"""Batches out of loader processes."""

from __future__ import annotations

import signal
from typing import Any

import torch
from torch.utils.data import DataLoader

Batches = DataLoader[tuple[torch.Tensor, ...]]


def make_loader(dataset: Any, device: torch.device, workers: int, seed: int, **order: Any) -> Batches:
    """Make a loader over a dataset of faces.

    Args:
        dataset: items of (crop (S, S, 3) uint8, target).
        device: where the batches go; memory is pinned for CUDA.
        workers: processes; 0 loads in this one.
        seed: of the loader's own generator. A loader draws from it when it starts, and a resumed epoch starts one
            loader more: the global generator would go another way.
        order: `batch_sampler`, or `batch_size`, of torch's DataLoader.

    Returns:
        Batches of crops (N, S, S, 3) uint8, targets (N,), and what else an item of the dataset holds.
    """
    return DataLoader(
        dataset,
        num_workers=workers,
        generator=torch.Generator().manual_seed(seed),
        pin_memory=device.type == "cuda",
        # Not fork: OpenCV's thread pool does not survive it, and the worker would wait for ever.
        multiprocessing_context="forkserver" if workers else None,
        worker_init_fn=one_thread if workers else None,
        **order,
    )


def one_thread(_: int) -> None:
    """Prepare a loader process, one of many: OpenCV's own threads would fight the training for the cores."""
    import cv2

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
