"""Make small real videos, and damage them: for tests of everything that reads videos."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def picture(number: int, width: int, height: int) -> Image:
    """A picture that moves with its number, (H, W, 3) uint8 RGB: a gradient, a square, some grain.

    Upright it is bright at the top and has more red on the left.
    """
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([220 - 200 * x // width, (x + 3 * number) % 120, 220 - 200 * y // height], axis=-1)
    side = max(2, min(width, height) // 4)
    left, top = (5 * number) % max(1, width - side), (3 * number) % max(1, height - side)
    image[top : top + side, left : left + side] = 40
    grain = np.random.default_rng(number).integers(0, 12, image.shape)
    return (image + grain).astype(np.uint8)


def write_video(
    path: Path,
    frames: int = 48,
    size: tuple[int, int] = (96, 64),  # width, height
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,  # of the encoder
    container_options: dict[str, str] | None = None,
    rotation: float = 0,  # degrees counterclockwise, written as display matrix
    times: Sequence[int] | None = None,  # milliseconds of each frame; 25 a second when not given
    shift: int = 0,  # milliseconds by which all times are moved after encoding
    audio: bool = False,
    draw: Callable[[int, int, int], Image] = picture,  # number, width, height -> frame
) -> Path:
    """Encode `draw(0, ...)`, `draw(1, ...)` and so on. Returns the path."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = cast(VideoStream, container.add_stream(codec, rate=25, options=options or {}))
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        sound = _add_tone(container) if audio else None
        packets: list[av.Packet] = []
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(draw(number, *size), format="rgb24")
            frame.pts, frame.time_base = (
                (number, Fraction(1, 25)) if times is None else (times[number], Fraction(1, 1000))
            )
            packets += stream.encode(frame)
        for packet in packets + stream.encode(None):
            for name in ("pts", "dts") if shift else ():
                setattr(packet, name, getattr(packet, name) + int(shift / 1000 / packet.time_base))
            container.mux(packet)
        if sound is not None:
            container.mux(sound)
    return path


def write_audio(path: Path) -> Path:
    """A file with sound and no picture."""
    with av.open(str(path), "w") as container:
        container.mux(_add_tone(container))
    return path


def _add_tone(container: OutputContainer) -> list[av.Packet]:
    """A second of a quiet tone, as packets to mux after the picture has been."""
    stream = cast(AudioStream, container.add_stream("aac", rate=16000, layout="mono"))
    packets: list[av.Packet] = []
    wave = (0.1 * np.sin(np.arange(16384) / 6)).astype(np.float32)
    for begin in range(0, len(wave), 1024):
        frame = av.AudioFrame.from_ndarray(wave[None, begin : begin + 1024], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, begin, Fraction(1, 16000)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def truncate(path: Path, share: float) -> Path:
    """Keep the first `share` of a file's bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def spoil_packets(path: Path, positions: Sequence[int]) -> Path:
    """Overwrite the picture data of packets, counted in decoding order, with noise; lengths and times stay."""
    with av.open(str(path)) as container:
        places = [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position in positions:
        begin, size = places[position]
        data[begin + 5 : begin + size] = np.random.default_rng(position).bytes(size - 5)
    path.write_bytes(bytes(data))
    return path


def claim_frames(path: Path, claimed: int) -> Path:
    """Make the header of an AVI file state another count of frames."""
    data = bytearray(path.read_bytes())
    for tag, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
        at = data.index(tag) + offset
        data[at : at + 4] = claimed.to_bytes(4, "little")
    path.write_bytes(bytes(data))
    return path


def all_frames(path: Path) -> list[Image]:
    """Every frame of a decode from start to end by PyAV, not turned upright: what `decode` is held against."""
    with av.open(str(path)) as container:
        return [np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8) for frame in container.decode(video=0)]


def set_display_matrix(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write the four factors a, b, c, d of a display matrix into the track header of an mp4 with one track."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0 of the box: ISO/IEC 14496-12, 8.3.2
    width, height = struct.unpack(">II", data[at + 36 : at + 44])
    a, b, c, d = matrix
    left = (width if a < 0 else 0) + (height if c < 0 else 0)
    top = (width if b < 0 else 0) + (height if d < 0 else 0)
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, left, top, 1 << 30)
    path.write_bytes(bytes(data))
    return path


def set_h264_header(path: Path, what: str) -> Path:
    """Change the parameter sets of H.264 in an mp4, as `h264_metadata` of libavcodec does: "matrix_coefficients=8"."""
    other = path.with_name(f"plain_{path.name}")
    path.rename(other)
    with av.open(str(other)) as source, av.open(str(path), "w") as target:
        (ours,) = source.streams.video
        theirs = target.add_stream_from_template(ours)
        change = BitStreamFilterContext(f"h264_metadata={what}", ours, theirs)
        for packet in source.demux(ours):
            for changed in change.filter(packet if packet.size else None):
                changed.stream = theirs
                target.mux(changed)
    other.unlink()
    return path


def join_flv(path: Path, first: Path, second: Path) -> Path:
    """Put one FLV behind another as live recorders do: the second's own sequence header follows in the middle."""
    result, shift = first.read_bytes()[:13], 0
    for part in (first, second):
        tags = [tag for tag in _flv_tags(part.read_bytes()) if tag[0] == 9 and tag[12] != 2]
        times = [int.from_bytes(tag[4:7]) + (tag[7] << 24) + shift for tag in tags]
        for tag, time in zip(tags, times, strict=True):
            moved = tag[:4] + (time & 0xFFFFFF).to_bytes(3) + bytes([time >> 24]) + tag[8:]
            result += moved + len(moved).to_bytes(4)
        shift = max(times) + 400  # so that no reordered frame of the second comes before the end of the first
    path.write_bytes(result)
    return path


def _flv_tags(data: bytes) -> Iterator[bytes]:
    """The tags behind the file's header, each without the size that follows it (Adobe FLV 10.1, E.3)."""
    at = 13
    while at + 15 <= len(data):
        size = int.from_bytes(data[at + 1 : at + 4])
        yield data[at : at + 11 + size]
        at += 15 + size
