"""Batches out of loader processes, which live as long as the run."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import forkserver, parent_process
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from common.cores import cores
from common.errors import DfdcError
from common.parent import children_deaf_to
from train.data.dataset import FaceDataset
from train.data.sampler import PairedSampler

Batches = DataLoader[tuple[torch.Tensor, ...]]
PREFETCH = 2  # batches that wait behind each loader process, torch's own default
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux has the memory that processes share


class EpochFaces(Dataset[tuple[torch.Tensor, ...]]):
    """The training faces of any epoch, so that one set of loader processes serves all of them.

    An index is (epoch, row). The first `small_epochs` are cut at `small_size` pixels.
    """

    def __init__(self, faces: FaceDataset, small_epochs: int, small_size: int) -> None:
        self.faces, self.full, self.small_epochs = faces, faces.spec, small_epochs
        self.small = replace(faces.spec, size=min(small_size, faces.spec.size))

    def __getitem__(self, at: tuple[int, int]) -> tuple[torch.Tensor, ...]:
        epoch, row = at
        self.faces.epoch, self.faces.spec = epoch, self.small if epoch < self.small_epochs else self.full
        return self.faces[row]


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """The batches of a sampler's present epoch, as indices of EpochFaces."""

    def __init__(self, sampler: PairedSampler) -> None:
        self.sampler = sampler

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch = self.sampler.epoch
        for rows in self.sampler:
            yield [(epoch, row) for row in rows]


def make_loader(dataset: Any, device: torch.device, workers: int, seed: int, **order: Any) -> Batches:
    """Make a loader over a dataset of faces.

    Args:
        dataset: items of (crop (S, S, 3) uint8, target).
        device: where the batches go; memory is pinned for CUDA.
        workers: processes, which stay from one pass over the loader to the next; 0 loads in this one.
        seed: of the loader's own generator. A loader draws from it when it starts, and a resumed epoch starts one
            loader more: the global generator would go another way.
        order: `batch_sampler`, or `batch_size`, of torch's DataLoader.

    Returns:
        Batches of crops (N, S, S, 3) uint8, targets (N,), and what else an item of the dataset holds.
    """
    if workers:
        start_forkserver()
    return DataLoader(
        dataset,
        num_workers=workers,
        generator=torch.Generator().manual_seed(seed),
        pin_memory=device.type == "cuda",
        # Not fork: OpenCV's thread pool does not survive it, and the worker would wait for ever.
        multiprocessing_context="forkserver" if workers else None,
        worker_init_fn=prepare_worker if workers else None,
        persistent_workers=workers > 0,
        **order,
    )


def default_workers(device: torch.device, processes: int = 1) -> int:
    """Return how many loader processes a training process gets when nobody says.

    Args:
        device: on the CPU the training itself wants the cores, and one loader is enough.
        processes: training processes on this machine, which share its cores.
    """
    return max(1, cores() // processes) if device.type == "cuda" else 1


def start_forkserver() -> None:
    """Start the process that makes loader processes, with SIGTERM and Ctrl-C blocked, which all of them inherit.

    It imports what a loader needs before it makes one. Each would import torch itself otherwise, one after the other:
    the next is started when the one before has read its dataset. Six of them take 8 s instead of 33 to 50 on two cores.

    A machine that is taken away signals every process of the group. The training process needs the loaders for some
    seconds more: a dead one would be an error before the request to stop is seen.
    """
    # The heavy ones by name: where the rooms are not installed, a bare interpreter does not find the dataset's module.
    forkserver.set_forkserver_preload(["torch", "cv2", "pandas", FaceDataset.__module__])
    with children_deaf_to(signal.SIGTERM, signal.SIGINT):
        forkserver.ensure_running()


def prepare_worker(_: int) -> None:
    """Prepare a loader process: one thread, deaf to Ctrl-C and to the group's SIGTERM, but not to its owner's."""
    import cv2

    cv2.setNumThreads(1)  # OpenCV's own threads would fight the training for the cores
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_leave_when_told, daemon=True).start()


def _leave_when_told() -> None:
    """End this process when the training process, and nobody else, sends SIGTERM: it does so to one that hangs."""
    owner = parent_process()
    while True:
        told = signal.sigwaitinfo({signal.SIGTERM})
        if owner is None or told.si_pid == owner.pid:
            os._exit(0)


def check_shared_memory(batch_bytes: int, workers: int, processes: int = 1, folder: Path = SHARED_MEMORY) -> None:
    """Hold, before the first batch, that the batches under way fit into shared memory.

    A container has 64 MB of it by default; a loader process that finds it full dies, or hangs, in the middle of a run.

    Args:
        batch_bytes: of one batch.
        workers: loader processes of one training process.
        processes: training processes on this machine.
        folder: where shared memory is; a system without it is not checked.

    Raises:
        DfdcError: it does not fit; the message says how much is needed.
    """
    if not workers or not folder.is_dir():
        return
    # Behind each loader PREFETCH batches, one more in the making, and one that the training process still holds.
    needed = processes * batch_bytes * (workers * (PREFETCH + 1) + 1)
    free = shutil.disk_usage(folder).free
    if needed > free:
        fits = max(0, (free // (processes * batch_bytes) - 1) // (PREFETCH + 1))
        raise DfdcError(
            f"{folder} has {free / 2**20:.0f} MiB free; {workers} loader processes with batches of "
            f"{batch_bytes / 2**20:.1f} MiB need {needed / 2**20:.0f}. Start the container with "
            f"--shm-size={-(-needed * 2 // 2**30)}g, or train with --workers {fits}"
        )
