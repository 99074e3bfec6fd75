"""Open a media file with care, for everything here that reads streams instead of chosen frames."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av import Packet, VideoFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from faces.crop import Image
from faces.video import VideoError

SECONDS = 60.0  # a file that gives nothing for so long is given up
# Pictures that a container carries beside the video: cover art, and thumbnails of chapters.
NO_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails


@contextlib.contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """The file, closed at the end. Raises VideoError for what is no regular file, is empty, or no media file."""
    if reason := _odd(path):
        raise VideoError(f"{path}: {reason}; give the path of a video")
    try:
        # The prefix keeps a colon in a name from being taken for a protocol; the list keeps a playlist that is named
        # like a video from fetching anything.
        with av.open(
            f"file:{path}",
            metadata_errors="replace",
            container_options={"protocol_whitelist": "file"},
            timeout=SECONDS,
        ) as container:
            yield container
    except av.FFmpegError as error:
        raise VideoError(f"{path}: is not a video that can be read ({error.strerror})") from error


def _odd(path: Path) -> str:
    """Why this cannot be a media file, empty when it can. Opening a FIFO would wait for ever."""
    try:
        status = path.stat()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not stat.S_ISREG(status.st_mode):
        return "is a folder" if stat.S_ISDIR(status.st_mode) else "is not a regular file"
    return "" if status.st_size else "has zero bytes"


def is_image(container: InputContainer) -> bool:
    """Whether this is a single picture: libav has a format of its own for each kind."""
    return container.format.name == "image2" or container.format.name.endswith("_pipe")


def videos_in(container: InputContainer) -> list[VideoStream]:
    """The video streams, cover art left out; those whose codec is known come first."""
    real = [stream for stream in container.streams.video if not stream.disposition & NO_VIDEO]
    return sorted(real, key=lambda stream: stream.codec_context is None)


def audios_in(container: InputContainer) -> list[AudioStream]:
    """The audio streams; those whose codec is known come first."""
    return sorted(container.streams.audio, key=lambda stream: stream.codec_context is None)


def codec_of(stream: VideoStream | AudioStream) -> str:
    """The codec's name as ffprobe says it, not that of the decoder that was picked; "unknown" where there is none."""
    return str(stream.codec_context.codec.canonical_name) if stream.codec_context else "unknown"


def packets_of(container: InputContainer, *streams: Stream) -> Iterator[Packet]:
    """The packets of these streams up to the end, or to where the file cannot be read further."""
    with contextlib.suppress(av.FFmpegError):
        yield from (packet for packet in container.demux(*streams) if packet.size)


def decoded(stream: VideoStream | AudioStream, packets: Iterable[Packet]) -> Iterator[Any]:
    """All frames of this stream that can be decoded; a packet that cannot be decoded is passed over."""
    for packet in chain(packets, (None,)):
        with contextlib.suppress(av.FFmpegError):
            yield from stream.codec_context.decode(packet)


def rotation_of(frame: VideoFrame) -> int:
    """Degrees clockwise that make the frame upright: 0, 90, 180 or 270, as `faces.video.VideoInfo.rotation`."""
    return -round(frame.rotation / 90) * 90 % 360  # the display matrix says them counterclockwise


def upright(frame: VideoFrame) -> Image:
    """(H, W, 3) uint8 RGB, turned as the display matrix asks."""
    image = np.rot90(frame.to_ndarray(format="rgb24", threads=1), k=-rotation_of(frame) // 90)
    return np.ascontiguousarray(image, dtype=np.uint8)
