"""Workers as the system sees them, a clock that the tests move, and workers that hang."""

from __future__ import annotations

import os
import signal
import threading
from collections import defaultdict
from pathlib import Path

from tests.waiting import wait_until

# Children that were there before a test: servers that other tests' pools of processes keep.
OTHERS: set[int] = set()


def handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def workers(parent: int | None = None) -> list[int]:
    """Ids of the children of a process, of this one without an argument; a dead one that is not collected counts."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == (parent or os.getpid()) and int(entry.name) not in OTHERS:
            found.append(int(entry.name))
    return found


def state(pid: int) -> str:
    """The letter of a process's state: T is frozen, Z is dead and not collected; empty for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def alive(pid: int) -> bool:
    return state(pid) not in ("Z", "")


class Clock:
    """A clock for each thread of a pool. It stands still, but for each look at a worker that hangs: a second passes."""

    def __init__(self):
        self.seconds = defaultdict(float)  # of each thread
        self.hanging = {}  # thread -> what happens at its next look but two: the first two begin a video

    def __call__(self):
        thread = threading.get_ident()
        if thread in self.hanging:
            self.seconds[thread] += 1
            self.hanging[thread]()
        return self.seconds[thread]


def stopping(clip: Path, wrong: set[int], clock: Clock, then=None):
    """Eight jobs for one worker, which freezes before the wrong ones: no signal handler of its own helps it.

    then: a signal that it gets when its video is under way.
    """
    for number in range(8):
        clock.hanging.clear()
        if number in wrong:
            (pid,) = workers()
            os.kill(pid, signal.SIGSTOP)
            wait_until(lambda pid=pid: state(pid) == "T", "the worker is frozen")
            looks = 0

            def look(pid=pid):
                nonlocal looks
                looks += 1
                if then is not None and looks == 3:  # after those that begin a video and its limit
                    os.kill(pid, then)
                    wait_until(lambda: not alive(pid), "the worker is dead")

            clock.hanging[threading.get_ident()] = look
        yield clip, 1
