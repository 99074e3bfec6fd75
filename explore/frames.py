"""Frames of videos as pictures on the disk, at a rate."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import cv2
import pandas as pd
from av import Packet, VideoFrame
from av.container import InputContainer
from av.video.stream import VideoStream

from common.cores import cores
from common.errors import DfdcError
from faces.crop import Image
from faces.media import VideoError, decoded, is_image, open_media, packets_of, upright, videos_in

COLUMNS = ("filename", "status", "reason", "frames", "folder")
STAMP = ".complete.json"  # in a finished folder: what it was made from
JPEG_QUALITY = 95


def extract_frames(
    videos: Sequence[Path],
    output: Path,
    rate: float | None = 1.0,
    ending: Literal["png", "jpg"] = "png",
    progress: Callable[[int], object] = lambda _: None,
) -> pd.DataFrame:
    """Write frames of each video to `output`/<stem>/<frame number, 5 digits>.<ending>, upright.

    Args:
        videos: files. One whose folder is complete, for the same rate, ending and file, is passed over.
        output: where the folders are made; a folder appears when it is complete.
        rate: frames per second of video, the first at or after each 1 / rate; None for all.
        ending: png, or jpg.
        progress: called with 1 for each video.

    Returns:
        A row per video: filename, status (ok | no_video | image | unreadable), reason, frames written, folder.

    Raises:
        ValueError: a rate that is not above 0, another ending, or two videos that would share a folder.
        OSError: nothing can be written.
    """
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise ValueError(f"cannot take {rate} frames per second; give a rate above 0, or none for all frames")
    if ending not in {"png", "jpg"}:
        raise ValueError(f"frames as {ending!r} are not known here; png or jpg")
    check_stems(videos)
    output.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor(min(8, cores())) as pool:
        jobs = {pool.submit(_extract, video, output / video.stem, rate, ending): video for video in videos}
        for job in as_completed(jobs):
            rows[jobs[job].name] = {"filename": jobs[job].name} | job.result()
            progress(1)
    return pd.DataFrame([rows[video.name] for video in videos], columns=list(COLUMNS))


def check_stems(videos: Sequence[Path]) -> None:
    """Raise ValueError when two videos differ in their ending alone: what is written is named after the stem."""
    stems: dict[str, Path] = {}
    for video in videos:
        if stems.setdefault(video.stem, video) != video:
            raise ValueError(f"{video} and {stems[video.stem]} would be written to one place; rename one")


def _extract(video: Path, folder: Path, rate: float | None, ending: str) -> dict[str, Any]:
    row: dict[str, Any] = {"frames": 0, "folder": ""}
    part = folder.with_name(f".{folder.name}.part")  # one name, so that what a kill left is found and removed
    try:
        stamp: dict[str, Any] = {"rate": rate, "ending": ending} | _identity(video)
        if (done := _finished(folder, stamp)) is not None:
            return done
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        count, reason = _write(video, part, rate, ending)
    except VideoError as error:
        shutil.rmtree(part, ignore_errors=True)
        status = error.status if isinstance(error, _NoVideoError) else "unreadable"
        return row | {"status": status, "reason": str(error).removeprefix(f"{video}: ")}
    made = {"status": "ok", "reason": reason, "frames": count, "folder": str(folder)}
    (part / STAMP).write_text(json.dumps(stamp | {"row": made}), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return made


class _NoVideoError(VideoError):
    """A file that is no video though it can be read; `status` says what it is."""

    def __init__(self, message: str, status: str) -> None:
        super().__init__(message)
        self.status = status


def _identity(video: Path) -> dict[str, int]:
    try:
        status = video.stat()
    except OSError as error:
        raise VideoError(f"{video}: cannot be read ({error.strerror})") from error
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _finished(folder: Path, stamp: dict[str, Any]) -> dict[str, Any] | None:
    """The row of a folder that is complete for this stamp."""
    try:
        found = json.loads((folder / STAMP).read_text(encoding="utf-8"))
        row = found.pop("row")
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    return row | {"folder": str(folder)} if found == stamp else None


def _write(video: Path, folder: Path, rate: float | None, ending: str) -> tuple[int, str]:
    """Read straight through; seeking would decode from the last key frame again, and is not exact in every file."""
    written = seen = 0
    with open_media(video) as container:
        stream = _video_in(video, container)
        hidden: list[bool] = []  # of each packet: whether an edit list hides its frame
        frames = decoded(stream, _noted(packets_of(container, stream), hidden))
        for number, frame in _at_rate(stream, frames, rate):
            seen = number + 1
            if frame is not None:
                _save(upright(frame), folder / f"{number:05d}.{ending}")
                written += 1
        said = stream.frames
    if not written:
        raise VideoError(f"{video}: no frame can be decoded; the file is damaged, fetch it again")
    there, expected = seen + sum(hidden), said or len(hidden)
    source = "header says" if said else "file holds"
    return written, "" if there == expected else f"{source} {expected} frames, {there} readable"


def _video_in(video: Path, container: InputContainer) -> VideoStream:
    if is_image(container):
        raise _NoVideoError(f"{video}: a picture, not a video", "image")
    stream = next(iter(videos_in(container)), None)
    if stream is None:
        raise _NoVideoError(f"{video}: has no video stream", "no_video")
    if stream.codec_context is None:
        raise VideoError(f"{video}: its video codec is not known here; convert it")
    stream.codec_context.thread_count = 1  # videos run side by side
    return stream


def _noted(packets: Iterator[Packet], hidden: list[bool]) -> Iterator[Packet]:
    for packet in packets:
        hidden.append(packet.is_discard)
        yield packet


def _at_rate(
    stream: VideoStream, frames: Iterator[VideoFrame], rate: float | None
) -> Iterator[tuple[int, VideoFrame | None]]:
    """Every frame's number, with the frame where one is due at this rate."""
    fps = stream.average_rate or stream.guessed_rate
    tick = stream.time_base or Fraction(0)
    first: Fraction | None = None
    due = 0
    for number, frame in enumerate(frames):
        # Some files keep no times: count them. The clock starts at the first frame, wherever the file starts it.
        second = frame.pts * tick if frame.pts is not None else Fraction(number) / (fps or 25)
        first = second if first is None else first
        if rate is None or (second - first) * Fraction(rate) >= due:
            due = 0 if rate is None else math.floor((second - first) * Fraction(rate)) + 1
            yield number, frame
        else:
            yield number, None


def _save(image: Image, path: Path) -> None:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix == ".jpg" else []
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options):
        raise DfdcError(f"{path} cannot be written; is there space on the disk?")
