"""A child process that does not outlive its parent, however that ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path


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
