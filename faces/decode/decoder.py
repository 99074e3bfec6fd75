"""Videos through a process of their own, one after the other: what one of them does to it costs that video alone."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from common.errors import DfdcError
from faces.decode.frame_files import FrameFiles
from faces.decode.watchdog import DEFAULT_LIMITS, Closing, VideoLimits, WorkerCut, WorkerProcess
from faces.decode.worker import Decoded, Job

START_TRIES = 3  # at starting a worker, in a row: a start may fail once for want of memory, and thrice has a cause


class Decoder:
    """Videos through a process, another process after each cut. One thread uses it, which outlives the processes."""

    def __init__(
        self,
        limits: VideoLimits = DEFAULT_LIMITS,
        files: FrameFiles | None = None,
        closing: Closing | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start nothing yet: the first video does.

        Args:
            limits: what one video may take.
            files: where frames travel in; of its own without any.
            closing: when it is set, a video that is being decoded is cut.
            clock: gives seconds; the limits count by it.
        """
        self.limits, self.clock = limits, clock
        self.files = FrameFiles(1) if files is None else files
        self.closing: Closing = threading.Event() if closing is None else closing
        self.process: WorkerProcess | None = None

    def decode(self, job: Job) -> Decoded:
        """Decode one video; it is tried once.

        Returns:
            The frames, read-only, or why there are none.

        Raises:
            DfdcError: a process cannot be started.
        """
        if self.process is None or not self.process.alive:
            self.process = self._started()
        began, path = self.clock(), Path(job.path)
        file = self.files.take()
        try:
            self.process.ask(job, file.file.fileno())
        except WorkerCut as cut:
            self.close()
            file.close()  # not given back: a process that cannot be killed may still write into it
            return Decoded(path, None, cut.outcome, f"{path}: its decoder {cut}", self.clock() - began)
        whole = file.whole()
        weakref.finalize(whole, self.files.give, file)
        return Decoded.unpack(whole, path)

    def _started(self) -> WorkerProcess:
        """A process that is ready. Raises DfdcError when that fails several times in a row."""
        self.close()
        for _ in range(START_TRIES):
            try:
                return WorkerProcess(self.limits, self.closing, self.clock)
            except (WorkerCut, OSError) as error:
                reason = str(error)
        raise DfdcError(f"a process that decodes could not be started, {START_TRIES} times in a row: it {reason}")

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.close()
        self.process = None
