"""What every file says about itself: one row per file, in the words and units of ffprobe."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from common.cores import cores
from common.files import atomic_path, harmless
from faces.media import (
    VideoError,
    audios_in,
    codec_of,
    decoded,
    is_image,
    open_media,
    orientation_of,
    packets_of,
    videos_in,
)

# In the order of the table; `label` and what follows comes from the labels.
_VIDEO = ("video_codec", "width", "height", "frames", "bit_rate", "duration", "start_time", "fps", "rotation")
_AUDIO = ("audio_codec", "channels", "sample_rate", "audio_frames", "audio_bit_rate", "audio_duration")
FIELDS = ("status", "reason", "format", *_VIDEO, "video_streams", *_AUDIO, "audio_start_time", "audio_streams", "bytes")
TEXT = ("status", "reason", "format", "video_codec", "audio_codec")
SECONDS = ("duration", "start_time", "fps", "audio_duration", "audio_start_time")  # not whole numbers
COLUMNS = ("filename", *FIELDS, "label", "original", "split", "group", "fakes_of_original")

Facts = dict[str, Any]


def metadata_table(
    videos: Sequence[Path],
    labels: pd.DataFrame,
    cache: Path,
    progress: Callable[[int], object] = lambda _: None,
) -> pd.DataFrame:
    """Describe every file by what it says about itself, and by its label.

    Args:
        videos: files of different names.
        labels: of `read_video_labels`.
        cache: JSON lines. A file that is in it is not read again while its path, size and time of change are the same,
            so a run that was killed goes on.
        progress: called with 1 for each file.

    Returns:
        A row per file, in the order of `videos`, with the columns COLUMNS; `read_facts` says what they mean.
        fakes_of_original counts the fakes that the labels name of this video's original (of itself, for a real); it is
        missing where labels name no original. Missing numbers are NaN or NA, missing text is empty.

    Raises:
        ValueError: two files have one name.
    """
    names: dict[str, Path] = {}
    for video in videos:
        if names.setdefault(video.name, video) != video:
            raise ValueError(f"{video} and {names[video.name]} have one name; the table has one row per name")
    known = _read_cache(cache)
    facts: dict[str, Facts] = {}
    cache.parent.mkdir(parents=True, exist_ok=True)
    # Threads: libav lets go of the interpreter's lock, and nothing has to be sent between processes.
    with cache.open("a", encoding="utf-8") as lines, ThreadPoolExecutor(min(8, cores())) as pool:
        keys = {name: _key(path) for name, path in names.items()}
        waiting = {pool.submit(read_facts, path): name for name, path in names.items() if keys[name] not in known}
        for name in names.keys() - set(waiting.values()):
            facts[name] = known[keys[name]]
            progress(1)
        for done in as_completed(waiting):
            name = waiting[done]
            facts[name] = done.result()
            lines.write(json.dumps([keys[name], facts[name]]) + "\n")
            lines.flush()
            progress(1)
    # Objects: pandas' own text cannot hold a filename that is not UTF-8.
    rows = pd.DataFrame(
        [{"filename": name} | facts[name] for name in names], columns=["filename", *FIELDS], dtype=object
    )
    return _with_labels(_typed(rows), labels)


def write_table(table: pd.DataFrame, folder: Path) -> tuple[Path, Path]:
    """Write metadata.csv and metadata.parquet, each whole or not at all; the same table gives the same bytes.

    Args:
        table: of `metadata_table`. Bytes of a filename that are not UTF-8 become question marks. In the CSV, text that
            a spreadsheet would run as a formula has an apostrophe before it.
        folder: where the files are written.

    Returns:
        The paths of both files.
    """
    texts = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    clean = table.assign(**{n: table[n].map(lambda text: str(text).encode(errors="replace").decode()) for n in texts})
    csv, parquet = folder / "metadata.csv", folder / "metadata.parquet"
    with atomic_path(csv) as temporary:
        clean.map(harmless).to_csv(temporary, index=False, lineterminator="\n")
    with atomic_path(parquet) as temporary:
        clean.to_parquet(temporary, index=False, engine="pyarrow")
    return csv, parquet


def read_facts(path: Path) -> Facts:
    """Read what one file says about itself; a broken file is described and raises nothing.

    Args:
        path: the file.

    Returns:
        FIELDS, None or "" where the file says nothing. The first video and the first audio stream are described;
        video_streams and audio_streams say how many there are.

        - status: ok; no_video (no video stream; cover art is none); image (a single picture); unreadable, with the
          reason, also when the file ends before its last packet does.
        - width, height: pixels as stored, before `rotation`, the degrees clockwise that make the picture upright.
        - frames: the header's count where the file's index has an entry for each (mp4), else packets, counted by
          reading the file through without decoding. audio_frames: packets of audio, counted alike.
        - fps: the average. bit_rate: bits per second of the stream, where known.
        - duration, start_time: seconds, of the stream, else of its packets.
    """
    facts: Facts = dict.fromkeys(FIELDS) | dict.fromkeys(TEXT, "")
    try:
        facts["bytes"] = path.stat().st_size if path.is_file() else None
        with open_media(path) as container:
            facts["format"] = container.format.name
            found = _video(path, container) | _audio(container)
            _fill_gaps(path, found, container)
            return facts | found
    except (VideoError, OSError) as error:
        return facts | {"status": "unreadable", "reason": str(error).removeprefix(f"{path}: ")}


def _video(path: Path, container: InputContainer) -> Facts:
    streams = videos_in(container)
    facts: Facts = {"status": "ok", "reason": "", "video_streams": len(streams)}
    if not streams:
        return facts | {"status": "no_video", "reason": f"holds only {_kinds(container)}"}
    stream = streams[0]
    if stream.codec_context is None:
        raise VideoError(f"{path}: its video codec is not known here; convert it")
    if is_image(container):
        facts |= {"status": "image", "reason": f"a picture ({codec_of(stream)}), not a video", "video_streams": 0}
    if missing := _cut_off(path, stream):
        raise VideoError(f"{path}: {missing}; fetch it again")
    stream.codec_context.thread_count = 1
    first = next(decoded(stream, islice(packets_of(container, stream), 64)), None)
    if first is None:
        raise VideoError(f"{path}: no frame can be decoded; fetch it again")
    fps = None if is_image(container) else stream.average_rate
    return (
        facts
        | _timing(stream, "")
        | {
            "video_codec": codec_of(stream),
            "width": stream.codec_context.width,
            "height": stream.codec_context.height,
            "fps": float(fps) if fps else None,
            "rotation": orientation_of(first).rotation,
        }
    )


def _audio(container: InputContainer) -> Facts:
    streams = audios_in(container)
    if not streams:
        return {"audio_streams": 0}
    context = streams[0].codec_context
    facts = _timing(streams[0], "audio_") | {"audio_streams": len(streams), "audio_codec": codec_of(streams[0])}
    # Zero is what libav says where a header is damaged.
    return facts | (
        {"channels": context.channels or None, "sample_rate": context.sample_rate or None} if context else {}
    )


def _timing(stream: VideoStream | AudioStream, prefix: str) -> Facts:
    return {
        # AVI may claim more frames than there are, and what was cut off: an index with as many entries confirms it.
        f"{prefix}frames": stream.frames if 0 < stream.frames <= len(stream.index_entries) else None,
        f"{prefix}bit_rate": stream.codec_context.bit_rate if stream.codec_context else None,
        f"{prefix}duration": _seconds(stream.duration, stream.time_base),
        f"{prefix}start_time": _seconds(stream.start_time, stream.time_base),
    }


def _seconds(ticks: int | None, base: Fraction | None) -> float | None:
    return None if ticks is None or base is None else float(ticks * base)


def _cut_off(path: Path, stream: VideoStream) -> str:
    """What the file's own index places beyond its end. Empty when all is there, or there is no index."""
    places, size = stream.index_entries, path.stat().st_size
    # Each entry is looked at: with several streams the last in time need not be the last in the file.
    gone = sum(entry.pos + entry.size > size for entry in places)
    return f"the file ends before {gone} of its {len(places)} frames" if gone else ""


def _fill_gaps(path: Path, facts: Facts, container: InputContainer) -> None:
    """Count and time by reading the packets through, where the header does not say."""
    if facts["status"] == "image":
        facts.update(frames=1, duration=None, start_time=None)
        return
    described: list[tuple[str, VideoStream | AudioStream]] = [("", stream) for stream in videos_in(container)[:1]]
    described += [("audio_", stream) for stream in audios_in(container)[:1]]
    gaps = {prefix: s for prefix, s in described if None in (facts[f"{prefix}frames"], facts[f"{prefix}duration"])}
    if not gaps:
        return
    with open_media(path) as fresh:  # from the start again: the first packets are gone
        prefixes = {stream.index: prefix for prefix, stream in gaps.items()}
        counted = dict.fromkeys(gaps, 0)
        ends: dict[str, Fraction] = {}
        for packet in packets_of(fresh, *(stream for stream in fresh.streams if stream.index in prefixes)):
            prefix = prefixes[packet.stream_index]
            counted[prefix] += 1
            if packet.pts is not None and packet.duration:
                end = (packet.pts + packet.duration) * packet.time_base
                ends[prefix] = max(end, ends.get(prefix, end))
    for prefix, count in counted.items():
        facts[f"{prefix}frames"] = facts[f"{prefix}frames"] or count or None
        if facts[f"{prefix}duration"] is None and prefix in ends:
            facts[f"{prefix}duration"] = float(ends[prefix]) - (facts[f"{prefix}start_time"] or 0)


def _kinds(container: InputContainer) -> str:
    kinds = {"cover art" if stream.type == "video" else str(stream.type) for stream in container.streams}
    return ", ".join(sorted(kinds)) or "no stream"


def _key(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return f"{path.absolute()}|"
    return f"{path.absolute()}|{status.st_size}|{status.st_mtime_ns}"


def _read_cache(cache: Path) -> dict[str, Facts]:
    """Facts by key. A line that a kill tore off is cut from the file, so that the next one starts anew."""
    if not cache.is_file():
        return {}
    data = cache.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(cache, len(whole))
    known: dict[str, Facts] = {}
    for line in whole.splitlines():
        try:
            key, facts = json.loads(line)
        except ValueError:
            continue  # not ours, or damaged: the file is read again
        if isinstance(facts, dict) and facts.keys() == set(FIELDS):
            known[str(key)] = facts
    return known


def _typed(rows: pd.DataFrame) -> pd.DataFrame:
    kinds = dict.fromkeys(FIELDS, "Int64") | dict.fromkeys(SECONDS, "float64") | dict.fromkeys(TEXT, "object")
    return rows.astype(kinds)


def _with_labels(rows: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    known = {row["filename"]: row for row in labels.to_dict("records")}
    for name in ("label", "original", "split", "group"):
        rows[name] = pd.Series([known.get(file, {}).get(name, "") for file in rows["filename"]], rows.index, object)
    rows["group"] = rows["group"].where(rows["group"] != "", rows["filename"])
    named = labels.loc[(labels["label"] == "FAKE") & (labels["original"] != ""), "original"].value_counts()
    of_itself = rows["filename"].where(rows["label"] == "REAL", "")
    original = rows["original"].where(rows["original"] != "", of_itself)
    counts = original.map(named).astype("Int64")
    rows["fakes_of_original"] = counts.fillna(0).where((original != "") & bool(len(named)), pd.NA)
    return rows[list(COLUMNS)]
