"""Open, demux, decode and turn a media file: the one way for all that reads videos, pictures and sound."""

from __future__ import annotations

import contextlib
import math
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av import Packet, VideoFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.sidedata.sidedata import SideDataContainer, Type
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from common.errors import DfdcError
from faces.crop import Image

# A single read of the disk that takes longer has met a dead mount; local files answer within milliseconds.
SECONDS = 60.0
# Pictures that a container carries beside the video: cover art, and thumbnails of chapters.
NO_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails


class VideoError(DfdcError):
    """A file cannot be read as a video; the message names the file and the reason."""


@dataclass(frozen=True)
class Orientation:
    """What makes a stored picture upright: first the mirroring, then the rotation."""

    rotation: int = 0  # degrees clockwise: 0, 90, 180 or 270
    mirrored: bool = False  # left and right change places


@contextlib.contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Open a media file for reading, and close it at the end.

    Nothing but local files is read, also where a playlist inside the file names an address.

    Args:
        path: a regular file with at least one byte.

    Raises:
        VideoError: the path is no such file, libav finds no media in it, or libav fails while the file is open.
    """
    if reason := _why_no_file(path):
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


@contextlib.contextmanager
def open_video(path: Path, threads: int = 1) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a media file and prepare its first moving picture for decoding.

    Args:
        path: as `open_media` takes it.
        threads: of the decoder; 1 is fastest where several videos are read side by side, 0 leaves it to libav.

    Raises:
        VideoError: as `open_media` does, and where the file has no video stream whose codec is known.
    """
    with open_media(path) as container:
        stream = next((stream for stream in videos_in(container) if stream.codec_context), None)
        if stream is None:
            raise VideoError(f"{path}: has no video stream known here, only {[s.type for s in container.streams]}")
        stream.codec_context.thread_count = threads
        stream.codec_context.thread_type = "NONE" if threads == 1 else "AUTO"
        yield container, stream


def is_image(container: InputContainer) -> bool:
    """Whether the file is a single picture: libav has a format of its own for each kind."""
    return container.format.name == "image2" or container.format.name.endswith("_pipe")


def videos_in(container: InputContainer) -> list[VideoStream]:
    """List the video streams without cover art; those whose codec is known come first."""
    real = [stream for stream in container.streams.video if not stream.disposition & NO_VIDEO]
    return sorted(real, key=lambda stream: stream.codec_context is None)


def audios_in(container: InputContainer) -> list[AudioStream]:
    """List the audio streams; those whose codec is known come first."""
    return sorted(container.streams.audio, key=lambda stream: stream.codec_context is None)


def codec_of(stream: VideoStream | AudioStream) -> str:
    """Name the codec as ffprobe does, and not the decoder that was picked; "unknown" where there is none."""
    return str(stream.codec_context.codec.canonical_name) if stream.codec_context else "unknown"


def packets_of(container: InputContainer, *streams: Stream) -> Iterator[Packet[Any]]:
    """Yield the packets of these streams up to the end, or up to where the file cannot be read further.

    A packet that the end of the file cuts off is left out: a decoder would make up its picture from the one before.
    MPEG-TS has the same mark for a gap before a packet, and such a packet is kept.
    """
    kept = "mpegts" in container.format.name
    with contextlib.suppress(av.FFmpegError):
        yield from (packet for packet in container.demux(*streams) if packet.size and (kept or not packet.is_corrupt))


def decoded(stream: VideoStream | AudioStream, packets: Iterable[Packet[Any]]) -> Iterator[Any]:
    """Yield all frames that can be decoded; a packet that cannot be decoded is passed over."""
    for packet in chain(packets, (None,)):
        with contextlib.suppress(av.FFmpegError):
            yield from stream.codec_context.decode(packet)


def orientation_of(frame: VideoFrame) -> Orientation:
    """Read the frame's display matrix.

    The matrix is nine 32 bit integers, a b u c d v x y w (ISO/IEC 14496-12, 6.2.2): the stored pixel (x, y) is shown
    at (a x + c y, b x + d y). All eight matrices of right angles are exact, any other is taken for the nearest.
    """
    # What PyAV reads itself: the rotation, counterclockwise, without the mirroring.
    turned = Orientation(round(-frame.rotation / 90) * 90 % 360)
    # JPEG and PNG bring their EXIF as side data, of a kind that PyAV 18 does not know: listing it fails, and crashes
    # other threads. They decode to full range, grey or RGB, video to yuv4...
    if not frame.format.name.startswith("yuv4"):
        return turned
    try:
        # The library's stubs call this a dictionary with other keys.
        matrix = cast(SideDataContainer, frame.side_data)[Type.DISPLAYMATRIX]
    except KeyError:
        return Orientation()
    except ValueError:  # another kind that is newer than the library
        return turned
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32).astype(np.float64)[:5]
    area = a * d - b * c
    if not area:
        return Orientation()  # a damaged matrix, which shows nothing
    # Where the picture is mirrored first, its x axis points to the left, and so does the first row of the matrix.
    side = math.copysign(1, area)
    return Orientation(round(math.degrees(math.atan2(side * b, side * a)) / 90) * 90 % 360, area < 0)


def upright(frame: VideoFrame) -> Image:
    """Convert a frame to (H, W, 3) uint8 RGB, mirrored and turned as its display matrix asks."""
    image = frame.to_ndarray(format="rgb24", threads=1)  # one thread is fastest beside other work
    shown = orientation_of(frame)
    image = np.rot90(image[:, ::-1] if shown.mirrored else image, k=-shown.rotation // 90)
    return np.ascontiguousarray(image, dtype=np.uint8)


def _why_no_file(path: Path) -> str:
    """Say why this cannot be a media file, empty when it can. Opening a FIFO would wait for ever."""
    try:
        status = path.stat()
    except OSError as error:
        return f"{'does not exist' if isinstance(error, FileNotFoundError) else 'cannot be read'} ({error.strerror})"
    if not stat.S_ISREG(status.st_mode):
        return "is a folder" if stat.S_ISDIR(status.st_mode) else "is not a regular file"
    return "" if status.st_size else "has zero bytes"
