"""The memory that decoded frames travel in: unnamed files that a decoder writes and the pipeline reads in place."""

from __future__ import annotations

import contextlib
import mmap
import os
import queue

import numpy as np
from numpy.typing import NDArray

from faces.decode.worker import unnamed_file


class FrameFile:
    """An unnamed file and its mapping.

    It is used for one video after the other, because the system takes longer to make fresh pages than to fill them.
    """

    def __init__(self) -> None:
        self.file = unnamed_file()
        self.mapping: mmap.mmap | None = None

    def whole(self) -> NDArray[np.uint8]:
        """All of the file, (bytes,) uint8, read-only, without a copy."""
        size = os.fstat(self.file.fileno()).st_size
        if self.mapping is None or len(self.mapping) < size:
            self.mapping = mmap.mmap(self.file.fileno(), size, prot=mmap.PROT_READ)
        return np.frombuffer(self.mapping, np.uint8, size)

    def close(self) -> None:
        """Give the file back to the system; its memory goes with the last view of it."""
        self.file.close()
        self.mapping = None


class FrameFiles:
    """The frame files that are free.

    A file comes back when the last view of its frames ends, in whatever thread that is: SimpleQueue.put allows it.
    """

    def __init__(self, most: int) -> None:
        """Start without a file.

        Args:
            most: how many free files are kept; those beyond are closed.
        """
        self.most = most
        self.free: queue.SimpleQueue[FrameFile] = queue.SimpleQueue()

    def take(self) -> FrameFile:
        """A free file, or a new one when none is free."""
        try:
            return self.free.get_nowait()
        except queue.Empty:
            return FrameFile()

    def give(self, file: FrameFile) -> None:
        """Take back a file that nobody looks at any more."""
        self.free.put(file)
        with contextlib.suppress(queue.Empty):
            while self.free.qsize() > self.most:
                self.free.get_nowait().close()

    def close(self) -> None:
        """Close all free files, and from now on each one that comes back."""
        self.most = 0
        self.give(FrameFile())
