"""What runs in a process of its own: it gets a path and an unnamed file in memory, and decodes the one into the other.

A job comes over the control socket as JOB with the handle of the file, then a line of JSON: {"path":, "frames":}. The
process says READY once, and DONE when the file is written: the images one after the other, the rest as JSON, and
the length of that JSON in the last 8 bytes. Imports only what decoding needs: the process must be there at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import math
import os
import signal
import socket
import struct
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from faces.video import Frames, VideoError, VideoInfo, decode

READY, JOB, DONE = b"r", b"j", b"d"  # one byte each: a message is there or is not, but never half
LENGTH = struct.Struct("<Q")

# What libraries raise over damaged or hostile media, beside our own VideoError: a header that asks for terabytes, a
# disk that fails. What is caught is counted as a fallback and listed with its reason, never passed over.
DAMAGE = (OSError, MemoryError, OverflowError, ValueError)

Outcome = Literal["ok", "unreadable", "timed_out", "crashed"]


@dataclass(frozen=True)
class Decoded:
    """The frames of one video, or why there are none."""

    path: Path
    frames: Frames | None  # the images are read-only
    outcome: Outcome
    reason: str  # empty when there are frames
    seconds: float  # spent decoding; of a video that was cut, until then
    cpu: float = 0.0  # seconds of CPU that it took; 0 for a video that was cut


def unnamed_file() -> io.FileIO:
    """An empty file without a name, gone with its last handle; in memory on Linux, whatever the size of /dev/shm."""
    if sys.platform == "linux":
        return io.FileIO(os.memfd_create("dfdc"), "r+")
    handle, name = tempfile.mkstemp()
    Path(name).unlink()
    return io.FileIO(handle, "r+")


def pack(decoded: Decoded, file: io.FileIO) -> None:
    """Write it into a file in place of what is there, for another process to `unpack`. OSError: there is no room."""
    fields: dict[str, Any] = {"outcome": decoded.outcome, "reason": decoded.reason}
    fields |= {"seconds": decoded.seconds, "cpu": decoded.cpu}
    images = decoded.frames.images if decoded.frames else ()
    if frames := decoded.frames:
        fields["frames"] = {
            "shapes": [image.shape for image in images],
            "indices": frames.indices.tolist(),
            "seconds": frames.seconds.tolist(),
            "info": asdict(frames.info),
            "note": frames.note,
        }
    text = json.dumps(fields).encode()
    file.seek(0)
    for part in (*(image.data.cast("B") for image in images), memoryview(text), memoryview(LENGTH.pack(len(text)))):
        written = 0
        while written < len(part):  # Linux takes 2 GB at a time
            written += file.write(part[written:])
    file.truncate()


def unpack(whole: NDArray[np.uint8], path: Path) -> Decoded:
    """What `pack` wrote; whole: (bytes,) the file. The images are views of it."""
    end = len(whole) - LENGTH.size
    fields = json.loads(whole[end - LENGTH.unpack(whole[end:].data)[0] : end].tobytes())
    frames = None
    if kept := fields.pop("frames", None):
        images, offset = [], 0
        for shape in kept["shapes"]:
            images.append(whole[offset : offset + math.prod(shape)].reshape(shape))
            offset += math.prod(shape)
        indices, seconds = np.array(kept["indices"], np.int64), np.array(kept["seconds"], np.float64)
        frames = Frames(tuple(images), indices, seconds, VideoInfo(**kept["info"]), kept["note"])
    return Decoded(path, frames, **fields)


def _answer(path: Path, wanted: int, file: io.FileIO) -> None:
    """Decode and pack; damage becomes a reason."""
    began, cpu = time.perf_counter(), time.process_time()

    def done(frames: Frames | None, outcome: Outcome, reason: str) -> Decoded:
        return Decoded(path, frames, outcome, reason, time.perf_counter() - began, time.process_time() - cpu)

    try:
        return pack(done(decode(path, wanted, threads=1), "ok", ""), file)
    except VideoError as error:
        reason = str(error)
    except DAMAGE as error:
        reason = f"{path}: {type(error).__name__}: {error}"
    return pack(done(None, "unreadable", reason), file)


def _die_first() -> None:
    """Go with the parent however it ends, even from the middle of a video; and before it when memory runs out."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, of the thread that started this process
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")


def main() -> None:
    """Serve the socket whose handle is the first argument, until the other side closes it."""
    _die_first()
    with socket.socket(fileno=int(sys.argv[1])) as control, control.makefile() as lines:
        # A parent that died before the line above has closed its end: then this fails, or no job comes.
        control.sendall(READY)
        while handles := socket.recv_fds(control, len(JOB), 1)[1]:
            with io.FileIO(handles[0], "r+") as file:
                job = json.loads(lines.readline())
                _answer(Path(job["path"]), job["frames"], file)
            control.sendall(DONE)


if __name__ == "__main__":
    main()
