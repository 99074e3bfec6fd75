"""The process that decodes: it gets a path and an unnamed file in memory, and decodes the one into the other.

A job comes over the control socket as JOB with the handle of the file, then a line of JSON: the fields of a `Job`. The
process says READY once; for each job it says LENGTH_IS with the seconds that the video lasts, and DONE when the file is
written: the images as they were decoded, each from the start of a page, the rest as JSON, and the length of that JSON
in the last 8 bytes. It imports only what decoding needs: the process must be there at once.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import mmap
import os
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from common.parent import end_with_parent
from faces.crop import Image
from faces.video import Frames, VideoError, VideoInfo, decode, length_of, probe

READY, JOB, DONE, LENGTH_IS = b"r", b"j", b"d", b"l"  # one byte each, so that a message is never there by half
SECONDS = struct.Struct("<d")  # follows LENGTH_IS
# All frames of one video. 32 frames of 4K take 800 MB, ten of 8K a GB; more than a few such videos are under way.
MOST_FRAME_BYTES = 1 << 30
LENGTH = struct.Struct("<Q")  # 8 bytes, little-endian

# What libraries raise over damaged or hostile media, beside our own VideoError: a header that asks for terabytes, a
# disk that fails. A video whose error is caught counts as a fallback and is listed with its reason.
DECODE_ERRORS = (OSError, MemoryError, OverflowError, ValueError)

DecodeOutcome = Literal["ok", "unreadable", "timed_out", "crashed"]


@dataclass(frozen=True)
class Job:
    """What a process is asked to do with a video."""

    path: str
    frames: int  # wanted, evenly spread
    fps: float | None = None  # frames per second of video instead
    most_bytes: int | None = MOST_FRAME_BYTES  # of all frames; None: all that are wanted, whatever they take
    sparing: bool = False  # fewer of a short video, and those that are decoded soonest (faces/sparing.py)
    md5: bool = False  # also the MD5 of the file, which is read whole for it


@dataclass(frozen=True)
class Decoded:
    """The frames of one video, or why there are none."""

    path: Path
    frames: Frames | None  # the images are read-only
    outcome: DecodeOutcome
    reason: str  # empty when there are frames
    seconds: float  # spent decoding; of a video that was cut, until then
    cpu: float = 0.0  # seconds of CPU that it took; 0 for a video that was cut
    md5: str = ""  # hex, where it was asked for and the file could be read

    def pack(self, pictures: PictureFile) -> None:
        """Write the result behind its pictures, for another process to `unpack`.

        Args:
            pictures: the file; it has kept the images already.

        Raises:
            OSError: there is no room for it.
        """
        fields: dict[str, Any] = {"outcome": self.outcome, "reason": self.reason}
        fields |= {"seconds": self.seconds, "cpu": self.cpu, "md5": self.md5}
        if frames := self.frames:
            fields["frames"] = {
                "shapes": [image.shape for image in frames.images],
                "offsets": [pictures.offset_of(image) for image in frames.images],
                "indices": frames.indices.tolist(),
                "seconds": frames.seconds.tolist(),
                "info": asdict(frames.info),
                "note": frames.note,
            }
        text = json.dumps(fields).encode()
        pictures.finish(text + LENGTH.pack(len(text)))

    @classmethod
    def unpack(cls, whole: NDArray[np.uint8], path: Path) -> Decoded:
        """Read what `pack` wrote, without a copy.

        Args:
            whole: (bytes,) the file; the images are views of it.
            path: of the video.
        """
        end = len(whole) - LENGTH.size
        fields = json.loads(whole[end - LENGTH.unpack(whole[end:].data)[0] : end].tobytes())
        frames = None
        if kept := fields.pop("frames", None):
            images = [
                whole[offset : offset + math.prod(shape)].reshape(shape)
                for shape, offset in zip(kept["shapes"], kept["offsets"], strict=True)
            ]
            indices, seconds = np.array(kept["indices"], np.int64), np.array(kept["seconds"], np.float64)
            frames = Frames(tuple(images), indices, seconds, VideoInfo(**kept["info"]), kept["note"])
        return cls(path, frames, **fields)


class PictureFile:
    """A file that takes pictures as they are decoded, so that no process ever holds all of a video's besides it."""

    def __init__(self, file: io.FileIO) -> None:
        """Write over what is in a file.

        Args:
            file: open for reading and writing, unbuffered. Its pages are used again: fresh ones take longer to make
                than to fill.
        """
        self.file = file
        self.drop()

    def drop(self) -> None:
        """Forget all pictures."""
        self._end = 0
        self._offsets: dict[int, int] = {}  # by the identity of an array, which lives as long as the file keeps it
        self._kept: list[Image] = []

    def keep(self, image: Image) -> Image:
        """Write a picture.

        Args:
            image: (H, W, 3) uint8 RGB, contiguous.

        Returns:
            The same pixels, read from the file.

        Raises:
            OSError: there is no room for it.
        """
        self._write(image.data.cast("B"))
        where = mmap.mmap(self.file.fileno(), image.nbytes, prot=mmap.PROT_READ, offset=self._end)
        kept = np.frombuffer(where, np.uint8).reshape(image.shape)
        self._kept.append(kept)
        self._offsets[id(kept)] = self._end
        self._end += -(-image.nbytes // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        return kept

    def offset_of(self, image: Image) -> int:
        """Where a picture that `keep` gave begins, in bytes."""
        return self._offsets[id(image)]

    def finish(self, tail: bytes) -> None:
        """Write what follows the pictures, and end the file there."""
        self._write(memoryview(tail))
        self.file.truncate(self._end + len(tail))

    def _write(self, part: memoryview) -> None:
        self.file.seek(self._end)
        written = 0
        while written < len(part):  # Linux takes 2 GB at a time
            written += self.file.write(part[written:])


def unnamed_file() -> io.FileIO:
    """Make an empty file without a name, which is gone with its last handle.

    On Linux it lies in memory, whatever the size of /dev/shm; elsewhere in the folder for temporary files.
    """
    if sys.platform == "linux":
        return io.FileIO(os.memfd_create("dfdc"), "r+")
    handle, name = tempfile.mkstemp()
    Path(name).unlink()
    return io.FileIO(handle, "r+")


def md5_of(path: Path) -> str:
    """Hex MD5 of a file's bytes: it tells exact copies apart from look-alikes, nothing more."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _wanted(job: Job) -> int:
    """How many frames to ask for."""
    if job.fps is None:
        return job.frames
    info = probe(job.path)
    seconds = (info.frames / info.fps if info.fps else info.duration) or length_of(job.path)
    if not seconds:
        raise VideoError(f"{job.path}: its length is unknown, so --fps cannot be kept; use --frames or --every-frame")
    return max(1, round(seconds * job.fps))


def _answer(job: Job, file: io.FileIO, on_length: Callable[[float], None]) -> None:
    """Decode and pack; damage becomes a reason."""
    path, md5 = Path(job.path), ""
    began, cpu = time.perf_counter(), time.process_time()

    def done(frames: Frames | None, outcome: DecodeOutcome, reason: str) -> Decoded:
        return Decoded(path, frames, outcome, reason, time.perf_counter() - began, time.process_time() - cpu, md5)

    pictures = PictureFile(file)
    try:
        md5 = md5_of(path) if job.md5 else ""
        frames = decode(
            path,
            _wanted(job),
            threads=1,
            most_bytes=job.most_bytes,
            on_length=on_length,
            keeper=pictures,
            sparing=job.sparing,
        )
        return done(frames, "ok", "").pack(pictures)
    except VideoError as error:
        reason = str(error)
    except DECODE_ERRORS as error:
        reason = f"{path}: {type(error).__name__}: {error}"
    pictures.drop()
    return done(None, "unreadable", reason).pack(pictures)


def main() -> None:
    """Decode for the socket whose handle is the first argument, until the other side closes it."""
    end_with_parent()
    with socket.socket(fileno=int(sys.argv[1])) as control, control.makefile() as lines:

        def say_length(seconds: float) -> None:
            control.sendall(LENGTH_IS + SECONDS.pack(seconds))

        # A parent that died before the line above has closed its end: then this fails, or no job comes.
        control.sendall(READY)
        while handles := socket.recv_fds(control, len(JOB), 1)[1]:
            with io.FileIO(handles[0], "r+") as file:
                _answer(Job(**json.loads(lines.readline())), file, say_length)
            control.sendall(DONE)


if __name__ == "__main__":
    main()
