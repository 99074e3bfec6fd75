"""Streams of many codecs and containers: each wanted frame equals that of a full decode, bit for bit."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from faces import packets, video
from faces.media import aspect_of, upright
from faces.sparing import sparing_count
from faces.video import choose_frames, decode, length_of
from tests.media import Image, write_video

COUNTS = range(1, 41)
FRAMES = 60

X264 = {"preset": "ultrafast", "sc_threshold": "0"}
PYRAMID = {"bf": "3", "b-pyramid": "normal", "b-adapt": "0", "g": "12", "sc_threshold": "0"}
OPEN = {"x264-params": "open-gop=1:keyint=12:bframes=3:b-adapt=0:scenecut=0"}
VP = {"cpu-used": "8", "deadline": "realtime", "g": "9"}
ALTERNATE = VP | {"auto-alt-ref": "1", "lag-in-frames": "12", "deadline": "good"}
DNXHR = {"options": {"profile": "dnxhr_lb"}, "size": (256, 128), "pixel_format": "yuv422p"}


def x265(extra: str) -> dict[str, Any]:
    params = f"log-level=none:keyint=12:min-keyint=12:pools=none:frame-threads=1:{extra}"
    return {"codec": "libx265", "options": {"preset": "ultrafast", "x265-params": params}}


def of(codec: str, group: int, bframes: int = 0, **more: Any) -> dict[str, Any]:
    return {"codec": codec, "options": {"g": str(group), "bf": str(bframes)}, **more}


# Name (its ending names the container) -> how it is written.
SHORT: dict[str, dict[str, Any]] = {}  # only some packets are fed
WHOLE: dict[str, dict[str, Any]] = {}  # everything is decoded: references or times are not known

for ending in ("mp4", "mkv", "mov", "ts", "flv"):
    SHORT[f"h264_pyramid.{ending}"] = {"options": PYRAMID}
    SHORT[f"h264_intra_only.{ending}"] = {"options": X264 | {"g": "1"}}
    SHORT[f"h264_baseline.{ending}"] = {"options": {"profile": "baseline", "g": "7", "sc_threshold": "0"}}
    SHORT[f"h264_open.{ending}"] = {"options": OPEN}
    SHORT[f"h264_headers.{ending}"] = {"options": {"x264-params": "repeat-headers=1:keyint=8:scenecut=0"}}
for ending in ("mp4", "ts"):
    SHORT[f"h264_refresh.{ending}"] = {"options": {"x264-params": "intra-refresh=1:keyint=15:bframes=0"}}
    SHORT[f"h264_interlaced.{ending}"] = {"options": {"flags": "+ildct+ilme", "x264-params": "tff=1", "g": "10"}}
    SHORT[f"h264_slices.{ending}"] = {"options": PYRAMID | {"slices": "4"}}
SHORT["h264_10bit.mkv"] = {"options": PYRAMID, "pixel_format": "yuv420p10le"}
SHORT["h264_444.mp4"] = {"options": PYRAMID, "pixel_format": "yuv444p", "size": (65, 49)}
SHORT["h264_grey.mp4"] = {"options": PYRAMID, "pixel_format": "gray"}
SHORT["h264_fragments.mp4"] = {"options": PYRAMID, "container_options": {"movflags": "frag_keyframe+empty_moov"}}
SHORT["h264_edit_list.mp4"] = {"options": PYRAMID, "shift": -400}
SHORT["h264.avi"] = of("libx264", 10)
for ending in ("mp4", "mkv", "ts"):
    SHORT[f"hevc_open.{ending}"] = x265("bframes=4:b-pyramid=1:open-gop=1")
    SHORT[f"hevc_closed.{ending}"] = x265("bframes=4:b-pyramid=1:open-gop=0:repeat-headers=1")
    SHORT[f"hevc_layers.{ending}"] = x265("temporal-layers=2:bframes=3:open-gop=0")
    SHORT[f"mpeg4.{ending}"] = of("mpeg4", 9)
    SHORT[f"mpeg4_b.{ending}"] = of("mpeg4", 9, 2)
    SHORT[f"mpeg2.{ending}"] = of("mpeg2video", 8, 2)
SHORT["hevc_refresh.mp4"] = x265("intra-refresh=1:bframes=0")
SHORT["hevc_10bit.mkv"] = x265("bframes=3") | {"pixel_format": "yuv420p10le"}
SHORT["mpeg2_long.ts"] = of("mpeg2video", 30, 2)
SHORT["vp8.webm"] = {"codec": "libvpx", "options": VP}
SHORT["vp8_alternate.mkv"] = {
    "codec": "libvpx",
    "options": VP | {"auto-alt-ref": "1", "lag-in-frames": "12", "deadline": "good"},
}
SHORT["vp9.webm"] = {"codec": "libvpx-vp9", "options": VP}
SHORT["vp9_alternate.mkv"] = {
    "codec": "libvpx-vp9",
    "options": VP | {"auto-alt-ref": "1", "lag-in-frames": "12", "deadline": "good"},
}
SHORT["vp9.mp4"] = {"codec": "libvpx-vp9", "options": VP}
for ending in ("mp4", "mkv"):
    SHORT[f"av1.{ending}"] = {"codec": "libsvtav1", "options": {"preset": "12", "g": "16"}}
    SHORT[f"mjpeg.{ending}"] = {"codec": "mjpeg", "pixel_format": "yuvj420p"}
SHORT["mjpeg.avi"] = {"codec": "mjpeg", "pixel_format": "yuvj420p"}
SHORT["prores.mov"] = {"codec": "prores_ks", "pixel_format": "yuv422p10le"}
SHORT["dnxhr.mov"] = {"codec": "dnxhd", **DNXHR}
SHORT["mpeg4_b.avi"] = of("mpeg4", 9, 2)
SHORT["mpeg1.mpg"] = of("mpeg1video", 8, 2)
SHORT["mpeg2.mpg"] = of("mpeg2video", 8, 2)
SHORT["h263.3gp"] = of("h263", 9, size=(176, 144))  # its pixels are no squares
SHORT["sorenson.flv"] = of("flv", 9)
WHOLE |= {
    "wmv2.asf": of("wmv2", 9),
    "ffv1.mkv": of("ffv1", 9),
    "raw.h264": {"options": PYRAMID},
    "raw.hevc": x265("bframes=3"),
}

STREAMS = SHORT | WHOLE
# What the quick run holds: each codec with key frames of another kind, and each way of telling units apart.
QUICK = {"h264_pyramid.mp4", "h264_open.ts", "hevc_open.mp4", "hevc_closed.ts"}
QUICK |= {"vp9.webm", "mpeg2.ts", "mpeg4_b.mkv", "raw.h264"}


def all_shown(path: Path) -> list[Image]:
    """Every frame of a decode from start to end by PyAV, with square pixels."""
    with av.open(str(path)) as container:
        (stream,) = container.streams.video
        return [upright(frame, aspect_of(stream)) for frame in container.decode(stream)]


def differences(path: Path, counts: range | tuple[int, ...], sparing: bool = False) -> list[str]:
    """Where the frames of `decode` are others than those of a full decode."""
    reference = all_shown(path)
    assert len(reference) > 1
    found = []
    for wanted in counts:
        frames = decode(path, wanted, threads=1, sparing=sparing)
        chosen = frames.indices.tolist() if sparing else choose_frames(len(reference), wanted).tolist()
        if sparing and len(chosen) != sparing_count(length_of(path), wanted):
            found.append(f"{wanted}: {len(chosen)} frames")
        if frames.indices.tolist() != chosen:
            found.append(f"{wanted}: frames {frames.indices.tolist()}")
            continue
        for number, image in zip(chosen, frames.images, strict=True):
            if image.shape != reference[number].shape or not np.array_equal(image, reference[number]):
                found.append(f"{wanted}: frame {number}")
    return found


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in STREAMS],
)
def test_wanted_frames_are_those_of_a_full_decode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = write_video(tmp_path / name, **{"frames": FRAMES, "size": (64, 48), **STREAMS[name]})
    full = []
    decode_all = video.decode_all
    monkeypatch.setattr(video, "decode_all", lambda *given: full.append(given) or decode_all(*given))
    counts = COUNTS if os.environ.get("DFDC_SLOW") == "1" else (1, 2, 3, 7, 16, 40)
    assert differences(path, counts) == []
    assert bool(full) == (name in WHOLE), "how it was decoded"
    full.clear()
    assert differences(path, (1, 3, 12, 40), sparing=True) == []
    assert bool(full) == (name in WHOLE), "how the sparing choice was decoded"


def planes_of(path: Path) -> bytes:
    """The pixels of all frames as PyAV decodes them, in the format that they have, without the padding of rows."""
    rows = bytearray()
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            wide = 2 if max(part.bits for part in frame.format.components) > 8 else 1
            for plane in frame.planes:
                pixels = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
                rows += pixels[: plane.height, : plane.width * wide].tobytes()
    return bytes(rows)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in STREAMS if name != "ffv1.mkv"])  # packed: its pixels have 4 bytes
def test_a_full_decode_is_that_of_the_ffmpeg_program(tmp_path: Path, name: str) -> None:
    """The reference above is PyAV's own decode, and that one equals another build of FFmpeg."""
    path = write_video(tmp_path / name, **{"frames": FRAMES, "size": (64, 48), **STREAMS[name]})
    command = [get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-map", "0:v:0", "-fps_mode", "passthrough"]
    theirs = subprocess.run([*command, "-f", "rawvideo", "-"], capture_output=True, check=True).stdout
    assert planes_of(path) == theirs != b""


def test_there_are_many_streams() -> None:
    assert len(STREAMS) >= 60


@pytest.mark.parametrize("name", ["h264_open.mp4", "h264_open.ts", "h264_refresh.mp4", "h264_pyramid.mkv"])
def test_starts_that_an_h264_encoder_promises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Long videos without IDR pictures: what is called long is set to nothing here."""
    monkeypatch.setattr(packets, "MANY_PACKETS", 0)
    path = write_video(tmp_path / name, **{"frames": FRAMES, "size": (64, 48), **STREAMS[name]})
    assert differences(path, (1, 2, 3, 7, 16, 40)) == []
    assert differences(path, (1, 3, 12), sparing=True) == []
