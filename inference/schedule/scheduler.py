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
from inference.schedule.second_looks import SecondLooks

EVERY = 60.0  # seconds between two lines in the log


@dataclass(frozen=True)
class Change:
    """From here on another plan."""

    seconds: float  # since the budget began to run
    left: int  # videos that were not started then
    plan: Plan
    again: bool = False  # for videos that are predicted a second time

    def __str__(self) -> str:
        members = "all members" if self.plan.fallback == 0 else f"members of fallback {self.plan.fallback}"
        faces = f", faces to {self.plan.tolerance:g} of P(fake)" if self.plan.tolerance else ""
        look = "" if self.plan.thorough else ", first look for faces only"
        return f"{'second looks: ' if self.again else ''}{self.plan.frames} frames, {members}{faces}{look}"


class Scheduler(Protocol):
    """What a pipeline asks while it runs."""

    history: list[Change]  # of the plan; empty where there is one for all

    def jobs(self, paths: Sequence[Path]) -> Iterator[tuple[Path, int]]:
        """Each path with its frames, decided when it is asked for; ends early when time is up.

        A path may come a second time, after it is finished: its video is predicted again, by a better plan.
        """

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

    def __init__(self, planner: Planner, now: Callable[[], float] = time.time, again: bool = False) -> None:
        """Make the scheduler of one run.

        Args:
            planner: of the run. At its deadline everything that is not finished is left.
            now: the clock that the planner counts by.
            again: time that is left when all videos were started goes to those that had a cheaper plan than need be.
        """
        self._looks: SecondLooks[Path] | None = SecondLooks(planner) if again else None
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
            self._note(Change(now - self.began, left, plan))
            self._plans[path], self._left = plan, left - 1
            yield path, plan.frames
        while (again := self._next_look()) is not None:
            self._plans[again[0]] = again[1]
            yield again[0], again[1].frames

    def _next_look(self) -> tuple[Path, Plan] | None:
        """The next video that is predicted again, and how."""
        now = self.now()
        if self._looks is None or now >= self.stop:
            return None
        with self._lock:
            again = self._looks.next(now)
        if again is not None:
            self._note(Change(now - self.began, 0, again[1], again=True))
        return again

    def _note(self, change: Change) -> None:
        if not self.history or (self.history[-1].plan, self.history[-1].again) != (change.plan, change.again):
            self.history.append(change)

    def plan_of(self, path: Path) -> Plan:
        return self._plans[path]

    def finished(self, path: Path, result: VideoResult) -> None:
        now, plan = self.now(), self._plans[path]
        with self._lock:
            self.planner.finished(now, spent_on(result, plan))
            if self._looks is not None and result.status in ("ok", "no_face"):
                self._looks.finished(path, plan, result.status == "ok")
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
