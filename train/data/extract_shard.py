"""One shard, a tar of face crops with its tables, and the process that makes shards."""

from __future__ import annotations

import csv
import io
import os
import signal
import tarfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import parent_process
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import cv2
import torch

from common.errors import DfdcError
from common.files import atomic_path
from faces.detect import Cascade, Detector
from train.data.extract_video import (
    INDEX_COLUMNS,
    VIDEO_COLUMNS,
    Extracted,
    ExtractOptions,
    FacesInVideo,
    extract_video,
)
from train.data.metadata import Video


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


def write_shard(
    shard: Shard,
    folder: Path,
    options: ExtractOptions,
    detector: Detector,
    skip: frozenset[str] = frozenset(),
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Make a shard's three files; each appears whole or not at all, the index last.

    skip: names of videos that are set aside unread. tick is called before each video, and may raise to end the work.
    """
    rows: list[dict[str, Any]] = []
    videos: list[dict[str, Any]] = []
    seen: dict[str, FacesInVideo | None] = {}
    with (
        atomic_path(shard.tar(folder)) as temporary,
        tarfile.open(temporary, "w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for video in shard.videos:
            tick()
            shard.mark(folder).write_text(video.filename, encoding="utf-8")
            out = _extract(video, options, detector, seen, skip)
            seen[video.filename] = out.seen
            videos.append(out.row)
            for row, data in out.faces:
                _add(tar, row["face"], data)
                rows.append(row)
    _write_csv(shard.table(folder), VIDEO_COLUMNS, videos)
    _write_csv(shard.index(folder), INDEX_COLUMNS, rows)
    shard.mark(folder).unlink(missing_ok=True)


def _extract(
    video: Video,
    options: ExtractOptions,
    detector: Detector,
    seen: dict[str, FacesInVideo | None],
    skip: frozenset[str],
) -> Extracted:
    if video.filename not in skip:
        return extract_video(video, options, detector, seen.get(video.original))
    out = extract_video(replace(video, path=None), options, detector, None)
    out.row |= {"status": "unreadable", "reason": "set aside with --skip"}
    return out


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """An entry that says nothing of when, where and by whom it was made."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(data), 0, 0o644
    tar.addfile(entry, io.BytesIO(data))


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@dataclass
class Worker:
    """What a process needs for any shard: networks are loaded once."""

    folder: Path
    options: ExtractOptions
    skip: frozenset[str]
    detector: Detector
    stop: Event
    count: Synchronized[int]  # videos begun by all workers

    def tick(self) -> None:
        """Before each video: heed the stop, count."""
        if self.stop.is_set():
            raise StopRequestedError("stopped")
        with self.count.get_lock():
            self.count.value += 1


_worker: list[Worker] = []


def start_worker(
    folder: Path,
    options: ExtractOptions,
    skip: frozenset[str],
    device: str,
    stop: Event,
    count: Synchronized[int],
) -> None:
    """Make this process a worker: one thread, deaf to Ctrl-C (the parent says when to stop), gone with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    _worker[:] = [Worker(folder, options, skip, Cascade(torch.device(device), threads=1), stop, count)]


def work(shard: Shard) -> None:
    """Make one shard in a worker."""
    worker = _worker[0]
    if worker.stop.is_set():
        raise StopRequestedError("stopped")
    write_shard(shard, worker.folder, worker.options, worker.detector, worker.skip, worker.tick)


def _leave_with_parent() -> None:
    """An orphan must not go on writing where the next run already works."""
    if (parent := parent_process()) is not None:
        parent.join()
    os._exit(1)
