"""The allocator setting that makes torch on the CPU up to twice as fast."""

from __future__ import annotations

import ctypes
import sys

# Parameter numbers of mallopt(3) in glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Tell glibc to reuse freed blocks instead of returning them to the system; True where that worked.

    Every forward pass frees and asks for the same large buffers; by default each goes back to the kernel and is
    faulted in again, page by page. Call once, before the first large allocation. Memory of the process then stays at
    its peak.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl has no mallopt
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
