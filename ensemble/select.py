"""Which members, and how many frames, under limits of bytes and of seconds per video."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ensemble.convex import objective, optimum
from ensemble.folds import INNER, best_of, cross_fitted, group_folds
from ensemble.metrics import Floats, sigmoid
from ensemble.sections import Section
from ensemble.truth import Truth

EXACT = 12  # members: up to 4,095 subsets are all tried; of more members they are added one by one


@dataclass(frozen=True)
class Cost:
    """What a member costs."""

    bytes: int  # of its weights
    seconds: float  # per crop


@dataclass(frozen=True)
class Limits:
    """What a kernel may use, and what it uses before any member sees a crop."""

    bytes: int = 1_000_000_000  # external data of the competition
    seconds: float = 8.1  # per video: 9 h for 4,000 videos
    frames: int = 32  # scored per video
    fixed: float = 0.0  # seconds per video whatever the frames: decoding
    per_frame: float = 0.0  # seconds per frame: finding faces

    def __post_init__(self) -> None:
        if self.bytes <= 0 or self.seconds <= 0 or self.frames < 1 or self.fixed < 0 or self.per_frame < 0:
            raise ValueError(f"limits must be above 0 and costs not below: {self}")


COMPETITION = Limits()


@dataclass(frozen=True)
class Candidate:
    """A subset of the members, what it costs, and its validated log loss."""

    members: tuple[str, ...]
    frames: int
    bytes: int
    seconds: float  # per video
    allowed: bool  # by the limits
    log_loss: float  # on folds it was not fitted on, classes half each


@dataclass(frozen=True)
class Selection:
    """The subsets that were tried."""

    candidates: tuple[Candidate, ...]  # best first
    exact: bool  # all subsets were tried
    gap: float | None  # nats, where not all were: no subset's loss is lower by more than this where it was fitted
    cut: bool = False  # the time was up before all subsets were tried, though they were few enough

    @property
    def best(self) -> Candidate:
        """The best that the limits allow; ValueError where they allow none."""
        allowed = [candidate for candidate in self.candidates if candidate.allowed]
        if not allowed:
            least = min(self.candidates, key=lambda c: (c.seconds, c.bytes))
            raise ValueError(
                f"no member fits: {least.members[0]!r} alone takes {least.bytes} bytes and {least.seconds:.2f} s a "
                f"video at {least.frames} frames; raise --limit-bytes or --limit-seconds"
            )
        return allowed[0]

    def frontier(self, cost: Callable[[Candidate], float]) -> list[Candidate]:
        """The subsets than which no cheaper one is better, from the cheapest on."""
        line: list[Candidate] = []
        for candidate in sorted(self.candidates, key=lambda c: (cost(c), c.log_loss)):
            if not line or candidate.log_loss < line[-1].log_loss:
                line.append(candidate)
        return line


class Search:
    """Subsets of members on labelled videos, each scored once."""

    def __init__(
        self,
        values: Mapping[int, Floats],
        truth: Truth,
        members: Sequence[str],
        limits: Limits,
        costs: Mapping[str, Cost],
        ridge: float,
        seed: int,
    ) -> None:
        """values: frames per video -> (V, M) logits of videos."""
        if lacking := [name for name in members if name not in costs]:
            raise ValueError(f"the cost of member {lacking[0]!r} is not known; give --members with its card")
        self.values, self.truth, self.members = values, truth, tuple(members)
        self.limits, self.costs, self.ridge = limits, costs, ridge
        self.folds = group_folds(truth, INNER, seed)

    def fits(self, chosen: Sequence[int], frames: int) -> bool:
        """Whether the limits allow these members."""
        return self._bytes(chosen) <= self.limits.bytes and self._seconds(chosen, frames) <= self.limits.seconds

    def score(self, chosen: Sequence[int], frames: int) -> Candidate:
        """Score these members on folds that they were not fitted on."""
        values = self.values[frames][:, list(chosen)]
        logit = cross_fitted(values, self.truth, best_of(self.ridge), self.folds)
        return Candidate(
            tuple(self.members[i] for i in chosen),
            frames,
            self._bytes(chosen),
            self._seconds(chosen, frames),
            self.fits(chosen, frames),
            self.truth.loss(sigmoid(logit)),
        )

    def run(self, section: Section | None = None) -> Selection:
        """Try all subsets, or with more than EXACT members those on the greedy way, until the time is up."""
        section, found, few = section or Section(), [], len(self.members) <= EXACT
        for frames in sorted(self.values, reverse=True):
            found += (self._all if few else self._greedy)(frames, section)
        exact = few and len(found) == len(self.values) * (2 ** len(self.members) - 1)
        ranked = tuple(sorted(found, key=lambda c: (not np.isfinite(c.log_loss), c.log_loss, c.seconds, c.members)))
        gap = None if exact else self._gap(Selection(ranked, exact, None).best)
        return Selection(ranked, exact, gap, few and not exact)

    def _all(self, frames: int, section: Section) -> list[Candidate]:
        """Every subset, small ones first; the single members are tried whatever the time."""
        every = range(len(self.members))
        subsets = [chosen for size in range(1, len(every) + 1) for chosen in combinations(every, size)]
        tried: list[Candidate] = []
        for chosen in subsets:
            told = f"{len(tried)} of {len(subsets)} subsets were tried at {frames} frames"
            if len(chosen) > 1 and section.over(told):
                break
            tried.append(self.score(chosen, frames))
        return tried

    def _greedy(self, frames: int, section: Section) -> list[Candidate]:
        """Add the member that helps most as long as one fits and helps."""
        chosen: list[int] = []
        way: list[Candidate] = []
        while True:
            if way and section.over(f"members were added up to {len(chosen)} at {frames} frames"):
                return way
            rest = [i for i in range(len(self.members)) if i not in chosen]
            tried = [
                self.score(sorted([*chosen, i]), frames) for i in rest if self.fits([*chosen, i], frames) or not way
            ]
            if not tried:
                return way
            best = min(tried, key=lambda c: (not c.allowed, c.log_loss))
            if way and best.log_loss >= way[-1].log_loss:
                return way
            way.append(best)
            chosen = [self.members.index(name) for name in best.members]

    def _gap(self, best: Candidate) -> float:
        """How far the best is, where it is fitted, above all members together: no subset can be lower than those."""
        mine = self.values[best.frames][:, [self.members.index(name) for name in best.members]]
        least = min(self._fitted_loss(values) for values in self.values.values())
        return max(0.0, self._fitted_loss(mine) - least)

    def _fitted_loss(self, values: Floats) -> float:
        return objective(values, self.truth, optimum(values, self.truth, 0.0), "logit", 0.0)

    def _bytes(self, chosen: Sequence[int]) -> int:
        return sum(self.costs[self.members[i]].bytes for i in chosen)

    def _seconds(self, chosen: Sequence[int], frames: int) -> float:
        per_frame = self.limits.per_frame + sum(self.costs[self.members[i]].seconds for i in chosen)
        return self.limits.fixed + frames * per_frame


def frame_counts(most: int, limit: int) -> list[int]:
    """Frames per video to try: as many as are scored, a half, a quarter, an eighth; `limit` where a video has one."""
    top = min(most, limit)
    return [limit] if most == 1 else sorted({max(1, top // part) for part in (1, 2, 4, 8)})


def best_subset(search: Search, section: Section | None = None) -> Candidate:
    """All members on the most frames where the limits allow that, and else the best of what they allow.

    Members that fit are not picked over here: weights do that, and shrink.
    """
    everybody, frames = tuple(range(len(search.members))), max(search.values)
    if search.fits(everybody, frames):
        return search.score(everybody, frames)
    return search.run(section).best
