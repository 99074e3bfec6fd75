"""Open, demux, decode and turn a media file: the one way for all that reads videos, pictures and sound."""

from __future__ import annotations

import contextlib
import logging
import math
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, cast

import av
import av.logging
import cv2
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
SILENT = logging.NullHandler()
# Colour matrices (ITU-T H.273, table 4) that libswscale does not convert: name, and what stands in for it.
STAND_INS = {
    8: ("YCgCo", 5, "BT.601"),
    10: ("BT.2020 constant luminance", 9, "BT.2020"),
    11: ("SMPTE 2085", 9, "BT.2020"),
    12: ("chromaticity-derived", 1, "BT.709"),
    13: ("chromaticity-derived constant luminance", 1, "BT.709"),
    14: ("ICtCp", 9, "BT.2020"),
    15: ("IPT-C2", 9, "BT.2020"),
    16: ("YCgCo-R", 5, "BT.601"),
    17: ("YCgCo-R", 5, "BT.601"),
}
# The widest pixels that are in use are twice as wide as high; what is far beyond was not meant.
MOST_ASPECT = 4
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
            kinds = " and ".join(sorted({s.type for s in container.streams})) or "an empty container"
            raise VideoError(f"{path}: has no video stream known here, only {kinds}")
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


def decoded(
    stream: VideoStream | AudioStream, packets: Iterable[Packet[Any]], said: list[str] | None = None
) -> Iterator[Any]:
    """Yield all frames that can be decoded; a packet that cannot be decoded is passed over.

    Args:
        stream: of an open file.
        packets: of this stream.
        said: gets one line when a packet was passed over.
    """
    for packet in chain(packets, (None,)):
        try:
            yield from stream.codec_context.decode(packet)
        except av.FFmpegError as error:
            if said is not None and not said:
                said.append(f"the decoder gave up a packet ({error.strerror})")


@contextlib.contextmanager
def complaints_of(stream: VideoStream) -> Iterator[list[str]]:
    """Note the first error that the decoder of a stream reports; it conceals damage and goes on.

    Messages are heard only of a decoder of one thread. One of several speaks in threads of its own, and would wait
    there for Python while Python waits for it.

    Args:
        stream: of an open file.

    Yields:
        A list, which gets one line at the end when there were errors.
    """
    said: list[str] = []
    if stream.codec_context.thread_count != 1:
        yield said
        return
    name = stream.codec_context.name
    # What other threads cause meanwhile goes to this logger: it must not reach the user's terminal.
    logger = logging.getLogger("libav")
    logger.addHandler(SILENT)
    av.logging.set_skip_repeated(False)
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as log:
            yield said
    finally:
        av.logging.set_level(None)
    errors = [message.strip() for level, source, message in log if level <= av.logging.ERROR and source == name]
    if errors:
        said[:] = [f"the decoder reports errors, first {errors[0]!r}"]


def understand_colours(frame: VideoFrame) -> str:
    """Give a frame a colour matrix that can be converted, where its own cannot.

    Args:
        frame: is changed.

    Returns:
        What was done, for people; empty for a frame that is as it was.
    """
    if (own := int(frame.colorspace)) not in STAND_INS:
        return ""
    name, stand_in, as_name = STAND_INS[own]
    frame.colorspace = stand_in
    return f"the colour matrix {name} is converted as {as_name}: tints are wrong"


def aspect_of(stream: VideoStream) -> Fraction:
    """Width of a pixel by its height; 1 where it is not said, or cannot be meant."""
    aspect = stream.codec_context.sample_aspect_ratio or stream.sample_aspect_ratio or Fraction(1)
    return aspect if 1 / MOST_ASPECT <= aspect <= MOST_ASPECT else Fraction(1)


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


def shown_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Width and height in square pixels: the shorter side of a pixel is stretched, so that nothing is lost.

    Args:
        width: of the stored picture, in pixels.
        height: likewise.
        aspect: width of a pixel by its height.
    """
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))


def upright(frame: VideoFrame, aspect: Fraction = Fraction(1)) -> Image:
    """Convert a frame to a picture as it is shown.

    Args:
        frame: is not changed.
        aspect: width of a pixel by its height, as stored.

    Returns:
        (H, W, 3) uint8 RGB of square pixels, mirrored and turned as its display matrix asks.
    """
    # One thread is fastest beside other work.
    image: Image = np.asarray(frame.to_ndarray(format="rgb24", threads=1), dtype=np.uint8)
    if aspect != 1:
        size = shown_size(frame.width, frame.height, aspect)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    shown = orientation_of(frame)
    turned = np.rot90(image[:, ::-1] if shown.mirrored else image, k=-shown.rotation // 90)
    return np.ascontiguousarray(turned, dtype=np.uint8)


def _why_no_file(path: Path) -> str:
    """Say why this cannot be a media file, empty when it can. Opening a FIFO would wait for ever."""
    try:
        status = path.stat()
    except OSError as error:
        return f"{'does not exist' if isinstance(error, FileNotFoundError) else 'cannot be read'} ({error.strerror})"
    if not stat.S_ISREG(status.st_mode):
        return "is a folder" if stat.S_ISDIR(status.st_mode) else "is not a regular file"
    return "" if status.st_size else "has zero bytes"
