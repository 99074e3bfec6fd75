"""Run the units of a plan through an engine: what `dfdc run-units` does between the plan and the merge.

The driver knows a few units at a time, however many there are. What is not done at its end is not done in the store
either, so that the same command goes on with it.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from tqdm import tqdm

from common.storage import StorageError
from scale.budget import Budget, UnitTime
from scale.store import Store, UnitReport
from scale.units import Unit

Ending = Literal["reported", "crashed", "lost"]
WINDOW = 2  # units under way for each slot: one that runs, and one that is there when it ends
LOST = 20  # times that a unit's machine may go away; spot machines do so, and the twentieth time is no chance any more
STORAGE_TRIES = 5  # at a unit whose storage does not answer
PAUSE = 1.0  # seconds before the second try; twice as long before each further one
LOOK = 1.0  # seconds between two looks at deadlines
NAMED = 10  # units that are not done, and that the summary names


@dataclass(frozen=True)
class Attempt:
    """A unit and how it is tried this time."""

    unit: Unit
    aside: dict[str, tuple[str, str]] = field(default_factory=dict)  # videos that are given up
    careful: bool = False  # its videos one by one, each noted before
    lost: int = 0  # times that its machine went away
    failed: int = 0  # times that the storage did not answer
    after: float = 0.0  # of the driver's clock: not before
    time: UnitTime | None = None  # that it may take, of a run with a budget


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended."""

    id: str  # of the unit
    ending: Ending
    report: UnitReport | None = None  # of one that reported
    reason: str = ""


class Engine(Protocol):
    """What runs units, a number of them at a time."""

    @property
    def slots(self) -> int:
        """Units that run at a time."""

    def submit(self, attempt: Attempt) -> None:
        """Begin an attempt, or queue it."""

    def poll(self, seconds: float) -> list[Outcome]:
        """Wait so long for attempts to end, and tell how those that did ended."""

    def cancel(self, unit_id: str) -> None:
        """End an attempt by force; nothing is told of it afterwards."""

    def close(self) -> None:
        """End everything."""


@dataclass
class RunSummary:
    """What a run did; `str` gives lines for people."""

    store: str
    units: int = 0  # done now or before
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    pending: int = 0
    over: bool = False  # the budget was used up before the last unit
    reasons: list[str] = field(default_factory=list)  # why some are pending

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in self.statuses.most_common())
        lines = [f"{self.store}: {self.units} units done in {self.seconds:.0f} s: {counts or 'no videos'}"]
        if self.pending:
            lines += [f"{self.pending} units are not done; the same command goes on with them:", *self.reasons]
        if self.over:
            lines.append("the budget was used up; the same command goes on with what is not done")
        return "\n".join(lines)


class Driver:
    """Keeps an engine busy."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        unit_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        bar: tqdm[Any] | None = None,
        budget: Budget | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            store: of the run.
            engine: runs the units.
            unit_seconds: that one unit may take.
            clock: gives seconds.
            bar: counts units.
            budget: ends the run in time; without one it takes as long as it takes.
        """
        self.store, self.engine, self.clock, self.bar, self.budget = store, engine, clock, bar, budget
        # A unit may have to wait for the one before it in its slot.
        self.limit = WINDOW * unit_seconds
        self.running: dict[str, tuple[Attempt, float]] = {}  # by unit, with their deadlines
        self.again: list[Attempt] = []
        self.summary = RunSummary(store.url)

    def run(self, units: Iterable[Unit]) -> RunSummary:
        """Run units until each is done or has to be left.

        Args:
            units: are asked for one by one, when there is room.

        Returns:
            What became of them.

        Raises:
            DfdcError: what a worker raises, such as one that does not fit the run.
        """
        began, waiting = self.clock(), iter(units)
        try:
            while self._fill(waiting):
                for outcome in self.engine.poll(LOOK):
                    attempt, _ = self.running.pop(outcome.id)
                    self._ended(attempt, outcome)
                self._cut_late()
                if self.budget is not None and self.budget.is_over():
                    self.summary.over, self.summary.pending = True, len(self.running) + len(self.again)
                    break
        finally:
            self.engine.close()
        self.summary.seconds = self.clock() - began
        return self.summary

    def _fill(self, waiting: Iterator[Unit]) -> bool:
        """Submit what there is room for; whether anything is under way or has to be tried again."""
        now = self.clock()
        for attempt in [attempt for attempt in self.again if attempt.after <= now]:
            self.again.remove(attempt)
            self._submit(attempt)
        # What waits to be tried again has its place in the window too: or a storage that is gone would fill the memory.
        while len(self.running) + len(self.again) < WINDOW * self.engine.slots:
            unit = next(waiting, None)
            if unit is None:
                break
            self._submit(Attempt(unit))
        return bool(self.running or self.again)

    def _submit(self, attempt: Attempt) -> None:
        if self.budget is not None:
            attempt = replace(attempt, time=self.budget.share(len(attempt.unit.items)))
        self.running[attempt.unit.id] = attempt, self.clock() + self.limit
        self.engine.submit(attempt)

    def _ended(self, attempt: Attempt, outcome: Outcome) -> None:
        if outcome.report is not None and outcome.report.done:
            self._done(attempt, outcome.report)
        elif outcome.report is not None:
            self._storage_failed(attempt, outcome.report.reason)
        elif outcome.ending == "lost":
            self._lost(attempt, outcome.reason)
        else:
            self._blame(attempt, "crashed", f"the process that worked on it {outcome.reason}")

    def _cut_late(self) -> None:
        now = self.clock()
        for attempt, due in list(self.running.values()):
            if now >= due:
                self.engine.cancel(attempt.unit.id)
                del self.running[attempt.unit.id]
                self._blame(attempt, "timed_out", "it did not end within its unit's limit (--unit-seconds)")

    def _blame(self, attempt: Attempt, status: str, reason: str) -> None:
        """A worker died or hung: find out on which video, by its videos one by one, and give that one up."""
        try:
            name = self.store.marked(attempt.unit) if attempt.careful else None
            self.store.unmark(attempt.unit)
        except StorageError as error:
            return self._storage_failed(attempt, str(error))
        if not attempt.careful:
            return self._again(replace(attempt, careful=True))
        if name is None or name in attempt.aside:  # it died before it began a video
            return self._lost(attempt, reason)
        self._say(f"{name}: {status}: {reason}")
        return self._again(replace(attempt, aside=attempt.aside | {name: (status, reason)}))

    def _lost(self, attempt: Attempt, reason: str) -> None:
        if attempt.lost + 1 >= LOST:
            self._leave(attempt, f"its machine went away {LOST} times: {reason}")
        else:
            self._again(replace(attempt, lost=attempt.lost + 1))

    def _storage_failed(self, attempt: Attempt, reason: str) -> None:
        """The storage may answer the next time. No video gets a result because of it."""
        if attempt.failed + 1 >= STORAGE_TRIES:
            self._leave(attempt, reason)
        else:
            pause = PAUSE * 2**attempt.failed
            self._again(replace(attempt, failed=attempt.failed + 1, after=self.clock() + pause))

    def _again(self, attempt: Attempt) -> None:
        self.again.append(attempt)

    def _done(self, attempt: Attempt, report: UnitReport) -> None:
        self.summary.units += 1
        self.summary.statuses.update(report.statuses)
        if self.budget is not None:
            self.budget.finished(len(attempt.unit.items))
        if attempt.careful:
            try:
                self.store.unmark(attempt.unit)
            except StorageError as error:
                self._say(f"unit {attempt.unit.number} is done, its mark stays: {error}")
        if self.bar is not None:
            self.bar.update()

    def _leave(self, attempt: Attempt, reason: str) -> None:
        self.summary.pending += 1
        if len(self.summary.reasons) < NAMED:
            self.summary.reasons.append(f"  unit {attempt.unit.number}: {reason}")

    def _say(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr)
