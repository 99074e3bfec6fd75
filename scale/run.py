"""Run what is not done of a plan: what `dfdc run-units` does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from common.cores import cores
from inference.schedule.duration import parse_duration
from scale.budget import Budget
from scale.driver import Driver, Engine, RunSummary
from scale.store import Store
from scale.units import share
from scale.worker import WorkerSetup

EngineName = Literal["local", "ray"]
# Seconds that a unit may take, when nobody says: the limit of decoding for each of its videos, and a start.
VIDEO_SECONDS, START_SECONDS = 60.0, 600.0
RAY_CPUS = {"predict": 2.0, "extract": 1.0}  # of a task: two cores keep a decoder and the networks busy


@dataclass(frozen=True)
class RunRequest:
    """What a user asks of a run."""

    store: str
    engine: EngineName = "local"
    shard: tuple[int, int] | None = None  # (i, n): every n-th unit from the i-th on
    slots: int | None = None  # local: processes; None: one for predict, one for each core for extract
    cpus: float | None = None  # ray: cores of each task
    gpus: float = 0.0  # ray: of each task
    address: str | None = None  # ray: of the cluster
    members: Path | None = None  # predict: folder of members; the shipped ones without it
    device: str = "auto"
    unit_seconds: float | None = None  # that a unit may take
    budget: str | None = None  # predict: end in time whatever happens: 9h, 90m
    reserve: str = "2m"  # of the budget, kept for writing


def run_units(request: RunRequest) -> RunSummary:
    """Run the units of a store that are not done; progress goes to stderr.

    Raises:
        ValueError: the store holds no plan, or an option is out of its range.
        OtherRunError: code, weights or machine are others than the run's.
        StorageError: the store does not answer.
    """
    store = Store(request.store)
    manifest = store.manifest()
    units = share(store.units(), request.shard)
    videos = int(manifest["options"]["unit"])
    limit = request.unit_seconds or START_SECONDS + VIDEO_SECONDS * videos
    if request.budget is not None and manifest["task"] != "predict":
        raise ValueError("--budget is of predictions; this run extracts, and leaves nothing out")
    with tqdm(desc="units", unit="unit") as bar:
        engine = _engine(request, manifest["task"])
        return Driver(store, engine, limit, bar=bar, budget=_budget(request, store, engine)).run(units)


def _budget(request: RunRequest, store: Store, engine: Engine) -> Budget | None:
    if request.budget is None:
        return None
    videos = sum(len(unit.items) for unit in share(store.units(), request.shard))
    return Budget(parse_duration(request.budget), parse_duration(request.reserve), videos, engine.slots)


def read_shard(text: str) -> tuple[int, int]:
    """Read "3/64". Raises ValueError for anything else; shards are counted from 0."""
    first, slash, count = text.partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and int(first) < int(count)):
        raise ValueError(f"--shard is {text!r}; it must be i/n with i from 0 to n - 1, for example 0/64")
    return int(first), int(count)


def _engine(request: RunRequest, task: str) -> Engine:
    members = str(request.members.resolve()) if request.members else ""
    store = request.store if "://" in request.store else str(Path(request.store).resolve())
    if request.engine == "ray":
        try:
            from scale.engines.ray_engine import RayEngine
        except ImportError as error:
            raise ValueError(
                f"--engine ray needs the package ray ({error}): pip install 'dfdc-ensemble[ray]'"
            ) from error
        cpus = RAY_CPUS[task] if request.cpus is None else request.cpus
        setup = WorkerSetup(store, members, request.device, threads=max(1, int(cpus)))
        return RayEngine(setup, cpus, request.gpus, request.address)
    from scale.engines.local import LocalEngine

    slots = request.slots or (1 if task == "predict" else cores())
    threads = 0 if slots == 1 and task == "predict" else max(1, cores() // slots)
    return LocalEngine(WorkerSetup(store, members, request.device, threads), slots)
