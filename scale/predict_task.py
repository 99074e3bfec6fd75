"""Predict the videos of a unit: `dfdc predict` for a few videos, whose results go into one file."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common.device import Device
from faces.decode.watchdog import VideoLimits
from inference.journal import to_values
from inference.pipeline import Pipeline, PredictOptions, make_pipeline
from inference.result import PRIOR, VideoResult
from inference.schedule.budget import make_planner
from inference.schedule.planner import Planner
from inference.schedule.scheduler import BudgetScheduler, Change
from inference.work import called
from models.checkpoint import WEIGHTS_DIR, find_cards
from scale.manifest import refuse_other
from scale.rows import ROWS, blend_of
from scale.units import Unit
from scale.worker import Aside, Made, Tick, WorkerSetup

SKIPPED = ("skipped_by_budget", "the time of its unit was used up before its turn came")


class PredictTask:
    """The pipeline of `dfdc predict` with the options of a manifest."""

    def __init__(self, options: Mapping[str, Any], setup: WorkerSetup, device: Device) -> None:
        """Load the networks.

        Args:
            options: of the manifest.
            setup: of the worker.
            device: where the networks run.

        Raises:
            OtherRunError: the members are others than the run's.
        """
        members = Path(setup.members) if setup.members else WEIGHTS_DIR
        blend = blend_of(options["blend"])
        found = {card.name: card.sha256 for card in find_cards(members) if card.name in blend.members}
        refuse_other("the weights of this run", options["members"], found)
        limits = VideoLimits.of(options["video_seconds"])
        how = PredictOptions(
            options["frames"],
            sparing=options.get("sparing", False),
            decoders=setup.threads,
            tolerance=options.get("tolerance", 0.0),
            limits=limits,
        )
        self.pipeline: Pipeline = make_pipeline(how, device, members, setup.threads, blend)
        self.planner: Planner | None = None  # knows from one unit to the next how fast this machine is

    def make(
        self,
        unit: Unit,
        paths: Mapping[str, Path],
        work: Path,
        aside: Aside,
        tick: Tick | None,
        end: float | None = None,
    ) -> Made:
        """Write a line for each video of a unit, in their order; those not reached by the end have the prior."""
        late = end is not None and time.time() >= end
        todo = {} if late else {key: path for key, path in paths.items() if key not in aside}
        scheduler = None if end is None or tick else self._scheduler(len(todo), end)
        # A budget may end before the last video.
        results = dict(zip(todo, self._predict(todo, tick, end, scheduler), strict=end is None))
        statuses: Counter[str] = Counter()
        with (work / ROWS).open("w", encoding="ascii") as file:
            for item in unit.items:
                result = results.get(item.key) or _given_up(item.key, *aside.get(item.key, SKIPPED))
                statuses[result.status] += 1
                file.write(json.dumps(to_values(result), separators=(",", ":")) + "\n")
        return Made({ROWS: work / ROWS}, statuses, [_told(change) for change in scheduler.history] if scheduler else ())

    def _scheduler(self, videos: int, end: float) -> BudgetScheduler:
        now = time.time()
        seconds = max(1e-3, end - now)
        if self.planner is None:
            self.planner = make_planner(self.pipeline, videos, seconds, 0.0, now)
        else:
            self.planner.go_on(now, seconds)
        return BudgetScheduler(self.planner)

    def _predict(
        self, todo: Mapping[str, Path], tick: Tick | None, end: float | None, scheduler: BudgetScheduler | None
    ) -> Iterator[VideoResult]:
        if tick is None:
            results = self.pipeline.run(list(todo.values()), scheduler)
            for (key, path), result in zip(todo.items(), results, strict=True):
                yield called(result, key, path)
            return
        for key, path in todo.items():
            if end is not None and time.time() >= end:
                return
            tick(key)
            yield called(next(self.pipeline.run([path])), key, path)


def _told(change: Change) -> dict[str, Any]:
    """A change of plan as the index of a unit has it."""
    plan = change.plan
    about = {
        "frames": plan.frames,
        "tolerance": plan.tolerance,
        "fallback": plan.fallback,
        "thorough": plan.thorough,
    }
    return {"seconds": round(change.seconds, 3), "left": change.left, **about}


def _given_up(key: str, status: str, reason: str) -> VideoResult:
    return VideoResult(key, status, PRIOR, reason)  # type: ignore[arg-type] # timed_out or crashed
