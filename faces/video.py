"""What is on the screen: probe a video, choose frames over its length, decode exactly those."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np
from av import VideoFrame
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from faces.crop import Image
from faces.media import Orientation, VideoError, decoded, open_video, orientation_of, packets_of, upright

__all__ = ["Frames", "VideoError", "VideoInfo", "choose_frames", "decode", "probe"]

# Bits that say what a packet is to the packets after it; with none of them nothing refers to it.
REFERENCE = 1
PARAMETERS = 2  # it also carries parameter sets, which may hold for all that follows
START = 4  # it resets the decoder: nothing after it refers to anything before it

# Decoders ask for the build of x264 that made a stream, since old builds have faults that must be repeated. It stands
# in a unit of user data in the stream's first packet, and again where an encoder starts anew.
ENCODER = b"x264 - core"
SEEN_BY_PROBE = 64  # packets until a first frame must come; a file of nothing but damage is not read to its end


@dataclass(frozen=True)
class VideoInfo:
    """What a file says about itself; `decode` finds out what is true."""

    frames: int  # the header's count, else duration x fps, 0 when neither is known
    fps: float  # average, 0 when unknown
    duration: float  # seconds, 0 when unknown
    width: int  # pixels, after the rotation
    height: int  # pixels, after the rotation
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


def decode(path: Path | str, wanted: int = 32, threads: int = 0) -> Frames:
    """Decode frames spread over a video, and nothing that they do not need.

    Each image equals the same frame of a decode from start to end, bit for bit.

    Args:
        path: the video.
        wanted: how many frames; a shorter video gives all it has.
        threads: of the decoder; 0, one more than there are cores, suits one video at a time, 1 several side by side.

    Returns:
        The frames that `choose_frames` names. A damaged video gives frames chosen among those that can be read, and a
        note; damage in what the frames do not need goes unseen.

    Raises:
        VideoError: nothing can be read.
        ValueError: `wanted` is below 1 or `threads` below 0.
    """
    if wanted < 1 or threads < 0:
        raise ValueError(f"cannot decode {wanted} frames with {threads} threads: at least 1 and 0 are needed")
    threads = threads or min(16, (os.cpu_count() or 1) + 1)
    with open_video(Path(path), threads) as (container, stream):
        index = _Index.read(container, stream)
        shots = _decode_needed(container, stream, index, wanted) if index.sound else {}
        shots, readable = (shots, index.shown) if shots else _decode_all(Path(path), index.shown, wanted, threads)
        info, said = _info(container, stream, next(iter(shots.values())).orientation), stream.frames
    packets = len(index.pts)
    there = readable + packets - index.shown  # what an edit list hides is there all the same
    note = f"{'header says' if said else 'file holds'} {said or packets} frames, {there} readable"
    return _frames(shots, info, "" if there == (said or packets) else note)


@dataclass(frozen=True)
class _Index:
    """What a pass over the packets tells without decoding; the lists are in decoding order."""

    pts: list[int | None]  # presentation times in ticks; None for a packet that is not shown, or has no time
    kinds: list[int]
    start: int  # ticks: where seeking finds the first packet again
    shown: int  # frames that a decode from start to end should give; an edit list hides the others
    sound: bool  # references are known, frames can be told apart by time, the first packet stands alone

    @classmethod
    def read(cls, container: InputContainer, stream: VideoStream) -> _Index:
        """Note the time and the kind of every packet."""
        length_bytes = _length_bytes(stream.codec_context.name, stream.codec_context.extradata or b"")
        pts: list[int | None] = []
        kinds: list[int] = []
        start, shown = None, 0
        for packet in packets_of(container, stream):
            start = packet.dts if start is None else start
            shown += not packet.is_discard
            pts.append(None if packet.is_discard else packet.pts)
            kind = _kind(memoryview(packet), length_bytes) if length_bytes else REFERENCE
            # A container may keep new parameter sets beside the packet: a second sequence header in FLV, a second
            # sample description in mp4.
            if length_bytes and packet.has_sidedata("new_extradata"):
                extra = bytes(packet.get_sidedata("new_extradata"))
                length_bytes = _length_bytes("h264", extra)
                kind = _kind(memoryview(packet), length_bytes) | PARAMETERS if length_bytes else REFERENCE
            kinds.append(kind)
        timed = len({time for time in pts if time is not None}) == shown > 0
        return cls(pts, kinds, start or 0, shown, timed and start is not None and bool(kinds[0] & START))

    def needed(self, wanted: int) -> tuple[dict[int, int | None], dict[int, int]]:
        """What to feed for the chosen frames: time by packet position, and the chosen frames' numbers by time."""
        times = sorted(time for time in self.pts if time is not None)
        numbers = {times[i]: int(i) for i in choose_frames(len(times), wanted)}
        fed: dict[int, int | None] = {}
        pending: dict[int, int | None] = {}  # references since the last START that nothing has asked for yet
        for position, (time, kind) in enumerate(zip(self.pts, self.kinds, strict=True)):
            if kind & START:
                pending.clear()
            if kind or position == 0 or time in numbers:
                pending[position] = time
            # The first packet may say what made the stream, in units that are no parameter sets.
            if position == 0 or kind & PARAMETERS or time in numbers:
                fed.update(pending)
                pending.clear()
        return fed, numbers


@dataclass(frozen=True)
class _Shot:
    image: Image
    seconds: float
    orientation: Orientation

    @classmethod
    def of(cls, frame: VideoFrame, stream: VideoStream, number: int) -> _Shot:
        """Convert a frame. Some AVI keep no times: then frames are counted."""
        rate, tick = stream.average_rate or stream.guessed_rate, stream.time_base or Fraction()
        # frame.time is NaN for what the decoder gives back at the end.
        seconds = (number / rate if rate else 0) if frame.pts is None else frame.pts * tick
        return cls(upright(frame), float(seconds), orientation_of(frame))


def _decode_needed(container: InputContainer, stream: VideoStream, index: _Index, wanted: int) -> dict[int, _Shot]:
    """Shots by frame number, from the fewest packets; empty when the stream does not behave as the index says."""
    fed, numbers = index.needed(wanted)
    shots: dict[int, _Shot] = {}
    came: set[int | None] = set()
    try:
        container.seek(index.start, stream=stream)
        packets = enumerate(islice(packets_of(container, stream), max(fed) + 1))
        # The None makes the decoder give what it still holds, so nothing after the last chosen frame is fed.
        for packet in chain((packet for position, packet in packets if position in fed), (None,)):
            for frame in stream.codec_context.decode(packet):
                came.add(frame.pts)
                if frame.pts in numbers:
                    shots[numbers[frame.pts]] = _Shot.of(frame, stream, numbers[frame.pts])
    except av.FFmpegError:
        return {}
    # A packet that gave no frame is damaged, or is half a frame: then counting packets is not counting frames.
    return shots if came == {time for time in fed.values() if time is not None} else {}


def _decode_all(path: Path, expected: int, wanted: int, threads: int) -> tuple[dict[int, _Shot], int]:
    """Shots by frame number from a decode from start to end, and how many frames were readable."""
    for _ in range(2):  # a damaged file shows how many frames it has only at its end: then choose anew
        chosen = set(choose_frames(expected, wanted).tolist())
        shots: dict[int, _Shot] = {}
        readable = 0
        with open_video(path, threads) as (container, stream):
            for frame in decoded(stream, packets_of(container, stream)):
                if readable in chosen:
                    shots[readable] = _Shot.of(frame, stream, readable)
                readable += 1
        if readable == expected:
            break
        expected = readable
    if not shots:
        raise VideoError(f"{path}: no frame can be decoded; the file is damaged, fetch it again")
    return shots, readable


def _frames(shots: dict[int, _Shot], info: VideoInfo, note: str) -> Frames:
    numbers = sorted(shots)
    images = tuple(shots[number].image for number in numbers)
    seconds = np.array([shots[number].seconds for number in numbers], dtype=np.float64)
    if len(sizes := sorted({image.shape[:2] for image in images})) > 1:
        note = "; ".join(filter(None, (note, f"the frame size changes: {sizes} (height, width)")))
    return Frames(images, np.array(numbers, dtype=np.int64), seconds, info, note)


def _info(container: InputContainer, stream: VideoStream, shown: Orientation) -> VideoInfo:
    context, audio = stream.codec_context, container.streams.audio
    fps = float(stream.average_rate or stream.guessed_rate or 0)
    ticks = (stream.duration or 0) * (stream.time_base or Fraction())
    duration = float(ticks) or (container.duration or 0) / av.time_base
    return VideoInfo(
        frames=stream.frames or round(duration * fps),
        fps=fps,
        duration=duration,
        width=context.height if shown.rotation % 180 else context.width,
        height=context.width if shown.rotation % 180 else context.height,
        rotation=shown.rotation,
        codec=context.name,
        pixel_format=context.pix_fmt or "",
        has_audio=bool(audio),
        audio_codec=(audio[0].codec_context.name if audio[0].codec_context else "unknown") if audio else "",
    )


def _length_bytes(codec: str, extra: bytes) -> int:
    """Bytes of the length before each unit of H.264 in mp4 and Matroska; 0 where references are not known."""
    return (extra[4] & 3) + 1 if codec == "h264" and len(extra) > 4 and extra[0] == 1 else 0


def _kind(data: memoryview, length_bytes: int) -> int:
    """Read a packet's unit headers (ITU-T H.264, 7.4.1): the mp4 demuxer does not mark disposable packets."""
    at = kind = 0
    while at + length_bytes < len(data):
        size, header = int.from_bytes(data[at : at + length_bytes]), data[at + length_bytes]
        kind |= REFERENCE if header & 0x60 else 0  # nal_ref_idc, never 0 for parameter sets
        kind |= {5: START, 7: PARAMETERS, 8: PARAMETERS}.get(header & 31, 0)
        if header & 31 == 6 and ENCODER in bytes(data[at : at + length_bytes + size]):
            kind |= PARAMETERS
        at += length_bytes + size
    return kind if at == len(data) else kind | REFERENCE  # damaged lengths: let the decoder say so
