"""What is on the screen: probe a video, choose frames over its length, decode exactly those."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from common.cores import cores
from faces.crop import Image
from faces.media import (
    Orientation,
    VideoError,
    aspect_of,
    decoded,
    open_video,
    orientation_of,
    packets_of,
    shown_size,
)
from faces.packets import PacketIndex
from faces.sparing import sparing_count, sparing_frames
from faces.wanted import InMemory, Keeper, Shot, choose_frames, decode_all, decode_needed

__all__ = ["Frames", "VideoError", "VideoInfo", "choose_frames", "decode", "length_of", "probe"]

SEEN_BY_PROBE = 64  # packets until a first frame must come; a file of nothing but damage is not read to its end


@dataclass(frozen=True)
class VideoInfo:
    """What a file says about itself; `decode` finds out what is true."""

    frames: int  # the header's count, else duration x fps, 0 when neither is known
    fps: float  # average, 0 when unknown
    duration: float  # seconds, 0 when unknown
    width: int  # square pixels, after the rotation
    height: int  # square pixels, after the rotation
    rotation: int  # degrees clockwise that make the picture upright, behind its mirroring: 0, 90, 180 or 270
    codec: str
    pixel_format: str  # empty when unknown
    has_audio: bool
    audio_codec: str  # empty without audio


@dataclass(frozen=True, repr=False, eq=False)
class Frames:
    """Frames of one video in presentation order."""

    images: tuple[Image, ...]  # N of (H, W, 3) uint8 RGB, upright
    indices: NDArray[np.int64]  # (N,) frame numbers, counted over the frames that can be shown
    seconds: NDArray[np.float64]  # (N,) presentation times on the file's own clock
    info: VideoInfo
    note: str = ""  # what was odd, empty when nothing was

    def __post_init__(self) -> None:
        if bad := [i for i in self.images if i.ndim != 3 or i.shape[2] != 3 or i.dtype != np.uint8]:
            raise ValueError(f"Frames: an image is {bad[0].dtype} {bad[0].shape}, not uint8 (H, W, 3)")
        for name, array, kind in (("indices", self.indices, np.int64), ("seconds", self.seconds, np.float64)):
            if array.shape != (len(self.images),) or array.dtype != kind:
                raise ValueError(f"Frames: {name} is {array.dtype} {array.shape} beside {len(self.images)} images")
        if np.any(np.diff(self.indices, prepend=-1) <= 0) or not np.isfinite(self.seconds).all():
            raise ValueError(f"Frames: indices {self.indices} must grow from 0 on, seconds {self.seconds} be finite")

    def __repr__(self) -> str:
        shapes = sorted({image.shape for image in self.images})
        span = f"{self.indices[0]}..{self.indices[-1]}" if len(self.indices) else "none"
        return f"Frames({len(self.images)} images {shapes}, indices {span}, note={self.note!r})"


def probe(path: Path | str) -> VideoInfo:
    """Read a file's header and its first frame.

    Raises:
        VideoError: the file is missing, empty, a folder, no media, or has no video stream.
    """
    with open_video(Path(path)) as (container, stream):
        frames = decoded(stream, islice(packets_of(container, stream), SEEN_BY_PROBE))
        return _info(container, stream, next((orientation_of(frame) for frame in frames), Orientation()))


def length_of(path: Path | str) -> float:
    """Measure a video's length by its packets, where the header does not tell it, as after a browser's recorder.

    Returns:
        Seconds from the first frame to the last; 0 where no packet has a time.

    Raises:
        VideoError: it cannot be read.
    """
    with open_video(Path(path)) as (container, stream):
        return _length(container, stream, PacketIndex.read(container, stream))


def decode(
    path: Path | str,
    wanted: int = 32,
    threads: int = 0,
    most_bytes: int | None = None,
    on_length: Callable[[float], None] | None = None,
    keeper: Keeper | None = None,
    sparing: bool = False,
) -> Frames:
    """Decode frames spread over a video, and nothing that they do not need.

    Each image equals the same frame of a decode from start to end, bit for bit.

    Args:
        path: the video.
        wanted: how many frames; a shorter video gives all it has.
        threads: of the decoder; 0, one more than there are cores, suits one video at a time, 1 several side by side.
        most_bytes: of all images together; larger pictures give fewer frames, at least one, and a note.
        on_length: is called with the video's length in seconds, 0 where it is unknown, before anything is decoded.
        keeper: where the pictures go as they are decoded; they stay in memory without one.
        sparing: take fewer frames of a short video (`sparing_count`), and of each segment the one that is decoded
            first (`sparing_frames`).

    Returns:
        The frames that `choose_frames` names, or those of a sparing choice. A damaged video gives frames chosen among
        those that can be read, and a note; damage in what the frames do not need goes unseen. The note also tells what
        the decoder complains of; with more threads than one only where it gives a packet up.

    Raises:
        VideoError: nothing can be read.
        ValueError: `wanted` is below 1 or `threads` below 0.
    """
    if wanted < 1 or threads < 0:
        raise ValueError(f"cannot decode {wanted} frames with {threads} threads: at least 1 and 0 are needed")
    threads, keeper = threads or min(16, cores() + 1), keeper or InMemory()
    with open_video(Path(path), threads) as (container, stream):
        index = PacketIndex.read(container, stream)
        length = _length(container, stream, index)
        if on_length is not None:
            on_length(length)
        asked = sparing_count(length, wanted) if sparing else wanted
        wanted = _affordable(stream, asked, most_bytes)
        chosen = sparing_frames(index, wanted) if sparing and index.sound else choose_frames(index.count, wanted)
        needs = index.needed(chosen) if index.sound else None
        taken = decode_needed(Path(path), container, stream, index, needs, keeper) if needs else None
        taken = taken or decode_all(Path(path), index.count, wanted, threads, keeper)
        info, said = _info(container, stream, taken.shots[min(taken.shots)].orientation), stream.frames
    packets = len(index.kinds)
    there = taken.readable + packets - index.count  # what an edit list hides is there all the same
    notes = [f"{'header says' if said else 'file holds'} {said or packets} frames, {there} readable"]
    notes = notes if there != (said or packets) else []
    if wanted < asked and wanted < taken.readable:
        notes.append(f"{wanted} of {asked} frames, since more of {info.width} x {info.height} take too much memory")
    return _frames(taken.shots, info, notes + taken.notes)


def _affordable(stream: VideoStream, wanted: int, most_bytes: int | None) -> int:
    """How many of the wanted frames fit into the memory, at least one."""
    pixels = stream.codec_context.width * stream.codec_context.height
    return wanted if most_bytes is None else max(1, min(wanted, most_bytes // max(1, 3 * pixels)))


def _frames(shots: dict[int, Shot], info: VideoInfo, notes: list[str]) -> Frames:
    numbers = sorted(shots)
    images = tuple(shots[number].image for number in numbers)
    seconds = np.array([shots[number].seconds for number in numbers], dtype=np.float64)
    if len(sizes := sorted({image.shape[:2] for image in images})) > 1:
        notes = [*notes, f"the frame size changes: {sizes} (height, width)"]
    notes = notes + sorted({shot.note for shot in shots.values()} - {""})
    return Frames(images, np.array(numbers, dtype=np.int64), seconds, info, "; ".join(notes))


def _length(container: InputContainer, stream: VideoStream, index: PacketIndex) -> float:
    """Seconds from the first frame to the last; 0 where nothing tells."""
    times = index.times()
    span = float((times[-1] - times[0]) * (stream.time_base or Fraction())) if times else 0.0
    return span or (container.duration or 0) / av.time_base


def _info(container: InputContainer, stream: VideoStream, shown: Orientation) -> VideoInfo:
    context, audio = stream.codec_context, container.streams.audio
    fps = float(stream.average_rate or stream.guessed_rate or 0)
    ticks = (stream.duration or 0) * (stream.time_base or Fraction())
    duration = float(ticks) or (container.duration or 0) / av.time_base
    width, height = shown_size(context.width, context.height, aspect_of(stream))
    return VideoInfo(
        frames=stream.frames or round(duration * fps),
        fps=fps,
        duration=duration,
        width=height if shown.rotation % 180 else width,
        height=width if shown.rotation % 180 else height,
        rotation=shown.rotation,
        codec=context.name,
        pixel_format=context.pix_fmt or "",
        has_audio=bool(audio),
        audio_codec=(audio[0].codec_context.name if audio[0].codec_context else "unknown") if audio else "",
    )
