"""A process that runs units: networks are loaded once, then any number of units, each by itself."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from common.device import Device, find_device
from common.storage import Folder, StorageError
from scale.budget import UnitTime
from scale.manifest import code_hash, machine_facts, refuse_other
from scale.store import MACHINE, Store, UnitReport, report_of
from scale.units import Unit

# Names of videos that are not looked at -> their status and reason.
Aside = Mapping[str, tuple[str, str]]
Tick = Callable[[str], None]  # is called with the name of a video before it is worked on


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker is started with; everything that decides numbers is in the manifest."""

    store: str  # path or URL
    members: str = ""  # folder of members, for predict; empty: the shipped ones
    device: str = "auto"
    threads: int = 0  # of OpenVINO and decoders at a time; 0: all cores


@dataclass(frozen=True)
class Made:
    """What a task made of a unit."""

    objects: dict[str, Path]  # file of each object by its role
    statuses: Counter[str]
    plans: Sequence[Mapping[str, Any]] = ()  # how videos were predicted, where a budget decided it


class Task(Protocol):
    """What is done with the videos of a unit."""

    def make(
        self,
        unit: Unit,
        paths: Mapping[str, Path],
        work: Path,
        aside: Aside,
        tick: Tick | None,
        end: float | None = None,
    ) -> Made:
        """Make a unit's objects.

        Args:
            unit: of the plan.
            paths: of its videos by key.
            work: an empty folder for what is made.
            aside: videos that are not looked at.
            tick: where it is given, videos are worked on one by one.
            end: of time.time(), by which it has to end, where there is a budget.
        """


class UnitWorker:
    """Runs units of one run. `run` may be called again for a unit that is done, here or by another worker."""

    def __init__(self, setup: WorkerSetup) -> None:
        """Load what the run's task needs.

        Args:
            setup: of the worker.

        Raises:
            OtherRunError: code, weights or machine are others than the run's.
            StorageError: the store does not answer.
        """
        self.store = Store(setup.store)
        manifest = self.store.manifest()
        refuse_other("the code of this run", {"code": manifest["code"]}, {"code": code_hash()})
        device = find_device(setup.device)
        facts = machine_facts(str(device))
        # The first worker of a run says on what machines it runs: a plan may be made elsewhere.
        if not self.store.create_json(MACHINE, facts):
            refuse_other("the machine of this run", self.store.read_json(MACHINE) or {}, facts)
        self.input = Folder(manifest["input"])
        self.task = _task(manifest, setup, device)

    def run(
        self, unit: Unit, aside: Aside | None = None, careful: bool = False, allowed: UnitTime | None = None
    ) -> UnitReport:
        """Make a unit and deliver it, unless it is done.

        Args:
            unit: of the plan.
            aside: videos that are not looked at, because workers died or hung on them.
            careful: work on the videos one by one, and note in the store which it is.
            allowed: the time that it may take; its index says how the videos were predicted in it.

        Returns:
            What became of it. Where the storage did not answer the unit is not done, and no video of it has a result.
        """
        began = time.monotonic()
        end = None if allowed is None else min(time.time() + allowed.seconds, allowed.until)
        try:
            if (index := self.store.index_of(unit)) is not None:
                return report_of(index)
            with tempfile.TemporaryDirectory(prefix="dfdc-unit-") as folder:
                work = Path(folder)
                paths = self._fetch(unit, work, aside or {})
                (work / "made").mkdir()
                tick = (lambda name: self.store.mark(unit, name)) if careful else None
                made = self.task.make(unit, paths, work / "made", aside or {}, tick, end)
                told = {"budget": {"seconds": allowed.seconds, "plans": list(made.plans)}} if allowed else {}
                self.store.deliver(unit, made.objects, made.statuses, time.monotonic() - began, told)
            index = self.store.index_of(unit)
            if index is None:
                raise StorageError(f"{self.store.url}: the index of unit {unit.id} was written and is not there")
            return report_of(index, time.monotonic() - began)
        except StorageError as error:
            return UnitReport(unit.id, False, reason=str(error))

    def _fetch(self, unit: Unit, work: Path, aside: Aside) -> dict[str, Path]:
        """Bring the videos of a unit here; StorageError for one that does not come whole."""
        paths = {}
        for number, item in enumerate(unit.items):
            if not item.key or item.name in aside:
                continue
            if self.input.is_local:
                path = Path(self.input.path(item.key))
                _check_size(path, item.size)
            else:
                path = work / "videos" / str(number) / os.path.basename(item.key)  # noqa: PTH119 - a key is no path
                try:
                    self.input.fetch(item.key, path, item.size)
                except FileNotFoundError as error:
                    raise StorageError(f"{self.input.url}/{item.key} is gone since the plan was made") from error
            paths[item.key] = path
        return paths


def _check_size(path: Path, size: int) -> None:
    """Raise StorageError for a file that is gone, or of another size than when the plan was made."""
    try:
        found = path.stat().st_size
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    if found != size:
        raise StorageError(f"{path} has {found} bytes, and had {size} when the plan was made; make another plan")


def _task(manifest: Mapping[str, Any], setup: WorkerSetup, device: Device) -> Task:
    """What the manifest asks for."""
    if manifest["task"] == "predict":
        from scale.predict_task import PredictTask

        return PredictTask(manifest["options"], setup, device)
    from scale.extract_task import ExtractTask

    return ExtractTask(manifest["options"], device)
