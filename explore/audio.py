"""The sound of videos: decoded to WAV, or AAC copied as it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Literal, cast

import av
import pandas as pd
from av import AudioResampler, Packet
from av.audio.stream import AudioStream
from av.container import InputContainer

from common.cores import cores
from common.files import atomic_path
from explore.frames import check_stems
from faces.media import VideoError, audios_in, codec_of, decoded, open_media, packets_of

COLUMNS = ("filename", "status", "reason", "codec", "bytes", "file")


def extract_audio(
    videos: Sequence[Path],
    output: Path,
    ending: Literal["wav", "aac"] = "wav",
    progress: Callable[[int], object] = lambda _: None,
) -> pd.DataFrame:
    """Write the first sound track of each video to `output`/<stem>.<ending>.

    Args:
        videos: files. One whose sound is there already, with the time of the video, is passed over.
        output: the folder that is written to.
        ending: "wav" decodes to 16 bit PCM, rate and channels as they are; "aac" copies the packets, each with an ADTS
            header (ISO/IEC 13818-7).
        progress: called with 1 for each video.

    Returns:
        A row per video: filename, status (ok | no_audio | not_aac | unreadable), reason, codec of the video's sound,
        bytes written, file.

    Raises:
        ValueError: another ending, or two videos that would share a file.
        OSError: nothing can be written.
    """
    if ending not in {"wav", "aac"}:
        raise ValueError(f"sound as {ending!r} is not known here; wav or aac")
    check_stems(videos)
    rows: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor(min(8, cores())) as pool:
        jobs = {pool.submit(_extract, video, output / f"{video.stem}.{ending}"): video for video in videos}
        for job in as_completed(jobs):
            rows[jobs[job].name] = {"filename": jobs[job].name} | job.result()
            progress(1)
    return pd.DataFrame([rows[video.name] for video in videos], columns=list(COLUMNS))


def _extract(video: Path, target: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"status": "unreadable", "reason": "", "codec": "", "bytes": 0, "file": ""}
    try:
        with open_media(video) as container:
            stream = next(iter(audios_in(container)), None)
            if stream is None:
                return row | {"status": "no_audio", "reason": "has no sound"}
            row["codec"] = codec_of(stream)
            if target.suffix == ".aac" and row["codec"] != "aac":
                return row | {"status": "not_aac", "reason": f"its sound is {row['codec']}; extract wav instead"}
            if stream.codec_context is None:
                raise VideoError(f"{video}: its audio codec is not known here; convert it")
            if not _is_made(video, target):
                _write(container, stream, video, target)
    except VideoError as error:
        return row | {"reason": str(error).removeprefix(f"{video}: ")}
    return row | {"status": "ok", "bytes": target.stat().st_size, "file": str(target)}


def _is_made(video: Path, target: Path) -> bool:
    """Whether the file is that of the video as it is now: `_write` gives it the video's time."""
    return target.is_file() and target.stat().st_mtime_ns == video.stat().st_mtime_ns


def _write(container: InputContainer, stream: AudioStream, video: Path, target: Path) -> None:
    time = video.stat().st_mtime_ns  # before it is read: a file that changes meanwhile is read again next time
    packets = packets_of(container, stream)
    with atomic_path(target) as temporary:
        made = (_decode if target.suffix == ".wav" else _copy)(stream, packets, temporary)
        if not made:
            raise VideoError(f"{video}: no sound can be decoded; the file is damaged, fetch it again")
        os.utime(temporary, ns=(time, time))


def _decode(stream: AudioStream, packets: Iterable[Packet], target: Path) -> int:
    """Write WAV; returns how many pieces of sound there were. A sound that changes on its way is turned into one."""
    pieces, kind, resampler = 0, None, None
    context = stream.codec_context
    if not context.sample_rate or not context.layout.nb_channels:
        return 0  # a damaged header
    # Not the library's version in the file: the same sound gives the same bytes. RF64 where 4 GiB are not enough.
    options = {"fflags": "+bitexact", "rf64": "auto"}
    with av.open(str(target), "w", format="wav", options=options) as out:
        sound = cast(AudioStream, out.add_stream("pcm_s16le", rate=context.sample_rate, layout=context.layout.name))
        for frame in decoded(stream, packets):
            frame.pts = None
            if kind != (kind := (frame.format.name, frame.layout.name, frame.sample_rate)):
                resampler = AudioResampler("s16", context.layout.name, context.sample_rate)
            for piece in resampler.resample(frame) if resampler else []:
                out.mux(sound.encode(piece))
                pieces += 1
        for piece in resampler.resample(None) if resampler else []:
            out.mux(sound.encode(piece))
        out.mux(sound.encode(None))
    return pieces


def _copy(stream: AudioStream, packets: Iterable[Packet], target: Path) -> int:
    """Write AAC packets as they are, an ADTS header before each; returns how many there were."""
    copied = 0
    with av.open(str(target), "w", format="adts") as out:
        sound = out.add_stream_from_template(stream)
        for packet in packets:
            packet.stream = sound
            out.mux(packet)
            copied += 1
    return copied
