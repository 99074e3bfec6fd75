"""How the next video is predicted, and until when: `inference.schedule.planner` with a clock, or one plan for all."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from inference.result import VideoResult
from inference.schedule.duration import clock
from inference.schedule.planner import Planner, Spent
from inference.schedule.plans import Plan

EVERY = 60.0  # seconds between two lines in the log


@dataclass(frozen=True)
class Change:
    """From here on another plan."""

    seconds: float  # since the budget began to run
    left: int  # videos that were not started then
    plan: Plan

    def __str__(self) -> str:
        members = "all members" if self.plan.fallback == 0 else f"members of fallback {self.plan.fallback}"
        faces = f", faces to {self.plan.tolerance:g} of P(fake)" if self.plan.tolerance else ""
        look = "" if self.plan.thorough else ", first look for faces only"
        return f"{self.plan.frames} frames, {members}{faces}{look}"


class Scheduler(Protocol):
    """What a pipeline asks while it runs."""

    history: list[Change]  # of the plan; empty where there is one for all

    def jobs(self, paths: Sequence[Path]) -> Iterator[tuple[Path, int]]:
        """Each path with its frames, decided when it is asked for; ends early when time is up."""

    def plan_of(self, path: Path) -> Plan:
        """How a video that `jobs` gave is predicted."""

    def finished(self, path: Path, result: VideoResult) -> None:
        """A video is done."""

    def over(self) -> bool:
        """Whether what is not finished now must be left."""


class FixedScheduler:
    """Every video in the same way, however long it takes."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.history: list[Change] = []

    def jobs(self, paths: Sequence[Path]) -> Iterator[tuple[Path, int]]:
        return ((path, self.plan.frames) for path in paths)

    def plan_of(self, path: Path) -> Plan:
        return self.plan

    def finished(self, path: Path, result: VideoResult) -> None:
        pass

    def over(self) -> bool:
        return False


class BudgetScheduler:
    """As well as the time allows. A line in the log every minute; `history` keeps each change of plan."""

    def __init__(self, planner: Planner, now: Callable[[], float] = time.time) -> None:
        """now: the clock that the planner counts by. At its deadline everything that is not finished is left."""
        self.planner, self.stop, self.now, self.began = planner, planner.deadline, now, planner.started
        self._lock = threading.Lock()  # jobs are pulled in the decoders' threads
        self.history: list[Change] = []
        self._plans: dict[Path, Plan] = {}
        self._left = 0  # videos that are not started
        self._said = now()

    def jobs(self, paths: Sequence[Path]) -> Iterator[tuple[Path, int]]:
        for number, path in enumerate(paths):
            now, left = self.now(), len(paths) - number
            with self._lock:
                plan = None if now >= self.stop else self.planner.choose(now, left)
            if plan is None:
                return
            if not self.history or self.history[-1].plan != plan:
                self.history.append(Change(now - self.began, left, plan))
            self._plans[path], self._left = plan, left - 1
            yield path, plan.frames

    def plan_of(self, path: Path) -> Plan:
        return self._plans[path]

    def finished(self, path: Path, result: VideoResult) -> None:
        now, plan = self.now(), self._plans[path]
        with self._lock:
            self.planner.finished(now, spent_on(result, plan))
            today, forecast = self.planner.plan, self.planner.forecast(now, self._left)
        if now - self._said >= EVERY:
            self._said = now
            print(
                f"{self._left} videos to start, {Change(0, 0, today)}; finish expected in "
                f"{clock(forecast.finish - now)}, time ends in {clock(self.stop - now)}",
                file=sys.stderr,
                flush=True,
            )

    def over(self) -> bool:
        return self.now() >= self.stop


def spent_on(result: VideoResult, plan: Plan) -> Spent:
    """What a finished video took, as the planner counts it."""
    seconds = result.seconds
    cut = result.status in ("timed_out", "crashed", "unreadable")
    return Spent(plan, seconds.get("decode", 0.0), seconds.get("detect", 0.0), seconds.get("judge", 0.0), cut)
