"""Cut an input into units, and pin what decides the numbers: what `dfdc plan` does."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from common.errors import DfdcError
from common.files import VIDEO_ENDINGS
from common.labels import VIDEO_METADATA
from common.storage import Folder
from inference.videos import videos_below
from scale.manifest import VERSION, code_hash, refuse_other
from scale.store import MANIFEST, PLAN, Store
from scale.units import UNIT_VIDEOS, Item, Unit, cut_into_units

TaskName = Literal["predict", "extract"]


@dataclass(frozen=True)
class PlanRequest:
    """What a user asks of a plan."""

    input: str  # folder of videos: a path or an fsspec URL
    store: str  # folder of the run
    task: TaskName = "predict"
    unit_videos: int = UNIT_VIDEOS
    video_seconds: float | None = None  # of CPU for decoding one video; by its length without it
    frames: int | None = None  # predict: per video; what the blend says without it
    tolerance: float | None = None  # predict: of P(fake), as in PredictRequest
    members: Path | None = None  # predict: folder of members; the shipped ones without it
    blend: Path | None = None  # predict: a blend.json; the one beside the members without it
    competition: bool = False  # predict: of the two blends the one that is tuned for DFDC alone
    labels: Path | None = None  # extract: a CSV instead of metadata.json
    extract: Mapping[str, Any] = field(default_factory=dict)  # fields of ExtractOptions
    video_memory: int = 8 << 30  # extract: bytes for decoding one video

    def __post_init__(self) -> None:
        if self.unit_videos < 1:
            raise ValueError(f"units of {self.unit_videos} videos cannot be made; at least 1 is needed")


@dataclass(frozen=True)
class PlanSummary:
    """A plan that is there; `str` gives a line for people."""

    store: str
    units: int
    videos: int
    fresh: bool  # False: it was there before, and is the same

    def __str__(self) -> str:
        what = "planned" if self.fresh else "planned before, and nothing has changed"
        return f"{self.store}: {self.videos} videos in {self.units} units, {what}; next: dfdc run-units {self.store}"


def make_plan(request: PlanRequest) -> PlanSummary:
    """Write manifest and plan of a run, or hold them against those that are there.

    Raises:
        ValueError: the input holds no video, or an option is out of its range.
        OtherRunError: the store holds another run; the message names what differs.
        StorageError: input or store do not answer.
        DfdcError: the store's storage does not make an object once.
    """
    store = Store(request.store)
    manifest = _manifest(request)
    options = json.dumps([manifest["task"], manifest["options"]], sort_keys=True)
    units = list(_units(request, options))
    if not units:
        raise ValueError(f"{request.input} holds no video ({', '.join(VIDEO_ENDINGS)})")
    fresh = store.create_json(MANIFEST, manifest)
    if fresh and store.create_json(MANIFEST, manifest):
        raise DfdcError(
            f"the storage of {request.store} writes over an object that must be made once (it ignores If-None-Match), "
            "so two workers could both count; take one that heeds it, such as S3, MinIO, Google or a file system"
        )
    if not fresh:
        refuse_other(f"the run in {request.store}", store.manifest(), manifest)
    text = "".join(unit.to_line() + "\n" for unit in units).encode("utf-8", "surrogateescape")
    if not store.folder.create(PLAN, text):
        _refuse_other_plan(store, units)
        fresh = False
    return PlanSummary(request.store, len(units), sum(len(unit.items) for unit in units), fresh)


def _manifest(request: PlanRequest) -> dict[str, Any]:
    folder = Folder(request.input)
    where = str(Path(folder.root).resolve()) if folder.is_local else request.input
    known = {"version": VERSION, "task": request.task, "input": where, "code": code_hash()}
    options = _predict_options(request) if request.task == "predict" else _extract_options(request)
    manifest = known | {"options": options | {"video_seconds": request.video_seconds, "unit": request.unit_videos}}
    return dict(json.loads(json.dumps(manifest)))


def _predict_options(request: PlanRequest) -> dict[str, Any]:
    from inference.blends import load_blend
    from inference.schedule.plans import TOLERANCE, check_tolerance, is_sparing
    from models.checkpoint import WEIGHTS_DIR, find_cards

    members = request.members or WEIGHTS_DIR
    blend = load_blend(members, request.blend, request.competition)
    hashes = {card.name: card.sha256 for card in find_cards(members) if card.name in blend.members}
    tolerance = TOLERANCE if request.tolerance is None else request.tolerance
    check_tolerance(tolerance)
    frames = request.frames or blend.frames
    known = {"frames": frames, "sparing": is_sparing(request.frames, tolerance), "tolerance": tolerance}
    return known | {"blend": blend.to_json(), "members": hashes}


def _extract_options(request: PlanRequest) -> dict[str, Any]:
    from train.data.extract_video import ExtractOptions

    extract = dataclasses.asdict(ExtractOptions(**request.extract, shard_videos=request.unit_videos))
    del extract["specs"]  # those of the members, which are code
    return {"extract": extract, "video_memory": request.video_memory}


def _units(request: PlanRequest, options: str) -> Iterator[Unit]:
    folder = Folder(request.input)
    if request.task == "predict":
        return cut_into_units(_items(folder), options, request.unit_videos)
    return _shards(request, folder, options)


def _items(folder: Folder) -> Iterator[Item]:
    """Every video of the input by its key, in the order of the keys."""
    if folder.is_local:
        root = Path(folder.root)
        if not root.is_dir():
            raise ValueError(f"{folder.url} is no folder; give a folder of videos, or a URL of one")
        sizes = {path.relative_to(root).as_posix(): _size(path) for path in videos_below(root)}
    else:
        sizes = {key: size for key, size in folder.sizes().items() if key.lower().endswith(VIDEO_ENDINGS)}
    return (Item(key, sizes[key]) for key in sorted(sizes))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise DfdcError(f"{path} cannot be looked at: {error.strerror}; remove it, or repair it") from error


def _shards(request: PlanRequest, folder: Folder, options: str) -> Iterator[Unit]:
    """Whole families, as `dfdc extract` puts them into shards."""
    from scale.extract_task import facts_of
    from train.data.extract import plan_shards
    from train.data.metadata import read_videos

    with tempfile.TemporaryDirectory() as temporary:
        root = Path(folder.root) if folder.is_local else _skeleton(folder, Path(temporary) / Path(folder.root).name)
        sizes = None if folder.is_local else folder.sizes()
        shards = plan_shards(read_videos([root], request.labels), request.unit_videos)
    for shard in shards:
        items = []
        for video in shard.videos:
            key = video.path.relative_to(root).as_posix() if video.path else ""
            size = (sizes[key] if sizes is not None else _size(root / key)) if key else -1
            items.append(Item(key, size, facts_of(video)))
        yield Unit.of(shard.number, items, options)


def _skeleton(folder: Folder, root: Path) -> Path:
    """The input as far as its metadata goes: those files as they are, every video as an empty one."""
    from train.data.layouts import LAYOUT_FILES

    for key in folder.sizes():
        target = root / key
        if target.name == VIDEO_METADATA or key in LAYOUT_FILES:
            folder.fetch(key, target)
        elif target.suffix.lower() in VIDEO_ENDINGS:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
    if not root.exists():
        raise ValueError(f"{folder.url} holds no video ({', '.join(VIDEO_ENDINGS)})")
    return root


def _refuse_other_plan(store: Store, units: list[Unit]) -> None:
    """ValueError naming the first video that is planned in another way, or is in one of two plans only."""
    for there, here in zip_longest(store.units(), units):
        if there is None or here is None or there.id != here.id:
            named = ", ".join(_first_difference(there, here))
            raise ValueError(f"{store.url} has a plan of other videos: {named}. Give another store for these")


def _first_difference(there: Unit | None, here: Unit | None) -> list[str]:
    before, after = ({item.name: item for item in unit.items} if unit else {} for unit in (there, here))
    gone, new = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    changed = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
    told = (("gone is", gone), ("new is", new), ("changed is", changed))
    return [f"{what} {names[0]}" for what, names in told if names] or ["their facts or order differ"]
