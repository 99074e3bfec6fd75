"""Decode videos ahead of the networks, in processes: a decoder that hangs or crashes costs its own video and no other.

Each worker is a process (faces/decode/worker.py) and a thread of this process that gives it videos and waits for
the frames. faces/decode/watchdog.py cuts a worker that goes over a limit; the next video starts another.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from pathlib import Path

from common.errors import DfdcError
from faces.decode.decoder import Decoder
from faces.decode.frame_files import FrameFiles
from faces.decode.watchdog import DEFAULT_LIMITS, VideoLimits
from faces.decode.worker import Decoded, DecodeOutcome, Job

__all__ = ["DecodeOutcome", "Decoded", "VideoLimits", "decode_ahead"]


def decode_ahead(
    jobs: Iterable[tuple[Path, int]],
    workers: int,
    limits: VideoLimits = DEFAULT_LIMITS,
    clock: Callable[[], float] = time.monotonic,
    patience: float = 0.0,
    sparing: bool = False,
) -> Generator[Decoded, None, None]:
    """Decode videos in `workers` processes; one result for each job, as they are finished.

    So a video that hangs holds up no other. At most workers + 1 videos are pulled and not yet given out. With the one
    that the caller holds, and what each worker has in hand, memory stays below 2 x workers + 2 times a video's frames
    (32 of 1080p are 200 MB). When the generator ends, also early, no process and no thread is left.

    Args:
        jobs: a path and the frames wanted, each. One is pulled when a worker can take it up: from a thread of this
            process, one call at a time, also while the caller works on a result.
        workers: processes, 1 or more.
        limits: what one video may take.
        clock: gives seconds. It is read in the thread that pulled the video; limits and `Decoded.seconds` of a video
            that was cut count by it.
        patience: seconds for which a result waits for the jobs before it, so that results come in the order of the
            jobs unless one takes that much longer.
        sparing: of all jobs, as of a `Job`.

    Returns:
        Results. The images are read-only, and each Decoded that is alive holds two file handles. Whatever a video
        does is its outcome.

    Raises:
        ValueError: `workers` is below 1.
        DfdcError: a worker cannot be started, or the system cannot hand files to another process.
        Exception: whatever `jobs` raises.
    """
    if workers < 1:
        raise ValueError(f"cannot decode with {workers} workers: at least 1 is needed")
    if not hasattr(socket, "send_fds"):
        raise DfdcError(f"decoding needs a system that can hand a file to another process, not {sys.platform}")
    pool = _Pool((Job(str(path), frames, sparing=sparing) for path, frames in jobs), workers, limits, clock)
    try:
        while (decoded := pool.next_finished(patience)) is not None:
            pool.room.release()
            yield decoded
            del decoded  # the caller alone decides how long it lives
    finally:
        pool.close()


class _Place:
    """Where the result of a job will be."""

    def __init__(self) -> None:
        self.future: Future[Decoded | None] = Future()  # None: there was no job
        self.since = time.monotonic()

    def holds_a_video(self) -> bool:
        return self.future.done() and self.future.exception() is None and self.future.result() is not None


class _Pool:
    """The threads, one per worker, and what they share."""

    def __init__(self, jobs: Iterable[Job], workers: int, limits: VideoLimits, clock: Callable[[], float]) -> None:
        self.jobs, self.pulling = iter(jobs), threading.Lock()
        self.limits, self.clock = limits, clock
        self.places: list[_Place] = []  # in the order of the jobs
        self.changed = threading.Condition()  # guards `places`; a result is there
        self.room = threading.Semaphore(workers + 1)  # for videos that are pulled and not given out
        self.files = FrameFiles(workers + 2)
        self.closing = threading.Event()
        # Daemons: a caller who leaves without closing the generator must not hang at exit.
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in self.threads:
            thread.start()

    def next_finished(self, patience: float) -> Decoded | None:
        """Wait for a result: the first job's, or a later one's when the first lets it wait; None after the last."""
        with self.changed:
            while True:
                if self.places and self.places[0].future.done():
                    return self.places.pop(0).future.result()
                # Not what ended the jobs, an exception or None: what is before it comes first.
                later = next((place for place in self.places if place.holds_a_video()), None)
                left = self.places[0].since + patience - time.monotonic() if later else None
                if later and left is not None and left <= 0:
                    self.places.remove(later)
                    return later.future.result()
                self.changed.wait(None if left is None else min(left, threading.TIMEOUT_MAX))

    def _work(self) -> None:
        with contextlib.closing(Decoder(self.limits, self.files, self.closing, self.clock)) as worker:
            while self._decode_next(worker):
                pass

    def _decode_next(self, worker: Decoder) -> bool:
        """Pull a job and see it through; False when there is none. The place of the first that found none gets None."""
        self.room.acquire()
        place = _Place()
        try:
            with self.pulling:
                with self.changed:
                    self.places.append(place)
                job = None if self.closing.is_set() else next(self.jobs, None)
            place.future.set_result(None if job is None else worker.decode(job))
        except BaseException as error:  # noqa: BLE001 - raised again where the result is awaited
            place.future.set_exception(error)
            return False
        finally:
            with self.changed:
                self.changed.notify()
        return job is not None

    def close(self) -> None:
        """End the threads, and with them the workers."""
        self.closing.set()
        self.room.release(len(self.threads))
        for thread in self.threads:
            thread.join()
        self.files.close()
        self.places.clear()  # an exception among them would keep the others, and their files, alive
