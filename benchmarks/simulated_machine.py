"""A machine that does not exist, event by event: decoders that run ahead, one process that detects and scores.

It knows nothing of how the planner thinks: seconds are drawn per video, the machine's speed changes with the time.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from inference.journal import Journal
from inference.result import PRIOR, VideoResult
from inference.schedule.planner import Planner, Spent
from inference.schedule.plans import Plan
from inference.schedule.second_looks import SecondLooks

SCORED, CUT, SKIPPED = "scored", "cut", "skipped_by_budget"


@dataclass(frozen=True)
class Machine:
    """One scenario; seconds are at full speed."""

    videos: int = 4000
    budget: float = 9 * 3600.0
    reserve: float = 300.0
    workers: int = 2
    decode: float = 2.0  # a video at 32 frames
    decode_frames: float = 0.3  # share of it that goes with the frames
    detect: float = 0.02  # a frame
    score: float = 0.02  # a face, all members
    faces: float = 1.2  # a frame
    spread: float = 0.4  # lognormal, between videos
    hard: float = 0.01  # share of videos that the cascade looks at ten times as long
    drift: float = 0.1  # amplitude, natural logarithm
    slow_at: float = 1.0  # share of the budget when the machine slows down
    slow: float = 1.0  # that many times
    hang: float = 0.0  # share of videos
    hang_limit: float = 60.0  # seconds until a watchdog cuts one
    restarts: tuple[float, ...] = ()  # shares of the budget at which the process dies
    lost: float = 120.0  # seconds until it is back
    startup: float = 40.0  # imports and compiling
    contention: float = 0.0  # share of seconds added when the other side is busy
    ordered: bool = False  # videos are predicted in the order of their names
    gather: int = 64  # faces before the members run
    seed: int = 0


@dataclass
class Outcome:
    """How a simulated run went."""

    status: list[str]  # of each video
    plan_of: dict[int, Plan]  # of each video that was predicted: the one that its prediction is by
    finish: float = 0.0  # seconds since the start, the file written
    changes: int = 0
    stopped: int = 0  # videos under way for the first time when time was up
    again: int = 0  # second looks
    trace: list[tuple[float, int, float, float, float]] = field(default_factory=list)  # now, plan, finish, low, high

    @property
    def plans(self) -> list[Plan]:
        """The plans of the videos that were predicted."""
        return list(self.plan_of.values())


def simulate(machine: Machine, plans: tuple[Plan, ...], trace: bool = False, journal: Path | None = None) -> Outcome:
    """One run with the real planner, through all restarts. journal: file of a real one, which each attempt goes by."""
    outcome = Outcome([""] * machine.videos, {})
    draws = _Draws(machine)
    began = machine.startup
    for share in (*machine.restarts, math.inf):
        kept = _open(journal, outcome) if journal else None
        todo = deque(i for i, status in enumerate(outcome.status) if not status)
        planner = Planner(plans, len(todo), machine.budget, machine.reserve, 0.0, machine.workers)
        attempt = _Attempt(machine, draws, planner, outcome, todo, trace, kept)
        ended = attempt.run(began, share * machine.budget)
        outcome.changes += planner.changes
        if kept:
            kept.close()
        if ended < share * machine.budget:
            break
        began = ended + machine.lost + machine.startup
    outcome.finish = ended + draws.writing
    outcome.status = [status or SKIPPED for status in outcome.status]
    return outcome


def _open(path: Path, outcome: Outcome) -> Journal:
    """The journal as a process finds it that comes after one killed in the middle of a line; it alone is believed."""
    if path.exists():
        with path.open("ab") as file:
            file.write(b'0123abcd {"done": {"filename": "0')
    journal = Journal(path, {})
    statuses = [journal.results.get(str(i)) for i in range(len(outcome.status))]
    outcome.status = [(SCORED if known.status == "ok" else CUT) if known else "" for known in statuses]
    return journal


class _Draws:
    """What each video takes, and how fast the machine is."""

    def __init__(self, machine: Machine) -> None:
        random, count = np.random.default_rng(machine.seed), machine.videos

        def lognormal() -> np.ndarray:  # mean 1
            return random.lognormal(-(machine.spread**2) / 2, machine.spread, count)

        self.decode = (machine.decode * lognormal()).tolist()
        self.detect = (machine.detect * lognormal() * np.where(random.random(count) < machine.hard, 10, 1)).tolist()
        faces = np.minimum(random.poisson(max(0.0, machine.faces - 0.95), count) + (random.random(count) < 0.95), 6)
        self.faces = faces.tolist()
        self.score = (machine.score * lognormal()).tolist()
        self.hangs = (random.random(count) < machine.hang).tolist()
        self.phase, self.period = random.uniform(0, 2 * math.pi), random.uniform(2000, 40000)
        self.writing = random.uniform(2, 15)
        self._machine = machine

    def slow(self, now: float) -> float:
        """Seconds that a second of work takes."""
        later = self._machine.slow if now >= self._machine.slow_at * self._machine.budget else 1.0
        return later * math.exp(self._machine.drift * math.sin(2 * math.pi * now / self.period + self.phase))


class _Attempt:
    """One process, from its start until all is done, time is up or it dies."""

    def __init__(
        self,
        machine: Machine,
        draws: _Draws,
        planner: Planner,
        outcome: Outcome,
        todo: deque[int],
        trace: bool,
        journal: Journal | None,
    ) -> None:
        self.machine, self.draws, self.planner, self.outcome = machine, draws, planner, outcome
        self.todo, self.trace, self.journal = todo, trace, journal
        self.looks: SecondLooks[int] = SecondLooks(planner)
        self.events: list[tuple[float, int, str, int]] = []
        self.number = 0
        self.decoding = 0
        self.scoring = False
        self.open = True  # the planner still starts videos
        self.order: deque[int] = deque()  # started and not yet with the scorer
        self.ready: deque[int] = deque()  # decoded, as they came
        self.decoded: set[int] = set()
        self.gathered: list[int] = []
        self.batch: list[int] = []
        self.plan: dict[int, Plan] = {}
        self.took: dict[int, list[float]] = {}  # decode, detect

    def run(self, now: float, dies: float) -> float:
        """Seconds since the start when it ended; `dies` when it died."""
        deadline = self.planner.deadline
        self._start(now)
        while self.events:
            then, _, kind, video = self.events[0]
            if then >= min(dies, deadline):
                return dies if dies < deadline else self._stop(now)
            heapq.heappop(self.events)
            now = then
            getattr(self, f"_{kind}")(now, video)
            self._start(now)
            self._next(now)
        return now

    def _stop(self, now: float) -> float:
        """Time is up. A call into the networks cannot be broken off: the file waits for it."""
        running = [then for then, _, kind, _ in self.events if kind != "decode_done"]
        self.outcome.stopped += sum(not self.outcome.status[video] for video in self.plan)
        return max([self.planner.deadline, *running])

    def _later(self, when: float, kind: str, video: int) -> None:
        self.number += 1  # ties in the order they came
        heapq.heappush(self.events, (when, self.number, kind, video))

    def _start(self, now: float) -> None:
        """Give each free decoder a video, at most one more than there are decoders waiting for the scorer."""
        while self.open and self.decoding < self.machine.workers and len(self.order) <= self.machine.workers:
            video, plan = self._next_video(now)
            if plan is None:
                self.open = False
                return
            if self.trace and (len(self.todo) % 20 == 0 or len(self.todo) < 20):
                told = self.planner.forecast(now, len(self.todo), plan)
                rank = self.planner.plans.index(plan)
                self.outcome.trace.append((now, rank, told.finish, told.low, told.high))
            self.plan[video] = plan
            share = self.machine.decode_frames
            seconds = self.draws.decode[video] * (1 - share + share * plan.frames / 32) * self.draws.slow(now)
            seconds *= 1 + self.machine.contention * self.scoring
            if self.draws.hangs[video]:
                seconds = self.machine.hang_limit
            self.took[video] = [seconds]
            self.order.append(video)
            self.decoding += 1
            self._later(now + seconds, "decode_done", video)

    def _next_video(self, now: float) -> tuple[int, Plan | None]:
        """The next video and its plan: one that nobody has looked at, then one for a second look."""
        if self.todo:
            plan = self.planner.choose(now, len(self.todo))
            return (-1, None) if plan is None else (self.todo.popleft(), plan)
        again = self.looks.next(now)
        self.outcome.again += again is not None
        return again or (-1, None)

    def _decode_done(self, now: float, video: int) -> None:
        self.decoding -= 1
        self.ready.append(video)
        self.decoded.add(video)

    def _next(self, now: float) -> None:
        """Give the scorer its next work."""
        while not self.scoring:
            video = self.order[0] if self.machine.ordered and self.order else self.ready[0] if self.ready else None
            if video is not None and video in self.decoded:
                self.order.remove(video)
                self.ready.remove(video)
                self.decoded.remove(video)
                self._take(now, video)
            elif self.gathered and not self.order:
                self._members(now)  # nothing more comes
            else:
                return
            self._start(now)

    def _take(self, now: float, video: int) -> None:
        if self.journal:
            self.journal.begin(str(video))
        if self.draws.hangs[video]:
            self._end(now, video, CUT, 0.0)
            return
        plan = self.plan[video]
        seconds = self.draws.detect[video] * plan.frames * (1 if plan.thorough else 0.6)
        seconds *= self.draws.slow(now) * (1 + self.machine.contention * self.decoding / self.machine.workers)
        self.took[video].append(seconds)
        self.scoring = True
        self._later(now + seconds, "detect_done", video)

    def _detect_done(self, now: float, video: int) -> None:
        self.scoring = False
        self.gathered.append(video)
        if sum(self.draws.faces[i] * self.plan[i].frames for i in self.gathered) >= self.machine.gather:
            self._members(now)

    def _members(self, now: float) -> None:
        self.batch, self.gathered = self.gathered, []
        slow = self.draws.slow(now) * (1 + self.machine.contention * self.decoding / self.machine.workers)
        for i in self.batch:
            plan = self.plan[i]
            self.took[i].append(self.draws.score[i] * self.draws.faces[i] * plan.frames * plan.members * slow)
        self.scoring = True
        self._later(now + sum(self.took[i][2] for i in self.batch), "members_done", 0)

    def _members_done(self, now: float, _: int) -> None:
        self.scoring = False
        for i in self.batch:
            self._end(now, i, SCORED, self.took[i][2])

    def _end(self, now: float, video: int, status: str, score: float) -> None:
        plan, took = self.plan.pop(video), self.took.pop(video)
        self.outcome.status[video] = status
        if self.journal:
            self.journal.add(VideoResult(str(video), "ok" if status == SCORED else "timed_out", PRIOR), 0)
        if status == SCORED:
            self.outcome.plan_of[video] = plan
            self.looks.finished(video, plan, self.draws.faces[video] > 0)
        spent = Spent(plan, took[0], took[1] if len(took) > 1 else 0.0, score, cut=status == CUT)
        self.planner.finished(now, spent)
