"""Videos to shards of face crops: the plan, the processes, the tables, the summary. Goes on after any end."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from common.cores import cores
from common.device import Device
from common.errors import DfdcError
from common.files import atomic_path, lock_file, write_text
from faces.cascade import Cascade
from faces.decode.decoder import Decoder
from faces.decode.watchdog import VideoLimits
from models.registry import member_specs
from train.data.extract_pool import make_shards
from train.data.extract_shard import Shard, ShardSetup, write_shard
from train.data.extract_video import EXTRACT_LIMITS, ExtractOptions
from train.data.families import components
from train.data.metadata import Video, read_videos

if TYPE_CHECKING:
    import torch

PLAN = "plan.json"
PLAN_VERSION = 1
STATUSES = ("ok", "no_face", "unreadable", "timed_out", "crashed", "missing", "unlabelled")
SHOWN = 10  # names that the summary lists per status


@dataclass(frozen=True)
class ExtractSummary:
    """What a finished run made; `str` gives a summary for people."""

    folder: Path
    faces: int  # in all shards
    names: dict[str, list[str]]  # status -> videos

    def __str__(self) -> str:
        lines = [f"{self.folder}: {self.faces} faces of {len(self.names.get('ok', []))} videos"]
        for status in STATUSES[1:]:
            if names := self.names.get(status):
                more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
                lines.append(f"{status}: {len(names)} videos: {', '.join(names[:SHOWN])}{more}")
        return "\n".join([*lines, f"all of them with reasons: {self.folder / 'videos.csv'}"])


@dataclass(frozen=True)
class ExtractRequest:
    """What a user asks of `dfdc extract`."""

    inputs: tuple[Path, ...]  # videos, folders of them, or parts of DFDC with metadata.json
    output: Path  # folder of the shards
    options: ExtractOptions  # what decides the bytes; crops of all members are added to its specs
    device: Device | torch.device
    labels: Path | None = None  # CSV filename,label[,original] instead of metadata.json
    workers: int | None = None  # processes; None: one per core; 0: none but this one
    skip: tuple[str, ...] = ()  # names of videos to set aside
    limits: VideoLimits = EXTRACT_LIMITS  # what decoding one video may take


def extract_for_members(request: ExtractRequest) -> ExtractSummary:
    """Cut faces so that every member can be trained on the crops; errors as those of `extract`."""
    options = dataclasses.replace(request.options, specs=(*request.options.specs, *member_specs()))
    workers = cores() if request.workers is None else request.workers
    return extract(
        request.inputs, request.output, options, request.labels, request.device, workers, request.skip, request.limits
    )


def extract(
    inputs: Sequence[Path],
    output: Path,
    options: ExtractOptions,
    labels: Path | None = None,
    device: Device | torch.device | None = None,
    workers: int = 1,
    skip: Sequence[str] = (),
    limits: VideoLimits = EXTRACT_LIMITS,
) -> ExtractSummary:
    """Make the shards that are not there yet, then index.csv (a row per face) and videos.csv (a row per video).

    Args:
        inputs: videos, folders of videos, parts of DFDC (a folder with metadata.json), or folders of such parts.
        output: folder of the shards; a stopped run goes on there.
        options: what decides the bytes.
        labels: a CSV with filename, label and, as far as known, original, instead of metadata.json.
        device: where the detectors run; the CPU by default.
        workers: processes, each with one that decodes; 0 works in this one.
        skip: names of videos to set aside.
        limits: what decoding one video may take; one that takes more is a row of videos.csv that says so.

    Returns:
        What was made, and the videos by status.

    Raises:
        ValueError: wrong inputs, or `output` was begun with others or other options.
        DfdcError: workers cannot be started, another run is at work there, or no video shows a face.
    """
    device = device or Device("cpu")
    videos = read_videos(inputs, labels)
    if strange := sorted(set(skip) - {video.filename for video in videos}):
        raise ValueError(f"--skip {strange[0]!r} is none of the {len(videos)} videos")
    output.mkdir(parents=True, exist_ok=True)
    with _alone(output):
        shards = plan_shards(videos, options.shard_videos)
        _keep_plan(output, videos, shards, options, device)
        _remove_leftovers(output, shards)
        todo = [shard for shard in shards if not shard.index(output).exists()]
        done = sum(len(shard.videos) for shard in shards) - sum(len(shard.videos) for shard in todo)
        with tqdm(total=len(videos), initial=done, desc="videos", unit="video") as bar:
            aside = dict.fromkeys(skip, ("unreadable", "set aside with --skip"))
            setup = ShardSetup(output, options, device, aside, limits)
            if workers:
                make_shards(todo, setup, workers, bar)
            elif todo:
                with contextlib.closing(Decoder(limits)) as decoder:
                    detector = Cascade(device, threads=1)
                    for shard in todo:
                        write_shard(shard, setup, decoder, detector, lambda _: bar.update())
        return _merge(output, shards)


def plan_shards(videos: Sequence[Video], size: int) -> list[Shard]:
    """Put whole families into shards.

    Args:
        videos: in the order in which the shards shall hold them.
        size: a shard is closed when it has so many videos.

    Returns:
        The shards. A family lies in one of them, its originals first.
    """
    family = components([[("video", v.filename), *([("video", v.original)] if v.original else [])] for v in videos])
    families: defaultdict[int, list[Video]] = defaultdict(list)
    for number, video in zip(family.tolist(), videos, strict=True):
        families[number].append(video)
    shards: list[Shard] = []
    waiting: list[Video] = []
    for number in sorted(families):
        waiting += _originals_first(families[number])
        if len(waiting) >= size:
            shards.append(Shard(len(shards), tuple(waiting)))
            waiting = []
    return [*shards, Shard(len(shards), tuple(waiting))] if waiting else shards


def _originals_first(family: list[Video]) -> list[Video]:
    by_name = {video.filename: video for video in family}

    def depth(video: Video) -> int:
        steps = 0
        while video.original in by_name and steps < len(family):  # the bound ends a circle
            video, steps = by_name[video.original], steps + 1
        return steps

    return sorted(family, key=lambda video: (depth(video), video.filename))


def _keep_plan(
    output: Path,
    videos: Sequence[Video],
    shards: Sequence[Shard],
    options: ExtractOptions,
    device: Device | torch.device,
) -> None:
    """Write the plan, or hold it against the one that is there."""
    # What decides how much of a frame is stored; a member's normalisation does not.
    specs = sorted({(spec.margin, spec.shift_y, spec.align) for spec in options.specs})
    plan = {
        "version": PLAN_VERSION,
        "options": {**dataclasses.asdict(options), "specs": specs, "device": device.type},
        "videos": {video.filename: _fingerprint(video) for video in videos},
        "shards": [[video.filename for video in shard.videos] for shard in shards],
    }
    path, text = output / PLAN, json.dumps(plan, indent=1)
    if not path.exists():
        if begun := sorted(output.glob("shard_*")):
            raise ValueError(f"{output} holds {begun[0].name} but no {PLAN}; give -o an empty folder")
        write_text(path, text)
        return
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
        changed = _changes(old, json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read ({error!r}); give -o an empty folder") from error
    if changed:
        raise ValueError(
            f"{output} was begun differently: {'; '.join(changed)}. Give the same videos and options to go on there, "
            "or another folder with -o"
        )


def _changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs, in words."""
    found = []
    for key in old["options"] | new["options"]:
        was, now = old["options"].get(key), new["options"].get(key)
        if was != now:
            told = f"{key} was {was}, is {now}" if key != "specs" else "the members' crops (specs) are others now"
            found.append(told)
    before, after = old["videos"], new["videos"]
    for what, names in (
        ("are gone", before.keys() - after.keys()),
        ("are new", after.keys() - before.keys()),
        ("changed in file or label", {name for name in before.keys() & after.keys() if before[name] != after[name]}),
    ):
        if names:
            found.append(f"{len(names)} videos {what}, the first is {min(names)}")
    if not found and any(old[key] != new[key] for key in ("version", "shards")):
        found.append("another version of this program made the plan")
    return found


def _fingerprint(video: Video) -> str:
    size = video.path.stat().st_size if video.path else -1
    return "|".join((video.label, video.original, video.group, video.part, video.split, str(size)))


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Hold the folder's lock; the system lets go of it however the process ends."""
    with (output / ".lock").open("w") as handle:
        if not lock_file(handle.fileno()):
            raise DfdcError(f"another extraction is at work in {output}; wait for it, or give another -o")
        yield


def _remove_leftovers(output: Path, shards: Sequence[Shard]) -> None:
    """What a killed run left: temporary files, and parts of shards without the index that is written last."""
    for path in [*output.glob(".*.tmp"), *output.glob(".shard_*.now")]:
        path.unlink(missing_ok=True)
    for shard in shards:
        if not shard.index(output).exists():
            shard.tar(output).unlink(missing_ok=True)
            shard.table(output).unlink(missing_ok=True)


def _merge(output: Path, shards: Sequence[Shard]) -> ExtractSummary:
    """The tables of all shards as one each, in the order of the shards."""
    _concatenate([shard.table(output) for shard in shards], output / "videos.csv")
    _concatenate([shard.index(output) for shard in shards], output / "index.csv")
    import pandas as pd

    videos = pd.read_csv(output / "videos.csv", dtype=str, keep_default_na=False)
    names = {str(status): sorted(rows["filename"]) for status, rows in videos.groupby("status")}
    summary = ExtractSummary(output, int(videos["faces"].astype(int).sum()), names)
    if not names.get("ok"):
        raise DfdcError(f"no video shows a face:\n{summary}")
    return summary


def _concatenate(parts: Sequence[Path], target: Path) -> None:
    """One CSV out of several; columns that parts of an earlier version lack stay empty there."""
    with atomic_path(target) as temporary, temporary.open("wb") as out:
        headers = []
        for part in parts:
            with part.open("rb") as handle:
                headers.append(handle.readline())
        longest = max(headers, key=len)
        out.write(longest)
        for part, header in zip(parts, headers, strict=True):
            lacking = b"," * (longest.count(b",") - header.count(b","))
            with part.open("rb") as handle:
                handle.readline()
                # Names have no line ends in them, so a row is a line.
                out.writelines(line.removesuffix(b"\n") + lacking + b"\n" if lacking else line for line in handle)
