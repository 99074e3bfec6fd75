"""Decoding ahead of the judges: the one place that knows how frames come to be in memory.

Threads for now: PyAV leaves the interpreter's lock while it decodes. Whoever wants to cut a hung decoder replaces
`decode_ahead` by processes; nothing else needs to change.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from faces.video import Frames, VideoError, decode

# What libraries raise over damaged or hostile media, beside our own VideoError: a header that asks for terabytes, a
# disk that fails. What is caught is counted as a fallback and listed with its reason, never passed over.
DAMAGE = (OSError, MemoryError, OverflowError, ValueError)


@dataclass(frozen=True)
class Decoded:
    """The frames of one video, or why there are none."""

    path: Path
    frames: Frames | None
    reason: str  # empty when there are frames
    seconds: float  # spent decoding


def decode_ahead(paths: Sequence[Path], frames: int, workers: int) -> Iterator[Decoded]:
    """Decode each path in order, `workers` at a time, at most one finished video waiting per worker.

    That bound is what keeps memory flat: 32 frames of 1080p are 200 MB.
    """
    waiting: deque[Future[Decoded]] = deque()
    todo = iter(paths)
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            for path in todo:
                waiting.append(pool.submit(_decode, path, frames))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _decode(path: Path, frames: int) -> Decoded:
    began = time.perf_counter()
    decoded, reason = None, ""
    try:
        decoded = decode(path, frames, threads=1)
    except VideoError as error:
        reason = str(error)
    except DAMAGE as error:
        reason = f"{path}: {type(error).__name__}: {error}"
    return Decoded(path, decoded, reason, time.perf_counter() - began)
