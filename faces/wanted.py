"""Decode the wanted frames of a video: from the packets that they need, or from start to end where that fails."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from av import VideoFrame
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from faces.crop import Image
from faces.media import (
    Orientation,
    VideoError,
    aspect_of,
    complaints_of,
    decoded,
    open_video,
    orientation_of,
    packets_of,
    understand_colours,
    upright,
)
from faces.packets import Needs, PacketIndex

# Containers in which seeking to the first packet's time finds it; any other file is opened anew.
REWINDING = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flv"}


def choose_frames(count: int, wanted: int) -> NDArray[np.int64]:
    """Choose frame numbers spread over a clip: the middles of `wanted` equal segments.

    Middles, since the last frames of a clip are often damaged.

    Args:
        count: frames of the clip.
        wanted: how many to choose.

    Returns:
        (min(count, wanted),) numbers in [0, count), sorted and unique.

    Raises:
        ValueError: `wanted` is below 1 or `count` below 0.
    """
    if wanted < 1 or count < 0:
        raise ValueError(f"cannot choose {wanted} of {count} frames: ask for at least 1, of a count of at least 0")
    taken = min(count, wanted)
    return (2 * np.arange(taken, dtype=np.int64) + 1) * count // (2 * max(taken, 1))


class Keeper(Protocol):
    """Where pictures go as they are decoded."""

    def keep(self, image: Image) -> Image:
        """Take a picture, (H, W, 3) uint8 RGB, and return the one that is read later; the first is let go of."""

    def drop(self) -> None:
        """Forget all pictures: decoding begins anew."""


class InMemory:
    """Pictures stay what and where they are."""

    def keep(self, image: Image) -> Image:
        """The picture itself."""
        return image

    def drop(self) -> None:
        """Nothing: they go with their last reader."""


@dataclass(frozen=True)
class Shot:
    """One frame, converted."""

    image: Image
    seconds: float
    orientation: Orientation
    note: str

    @classmethod
    def of(cls, frame: VideoFrame, stream: VideoStream, number: int, keeper: Keeper) -> Shot:
        """Convert a frame. Some AVI keep no times: then frames are counted."""
        rate, tick = stream.average_rate or stream.guessed_rate, stream.time_base or Fraction()
        # frame.time is NaN for what the decoder gives back at the end.
        seconds = (number / rate if rate else 0) if frame.pts is None else frame.pts * tick
        note = understand_colours(frame)
        return cls(keeper.keep(upright(frame, aspect_of(stream))), float(seconds), orientation_of(frame), note)


@dataclass(frozen=True)
class Taken:
    """What came out of the decoder."""

    shots: dict[int, Shot]  # by frame number
    readable: int  # frames of the video that can be decoded, as far as is known
    notes: list[str]


def decode_needed(
    path: Path, container: InputContainer, stream: VideoStream, index: PacketIndex, needs: Needs, keeper: Keeper
) -> Taken | None:
    """Decode from the fewest packets; None when the stream does not behave as the index says."""
    shots: dict[int, Shot] = {}
    times: list[int] = []

    def take(frames: list[VideoFrame]) -> bool:
        for frame in frames:
            # Frames leave a decoder in the order of their times, where these are theirs.
            if frame.pts is None or (times and frame.pts <= times[-1]):
                return False
            times.append(frame.pts)
            if frame.pts in needs.numbers:
                number = needs.numbers[frame.pts]
                shots[number] = Shot.of(frame, stream, number, keeper)
        return all(frame.key_frame for frame in frames if frame.pts in needs.starts)

    with contextlib.ExitStack() as opened:
        try:
            if container.format.name in REWINDING:
                container.seek(index.first, stream=stream)
            else:
                threads = stream.codec_context.thread_count
                container, stream = opened.enter_context(open_video(path, threads))
            context = stream.codec_context
            said = opened.enter_context(complaints_of(stream))
            for position, packet in enumerate(islice(packets_of(container, stream), max(needs.fed) + 1)):
                if position not in needs.fed:
                    continue
                if packet.pts != index.stamps[position]:
                    return None
                if position in needs.fresh:
                    if not take(context.decode(None)):
                        return None
                    context.flush_buffers()
                if not take(context.decode(packet)):
                    return None
            # The None makes the decoder give what it still holds, so nothing after the last chosen frame is fed.
            if not take(context.decode(None)):
                return None
        except av.FFmpegError:
            return None
    # A packet that gave no frame is damaged, or is half a frame: then counting packets is not counting frames.
    came = set(times)
    return Taken(shots, index.count, said) if needs.expected <= came <= needs.allowed else None


def decode_all(path: Path, expected: int, wanted: int, threads: int, keeper: Keeper) -> Taken:
    """Decode from start to end."""
    for _ in range(2):  # a damaged file shows how many frames it has only at its end: then choose anew
        chosen = set(choose_frames(expected, wanted).tolist())
        keeper.drop()
        shots: dict[int, Shot] = {}
        readable, before, rising = 0, -math.inf, True
        with open_video(path, threads) as (container, stream), complaints_of(stream) as said:
            for frame in decoded(stream, packets_of(container, stream), said):
                if readable in chosen:
                    shots[readable] = Shot.of(frame, stream, readable, keeper)
                readable += 1
                rising &= frame.pts is None or frame.pts > before
                before = before if frame.pts is None else frame.pts
            rate = stream.average_rate or stream.guessed_rate
        if not rising and rate:  # made-up times, as in AVI with reordered frames: frames are counted
            shots = {number: replace(shot, seconds=float(number / rate)) for number, shot in shots.items()}
        if readable == expected:
            break
        expected = readable
    if not shots:
        raise VideoError(f"{path}: no frame can be decoded; the file is damaged, fetch it again")
    return Taken(shots, readable, said)
