"""What a run takes while it runs: the memory of all its processes, and the disk that it fills."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

PROC = Path("/proc")
ROUNDS = 50  # of killing: a process may start another one meanwhile, and takes a moment to be gone


class ResourceMonitor:
    """The peaks of a tree of processes, as far as looks at it show them."""

    def __init__(self, pid: int, home: Path, folders: Sequence[Path]) -> None:
        """pid: of the process at the top. home: its HOME, which no other run has. folders: whose files are counted."""
        self.pid, self.home, self.folders = pid, home, folders
        self.memory, self.disk = 0, 0  # bytes at the peak; memory stays 0 where there is no /proc
        self._resident = 0
        self._seen: dict[int, str] = {}  # every process of the tree, with its time of birth

    def look_at_memory(self) -> None:
        """Pages that processes share are counted once, as Kaggle does.

        That sum (Pss of /proc) takes long to ask for, so it is only where the quick one is higher than ever.
        """
        tree = dict(_tree(self.pid))
        self._seen |= tree
        resident = sum(_resident(pid) for pid in tree)
        if resident > self._resident:
            self._resident = resident
            self.memory = max(self.memory, sum(_share(pid) for pid in tree))

    def look_at_disk(self) -> None:
        """Blocks that files take."""
        self.disk = max(self.disk, sum(bytes_below(folder) for folder in self.folders))

    def kill(self) -> None:
        """End whatever is left of the run: also those whose parents are gone, or that came between two looks."""
        for _ in range(ROUNDS):
            self._seen |= dict(_tree(self.pid))
            births = ((pid, _birth(pid)[1]) for pid in _pids())
            left = [pid for pid, born in births if born and (born == self._seen.get(pid) or self._has_home(pid))]
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not left:
                return
            time.sleep(0.02)

    def _has_home(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            return f"HOME={self.home}".encode() in (PROC / str(pid) / "environ").read_bytes().split(b"\0")
        return False


def bytes_below(folder: Path) -> int:
    """What the files below a folder take on the disk; those that vanish meanwhile take nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(place) / name).lstat().st_blocks * 512
    return total


def _tree(top: int) -> Iterator[tuple[int, str]]:
    """The process and its descendants, with their times of birth."""
    children: dict[int, list[tuple[int, str]]] = {}
    for pid in _pids():
        parent, born = _birth(pid)
        children.setdefault(parent, []).append((pid, born))
    if born := _birth(top)[1]:
        yield top, born
    waiting = [top]
    while waiting:
        for pid, born in children.get(waiting.pop(), []):
            yield pid, born
            waiting.append(pid)


def _pids() -> Iterable[int]:
    with contextlib.suppress(OSError):
        return [int(name) for name in os.listdir(PROC) if name.isdigit()]  # noqa: PTH208 - several times a second
    return []


def _birth(pid: int) -> tuple[int, str]:
    """Parent and time of birth; (0, "") for a process that is gone, or only waits to be collected. See proc(5)."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0, ""
    return (0, "") if fields[0] == "Z" else (int(fields[1]), fields[19])


def _resident(pid: int) -> int:
    try:
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _share(pid: int) -> int:
    """Bytes of memory, of pages in several processes the share of this one; all of them where the system hides it."""
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return _resident(pid)
