"""A child process that does not outlive its parent, however that ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path


@contextlib.contextmanager
def children_deaf_to(*signals: signal.Signals) -> Iterator[None]:
    """Block signals in the processes that are started inside, from their first instruction on.

    A terminal sends Ctrl-C to all processes of a command. A child that is still importing would answer it with a
    traceback, before it can say that its parent ends it.

    Args:
        signals: that the children do not get. One that this process gets meanwhile comes when the block ends.
    """
    # The first child starts the tracker, and that one unblocks signals (CPython 3.11): it has to run before.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent(oom_score: int = 1000, parent: int | None = None) -> None:
    """End with the parent, even in the middle of native code, and before the parent when memory runs out.

    Call it before anything that takes time: a parent that ends earlier is not noticed, unless its number is known.

    Args:
        oom_score: of this process, up to 1000: the highest is ended first.
        parent: its process number; when it is gone already, this process ends here.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, of the thread that started this process
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(oom_score))
    if parent is not None and os.getppid() != parent:
        sys.exit("the process that started this one is gone")
