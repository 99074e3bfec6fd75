"""One shard, a tar of face crops with its tables, and the process that makes shards."""

from __future__ import annotations

import csv
import io
import os
import signal
import sys
import tarfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import parent_process
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from common.device import Device
from common.errors import DfdcError
from common.files import atomic_path
from faces.cascade import Cascade
from faces.decode.decoder import Decoder
from faces.decode.watchdog import VideoLimits
from faces.decode.worker import Decoded, Job
from faces.remote import SPAN
from train.data.extract_video import (
    EXTRACT_LIMITS,
    INDEX_COLUMNS,
    VIDEO_COLUMNS,
    Decodes,
    Extracted,
    ExtractOptions,
    FacesInVideo,
    extract_video,
    set_aside,
)
from train.data.metadata import Video

if TYPE_CHECKING:
    import torch

# Names of videos that are not looked at -> their status and reason.
Aside = Mapping[str, tuple[str, str]]


class StopRequestedError(DfdcError):
    """The run was told to stop; a shard that was begun is left away."""


@dataclass(frozen=True)
class Shard:
    """A number of whole families, originals before what was made from them."""

    number: int
    videos: tuple[Video, ...]

    @property
    def name(self) -> str:
        """Without ending."""
        return f"shard_{self.number:05d}"

    def tar(self, folder: Path) -> Path:
        """The crops."""
        return folder / f"{self.name}.tar"

    def table(self, folder: Path) -> Path:
        """What is known of each video."""
        return folder / f"{self.name}.videos.csv"

    def index(self, folder: Path) -> Path:
        """The faces; written last, so it is there only when the rest is."""
        return folder / f"{self.name}.csv"

    def mark(self, folder: Path) -> Path:
        """Holds the name of the video that is being worked on."""
        return folder / f".{self.name}.now"


@dataclass(frozen=True)
class ShardSetup:
    """What is the same for all shards of a run."""

    folder: Path
    options: ExtractOptions
    device: Device | torch.device
    aside: Aside = field(default_factory=dict)
    limits: VideoLimits = EXTRACT_LIMITS


def write_shard(
    shard: Shard,
    setup: ShardSetup,
    decoder: Decodes,
    detector: Cascade,
    tick: Callable[[str], None] = lambda _: None,
) -> None:
    """Make a shard's three files; each appears whole or not at all, the index last.

    tick is called with the name of each video before it is looked at, and may raise to end the work.
    """
    folder = setup.folder
    rows: list[dict[str, Any]] = []
    videos: list[dict[str, Any]] = []
    seen: dict[str, FacesInVideo | None] = {}
    with (
        atomic_path(shard.tar(folder)) as temporary,
        tarfile.open(temporary, "w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for video in shard.videos:
            tick(video.filename)
            shard.mark(folder).write_text(video.filename, encoding="utf-8")
            out = _extract(video, setup, decoder, detector, seen)
            seen[video.filename] = out.seen
            videos.append(out.row)
            for row, data in out.faces:
                offset = _add(tar, row["face"], data)
                rows.append(row | dict(zip(SPAN, (offset, len(data)), strict=True)))
    _write_csv(shard.table(folder), VIDEO_COLUMNS, videos)
    _write_csv(shard.index(folder), INDEX_COLUMNS, rows)
    shard.mark(folder).unlink(missing_ok=True)


def _extract(
    video: Video, setup: ShardSetup, decoder: Decodes, detector: Cascade, seen: dict[str, FacesInVideo | None]
) -> Extracted:
    if video.filename in setup.aside:
        return set_aside(video, *setup.aside[video.filename])
    return extract_video(video, setup.options, decoder, detector, seen.get(video.original))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add an entry that says nothing of when, where and by whom it was made; where its bytes begin in the tar."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(data), 0, 0o644
    tar.addfile(entry, io.BytesIO(data))
    return tar.offset - -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE  # its last block is filled up


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@dataclass
class Worker:
    """What a process needs for any shard: networks are loaded once, and one decoder serves all of its videos."""

    setup: ShardSetup
    detector: Cascade
    decoder: Decoder
    stop: Event
    count: Synchronized[int]  # videos begun by all workers

    def tick(self, _: str) -> None:
        """Before each video: heed the stop, count."""
        self.heed()
        with self.count.get_lock():
            self.count.value += 1

    def heed(self) -> None:
        """Raise StopRequestedError when the run was told to stop."""
        if self.stop.is_set():
            raise StopRequestedError("stopped")

    def decode(self, job: Job) -> Decoded:
        """Decode a video. One that was cut because the run stops is no result."""
        decoded = self.decoder.decode(job)
        self.heed()
        return decoded


_worker: list[Worker] = []


def start_worker(setup: ShardSetup, stop: Event, count: Synchronized[int]) -> None:
    """Make this process a worker: one thread, deaf to Ctrl-C (the parent says when to stop), gone with its parent."""
    become_child()
    detector, decoder = Cascade(setup.device, threads=1), Decoder(setup.limits, closing=stop)
    _worker[:] = [Worker(setup, detector, decoder, stop, count)]


def become_child() -> None:
    """Make this process one of many that a parent has started and ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    # Torch comes later, if at all: with the last resort of the detectors.
    os.environ["OMP_NUM_THREADS"] = "1"
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)


def work(shard: Shard) -> None:
    """Make one shard in a worker."""
    worker = _worker[0]
    worker.heed()
    write_shard(shard, worker.setup, worker, worker.detector, worker.tick)


def _leave_with_parent() -> None:
    """An orphan must not go on writing where the next run already works."""
    if (parent := parent_process()) is not None:
        parent.join()
    os._exit(1)
