"""What a run takes while it runs: the memory of all its processes, and the disk that it fills."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

ROUNDS = 50  # of killing: a process may start another one meanwhile, and takes a moment to be gone
PAUSE = 0.02  # seconds between two rounds


class ResourceMonitor:
    """The peaks of a tree of processes, as far as looks at it show them."""

    def __init__(self, pid: int, home: Path, folders: Sequence[Path]) -> None:
        """Watch a process that has just started.

        Args:
            pid: number of the process at the top of the tree.
            home: its HOME, which no other run has; it tells the run's processes from all others.
            folders: whose files count as the disk that the run fills.
        """
        self.pid, self.home, self.folders = pid, home, folders
        self.memory, self.disk = 0, 0  # bytes at the peak
        self._resident = 0
        self._seen: set[psutil.Process] = set()  # every process of the tree; equal by number and time of birth

    def look_at_memory(self) -> None:
        """Take in the memory of now. Pages that processes share are counted once, as Kaggle does.

        That sum takes long to ask for, so it is asked for only where the quick one is higher than ever.
        """
        tree = self._tree()
        self._seen |= tree
        resident = sum(map(_resident, tree))
        if resident > self._resident:
            self._resident = resident
            self.memory = max(self.memory, sum(map(_share, tree)))

    def look_at_disk(self) -> None:
        """Take in the blocks that the files take now."""
        self.disk = max(self.disk, sum(bytes_below(folder) for folder in self.folders))

    def kill(self) -> None:
        """End whatever is left of the run, also processes whose parents are gone or that came between two looks."""
        for _ in range(ROUNDS):
            self._seen |= self._tree()
            left = [process for process in psutil.process_iter() if self._is_ours(process) and _is_alive(process)]
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    process.kill()
            if not left:
                return
            time.sleep(PAUSE)

    def _tree(self) -> set[psutil.Process]:
        """The process and its descendants; none when it is gone."""
        try:
            top = psutil.Process(self.pid)
            return {process for process in (top, *top.children(recursive=True)) if _is_alive(process)}
        except psutil.NoSuchProcess:
            return set()

    def _is_ours(self, process: psutil.Process) -> bool:
        if process in self._seen:
            return True
        try:
            return bool(process.environ().get("HOME") == str(self.home))
        except (psutil.Error, OSError):  # somebody else's, or gone
            return False


def bytes_below(folder: Path) -> int:
    """What the files below a folder take on the disk, in bytes; a file that vanishes meanwhile takes nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(place) / name).lstat().st_blocks * 512
    return total


def _is_alive(process: psutil.Process) -> bool:
    """Whether it runs; a zombie only waits to be collected."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _share(process: psutil.Process) -> int:
    """Bytes of memory, of pages in several processes the share of this one; all of them where the system hides it."""
    try:
        info = process.memory_full_info()
    except psutil.Error:
        return _resident(process)
    return int(getattr(info, "pss", info.rss))
