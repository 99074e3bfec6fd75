"""What runs when a decoder hangs, crashes or takes too much memory: its process is cut, and its video has a reason.

`WorkerProcess` is one process of faces/decode/worker.py as its parent sees it. The parent looks at it every
LOOK_SECONDS while a video is decoded; `VideoLimits` says what one video may take.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from faces.decode.worker import JOB, LENGTH_IS, SECONDS, DecodeOutcome, Job, unnamed_file

ROOT = Path(__file__).resolve().parents[2]
# Between two looks at a worker's memory. A decoder fills a few hundred MB in that time (4K frames, one core), which is
# small beside the limit; looking costs one read of /proc.
LOOK_SECONDS = 0.1
# The environment of a worker. Decoding has no use for the thread pools of numerical libraries, and they take memory.
# glibc: 32 MB is above a 4K frame, so frames come from the heap, and 256 MB of freed heap stay with the process for
# the next frame. Fresh pages for each took a tenth of the time of decoding.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
ENVIRONMENT |= {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}


@dataclass(frozen=True)
class VideoLimits:
    """What one video may take before its worker is killed, and how long a worker may take to start and to end."""

    # Seconds of CPU. Ten seconds of 1080p decode in a few seconds on one core (benchmarks/decode.py), so what takes a
    # minute is hostile or long. A second of 4K HEVC with ten bits, all of it decoded, takes 2.3.
    cpu_seconds: float = 60.0
    cpu_per_second: float = 2.0  # more for each second that the video lasts
    cpu_most: float = 600.0  # whatever the header says of its length
    seconds: float = 60.0  # without any work of its worker: then it hangs, on a disk that is gone or in a lock
    # Resident bytes of its worker, looked at where there is /proc; a decoder of 8K takes a GiB. The frames lie in a
    # file in memory, at most MOST_FRAME_BYTES of faces/decode/worker.py.
    memory: int = 3 << 30
    start_seconds: float = 120.0  # until a new worker can take a video: its imports may come off a cold disk
    exit_seconds: float = 5.0  # for a process to be gone after it was killed, or after it has closed its socket

    def __post_init__(self) -> None:
        if not (self.seconds > 0 and self.cpu_seconds > 0 and self.memory > 0):
            least = min(self.seconds, self.cpu_seconds)
            raise ValueError(f"a video needs more than {least} seconds and {self.memory} bytes")

    def cpu_for(self, length: float) -> float:
        """Seconds of CPU that a video of this length, in seconds, may take."""
        return max(self.cpu_seconds, min(self.cpu_most, self.cpu_seconds + self.cpu_per_second * length))

    @classmethod
    def fixed(cls, cpu_seconds: float) -> VideoLimits:
        """Limits with these seconds of CPU for every video, however long it lasts."""
        return cls(cpu_seconds=cpu_seconds, cpu_per_second=0.0)

    @classmethod
    def of(cls, cpu_seconds: float | None) -> VideoLimits:
        """Limits with these seconds of CPU, or by a video's length where none are given."""
        return cls() if cpu_seconds is None else cls.fixed(cpu_seconds)


DEFAULT_LIMITS = VideoLimits()


class Closing(Protocol):
    """An event of threads or of processes: set when nobody waits for frames any more."""

    def is_set(self) -> bool:
        """Whether it is so."""


class WorkerCut(Exception):  # noqa: N818 - it is how a video ends, not an error of ours
    """A worker that will not answer.

    Args:
        outcome: the status of the video that it had.
        reason: what happened to the worker, for people; it goes on from "its decoder".
    """

    def __init__(self, outcome: DecodeOutcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome: DecodeOutcome = outcome


class WorkerProcess:
    """A process that runs faces/decode/worker.py and is ready for videos, and the socket to it."""

    def __init__(self, limits: VideoLimits, closing: Closing, clock: Callable[[], float]) -> None:
        """Start a process and wait until it is ready.

        Args:
            limits: of each video, and of the start.
            closing: ends every wait when it is set.
            clock: gives seconds; the limits count by it.

        Raises:
            WorkerCut: the process ended, or was not ready in time.
            OSError: the process could not be started.
        """
        self.limits, self.closing, self.clock = limits, closing, clock
        with contextlib.ExitStack() as opened:
            self.control, theirs = (opened.enter_context(end) for end in socket.socketpair())
            self.stderr = opened.enter_context(unnamed_file())  # a pipe that nobody reads would fill and block it
            self.popen = subprocess.Popen(
                # It must find what this process finds, whatever lies in the current folder (-P).
                [sys.executable, "-P", "-m", "faces.decode.worker", str(theirs.fileno())],
                env=os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self.stderr,
                pass_fds=(theirs.fileno(),),
                process_group=0,  # Ctrl-C is for the parent, which then ends it
            )
            opened.callback(self._kill)
            theirs.close()  # so that the end of the process is the end of what can be received
            start = limits.start_seconds
            self._receive(replace(limits, seconds=start, cpu_seconds=start, cpu_per_second=0.0))
            self.opened = opened.pop_all()

    @property
    def alive(self) -> bool:
        """Whether the process still runs; between two videos anything may have killed it."""
        return self.popen.poll() is None

    def ask(self, job: Job, handle: int) -> None:
        """Give the worker a video and wait until its frames are written.

        Args:
            job: the video, and what is wanted of it.
            handle: of the open file that the worker writes into.

        Raises:
            WorkerCut: the worker ended, or went over a limit. The process is then of no further use: close it.
        """
        with contextlib.suppress(BrokenPipeError):  # it died just now: the receiver says how
            self.control.settimeout(None)
            socket.send_fds(self.control, [JOB], [handle])
            self.control.sendall(json.dumps(asdict(job)).encode() + b"\n")
        self._receive(self.limits)

    def close(self) -> None:
        """Kill the process: between videos it has nothing to lose."""
        self.opened.close()

    def _receive(self, limits: VideoLimits) -> None:
        """Wait for the next message. Raises WorkerCut when none comes within the limits."""
        began = active = self.clock()
        before = seen = self._cpu_seconds()
        length = 0.0  # seconds that the video lasts, once the worker has said it
        while True:
            if self.closing.is_set():
                raise WorkerCut("crashed", "was cut, because nobody waits for it any more")
            if self._resident() > limits.memory:
                raise WorkerCut("crashed", f"took more memory than the limit of {limits.memory >> 20} MiB and was cut; "
                                "fewer frames take less (--frames)")  # fmt: skip
            now, spent = self.clock(), self._cpu_seconds()
            active = active if spent == seen else now
            seen = spent
            # Where the system does not tell what the process did, it is taken to be at work all the time.
            if (now - began if spent is None or before is None else spent - before) > limits.cpu_for(length):
                raise WorkerCut("timed_out", _too_long(limits.cpu_for(length), length))
            if now - active >= limits.seconds:
                raise WorkerCut("timed_out", f"did nothing within the limit of {limits.seconds:g} s and was cut")
            self.control.settimeout(min(LOOK_SECONDS, limits.seconds))
            try:
                message = self.control.recv(1)
                if message == LENGTH_IS:
                    length = self._length()
                    continue
                if message:
                    return
            except TimeoutError:
                continue
            except ConnectionResetError:  # it died with a job unread
                pass
            raise WorkerCut("crashed", self._last_words())

    def _length(self) -> float:
        """The length that follows LENGTH_IS: it was sent with it, so it is there."""
        data = b""
        while len(data) < SECONDS.size and (more := self.control.recv(SECONDS.size - len(data))):
            data += more
        length = float(SECONDS.unpack(data.ljust(SECONDS.size, b"\0"))[0])
        return length if 0 < length < float("inf") else 0.0

    def _cpu_seconds(self) -> float | None:
        """Seconds of CPU that the process has taken; None where the system does not tell."""
        try:
            fields = Path(f"/proc/{self.popen.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _resident(self) -> int:
        """Bytes of memory that the process holds; 0 where the system does not tell."""
        try:
            return int(Path(f"/proc/{self.popen.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            return 0

    def _last_words(self) -> str:
        """How the process ended, and the last line that it wrote: of a Python error, the error."""
        try:
            code = self.popen.wait(self.limits.exit_seconds)
        except subprocess.TimeoutExpired:
            return "closed its socket and went on"
        said = os.pread(self.stderr.fileno(), 1 << 16, max(0, os.fstat(self.stderr.fileno()).st_size - (1 << 16)))
        how = f"was killed by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"ended with code {code}"
        return ": ".join([how, *said.decode(errors="replace").split("\n")[-2:-1]])

    def _kill(self) -> None:
        self.popen.kill()
        # One that hangs inside the kernel, on a disk that is gone, cannot be waited for; its end is collected later.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(self.limits.exit_seconds)


def _too_long(limit: float, length: float) -> str:
    lasts = f" for the {length:.0f} s that the video lasts" if length else ""
    return f"took longer than the limit of {limit:g} s of CPU{lasts} and was cut; more can be allowed (--video-seconds)"
