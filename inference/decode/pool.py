"""Decoding ahead of the judges, in processes: a decoder that hangs or crashes costs its own video and no other.

Each worker is a process (inference/decode/worker.py) and the thread of this process that gives it videos, waits for
the frames and cuts it when it goes over a limit.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Generator, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import DfdcError
from inference.decode.worker import JOB, Decoded, Outcome, unnamed_file, unpack

__all__ = ["Decoded", "Outcome", "VideoLimits", "decode_ahead"]

ROOT = Path(__file__).resolve().parents[2]
TRIES = 3  # at starting a worker
LOOK = 0.1  # seconds between looks at a worker's memory, of which it can fill a few hundred MB in that time
STARTING = 120.0  # seconds until a worker can take a video: imports come off a cold disk
LAST_WORDS = 5.0  # seconds for a process to be gone
# Of a worker. Pools of threads, which decoding has no use for, take memory. glibc: keep the pages of one video's frames
# for those of the next, for to make them takes a tenth of the time of decoding.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
ENVIRONMENT |= {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}


@dataclass(frozen=True)
class VideoLimits:
    """What one video may take before its worker is killed."""

    seconds: float = 60.0  # from the moment its worker takes it up
    memory: int = 3 << 30  # resident bytes of its worker, looked at where there is /proc; 32 frames of 4K take 1.1 GB

    def __post_init__(self) -> None:
        if not (self.seconds > 0 and self.memory > 0):
            raise ValueError(f"a video needs more than {self.seconds} seconds and {self.memory} bytes")


def decode_ahead(
    jobs: Iterable[tuple[Path, int]], workers: int, limits: VideoLimits = VideoLimits()
) -> Generator[Decoded, None, None]:
    """Decode videos in `workers` processes; a result for each job, in the order of the jobs.

    A job is a path and the frames wanted, pulled when a worker can take it up: from a thread of ours, one call at a
    time, also while the caller works on a result. At most workers + 1 videos are pulled and not yet given out. With the
    one that the caller holds, and what each worker has in hand, memory stays below 2 x workers + 2 times a video's
    frames (32 of 1080p are 200 MB). Images are read-only, and each Decoded that is alive holds two file handles.
    Whatever a video does is its outcome. Raises DfdcError when a worker cannot be started, ValueError for workers
    below 1, and what `jobs` raises. At the end, also an early one, no process and no thread is left.
    """
    if workers < 1:
        raise ValueError(f"cannot decode with {workers} workers: at least 1 is needed")
    if not hasattr(socket, "send_fds"):
        raise DfdcError(f"decoding needs a system that can hand a file to another process, not {sys.platform}")
    crew = _Crew(jobs, workers, limits)
    try:
        while (decoded := crew.places.get().result()) is not None:
            crew.room.release()
            yield decoded
            del decoded  # the caller alone decides how long it lives
    finally:
        crew.close()


class _Crew:
    """The threads, one per worker, and what they share."""

    def __init__(self, jobs: Iterable[tuple[Path, int]], workers: int, limits: VideoLimits) -> None:
        self.jobs, self.pulling = iter(jobs), threading.Lock()
        self.places: queue.SimpleQueue[Future[Decoded | None]] = queue.SimpleQueue()  # in the order of the jobs
        self.room = threading.Semaphore(workers + 1)  # for videos that are pulled and not given out
        self.arenas = _Arenas(workers + 2)
        self.closing = threading.Event()
        # Daemons: a caller who leaves without closing the generator must not hang at exit.
        self.threads = [threading.Thread(target=self._work, args=(limits,), daemon=True) for _ in range(workers)]
        for thread in self.threads:
            thread.start()

    def _work(self, limits: VideoLimits) -> None:
        with contextlib.closing(_Worker(limits, self.arenas, self.closing)) as worker:
            while self._turn(worker):
                pass

    def _turn(self, worker: _Worker) -> bool:
        """Pull a job and see it through; False when there is none. The place of the first that found none gets None."""
        self.room.acquire()
        place: Future[Decoded | None] = Future()
        try:
            with self.pulling:
                self.places.put(place)
                job = None if self.closing.is_set() else next(self.jobs, None)
            place.set_result(job and worker.decode(*job))
        except BaseException as error:  # noqa: BLE001 - raised again where the result is awaited
            place.set_exception(error)
            return False
        return job is not None

    def close(self) -> None:
        """End the threads, and with them the workers."""
        self.closing.set()
        self.room.release(len(self.threads))
        for thread in self.threads:
            thread.join()
        self.arenas.close()
        while not self.places.empty():  # an exception among them would keep the others, and their files, alive
            self.places.get()


class _Arena:
    """An unnamed file and its mapping. They are used again: to make fresh pages takes longer than to fill them."""

    def __init__(self) -> None:
        self.file = unnamed_file()
        self.mapping: mmap.mmap | None = None

    def whole(self) -> NDArray[np.uint8]:
        """All of the file, (bytes,) read-only."""
        size = os.fstat(self.file.fileno()).st_size
        if self.mapping is None or len(self.mapping) < size:
            self.mapping = mmap.mmap(self.file.fileno(), size, prot=mmap.PROT_READ)
        return np.frombuffer(self.mapping, np.uint8, size)

    def close(self) -> None:
        """Give back the file; its memory goes with the last view."""
        self.file.close()
        self.mapping = None


class _Arenas:
    """Arenas that are free. Given back by the views' end, in whatever thread that is: SimpleQueue.put allows it."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.free: queue.SimpleQueue[_Arena] = queue.SimpleQueue()

    def take(self) -> _Arena:
        """A free one, or a new one."""
        try:
            return self.free.get_nowait()
        except queue.Empty:
            return _Arena()

    def give(self, arena: _Arena) -> None:
        """Nobody looks at it any more."""
        self.free.put(arena)
        with contextlib.suppress(queue.Empty):
            while self.free.qsize() > self.most:
                self.free.get_nowait().close()

    def close(self) -> None:
        """Keep none from now on."""
        self.most = 0
        self.give(_Arena())


class _Cut(Exception):  # noqa: N818 - it is how a video ends, not an error
    """A worker that will not answer: the outcome and the reason."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome: Outcome = outcome


class _Worker:
    """Videos through a process, another one after each cut. One thread uses it, which lives longer than the process."""

    def __init__(self, limits: VideoLimits, arenas: _Arenas, closing: threading.Event) -> None:
        self.limits, self.arenas, self.closing = limits, arenas, closing
        self.process: _Process | None = None

    def decode(self, path: Path, frames: int) -> Decoded:
        """One video, tried once."""
        if self.process is None or self.process.popen.poll() is not None:  # killed between two videos
            self.process = self._started()
        began = time.perf_counter()
        arena = self.arenas.take()
        try:
            self.process.ask({"path": str(path), "frames": frames}, arena.file.fileno(), self.limits)
        except _Cut as cut:
            self.close()
            arena.close()  # not given back: a process that cannot be killed may still write into it
            return Decoded(path, None, cut.outcome, f"{path}: its decoder {cut}", time.perf_counter() - began)
        whole = arena.whole()
        weakref.finalize(whole, self.arenas.give, arena)
        return unpack(whole, path)

    def _started(self) -> _Process:
        """A process that is ready. Raises DfdcError when that fails several times in a row."""
        self.close()
        for _ in range(TRIES):
            try:
                return _Process(self.closing)
            except (_Cut, OSError) as error:
                reason = str(error)
        raise DfdcError(f"a process that decodes could not be started, {TRIES} times in a row: it {reason}")

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.close()
        self.process = None


class _Process:
    """A process that runs inference/decode/worker.py and is ready for videos, and the socket to it."""

    def __init__(self, closing: threading.Event) -> None:
        """Raises _Cut or OSError when it does not come to be ready. closing: ends every wait."""
        self.closing = closing
        with contextlib.ExitStack() as opened:
            self.control, theirs = (opened.enter_context(end) for end in socket.socketpair())
            self.stderr = opened.enter_context(unnamed_file())  # a pipe that nobody reads would fill and block it
            self.popen = subprocess.Popen(
                # It must find what this process finds, whatever lies in the current folder (-P).
                [sys.executable, "-P", "-m", "inference.decode.worker", str(theirs.fileno())],
                env=os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self.stderr,
                pass_fds=(theirs.fileno(),),
                process_group=0,  # Ctrl-C is for the parent, which then ends it
            )
            opened.callback(self._kill)
            theirs.close()  # so that the end of the process is the end of what can be received
            self._receive(VideoLimits(seconds=STARTING))
            self.opened = opened.pop_all()

    def ask(self, job: dict[str, Any], handle: int, limits: VideoLimits) -> None:
        """Give it a job and wait until the file is written. Raises _Cut when that is not within the limits."""
        with contextlib.suppress(BrokenPipeError):  # it died just now: the receiver says how
            self.control.settimeout(None)
            socket.send_fds(self.control, [JOB], [handle])
            self.control.sendall(json.dumps(job).encode() + b"\n")
        self._receive(limits)

    def close(self) -> None:
        """Kill it: between videos it has nothing to lose."""
        self.opened.close()

    def _receive(self, limits: VideoLimits) -> None:
        """Wait for the next message. Raises _Cut when none comes within the limits."""
        deadline = time.monotonic() + limits.seconds
        while (left := deadline - time.monotonic()) > 0:
            if self.closing.is_set():
                raise _Cut("crashed", "was cut, for nobody waits for it any more")
            if self._resident() > limits.memory:
                raise _Cut("crashed", f"took more memory than the limit of {limits.memory >> 20} MiB and was cut")
            self.control.settimeout(min(LOOK, left))
            try:
                if self.control.recv(1):
                    return
            except TimeoutError:
                continue
            except ConnectionResetError:  # it died with a job unread
                pass
            raise _Cut("crashed", self._last_words())
        raise _Cut("timed_out", f"took longer than the limit of {limits.seconds:g} s and was cut")

    def _resident(self) -> int:
        """Bytes of memory that it takes; 0 where the system does not tell."""
        try:
            return int(Path(f"/proc/{self.popen.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            return 0

    def _last_words(self) -> str:
        """How it ended, and the last line that it wrote: of a Python error, the error."""
        try:
            code = self.popen.wait(LAST_WORDS)
        except subprocess.TimeoutExpired:
            return "closed its socket and went on"
        said = os.pread(self.stderr.fileno(), 1 << 16, max(0, os.fstat(self.stderr.fileno()).st_size - (1 << 16)))
        how = f"was killed by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"ended with code {code}"
        return ": ".join([how, *said.decode(errors="replace").split("\n")[-2:-1]])

    def _kill(self) -> None:
        self.popen.kill()
        # One that hangs inside the kernel, on a disk that is gone, cannot be waited for; its end is collected later.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(LAST_WORDS)
