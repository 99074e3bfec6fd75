"""Labelled videos as a study sees them: aggregated once per rule, scored by any blend, solved where that is convex."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ensemble.aggregate import PLAIN, Aggregation, aggregate_people, person_logits
from ensemble.convex import Mix, Space, best_mix, best_weights, objective
from ensemble.metrics import Floats
from ensemble.rules import FRAME_RULES, PEOPLE_RULES
from ensemble.table import Faces
from ensemble.truth import Rows, Truth

# Shares of the groups on which a trial is scored before the whole, so that a bad one ends early.
STEPS = (0.25, 1.0)


@dataclass(frozen=True)
class Structure:
    """What a study chooses besides numbers."""

    space: Space = "logit"
    aggregation: Aggregation = PLAIN


class Aggregates:
    """The videos' logits under every rule that anybody asks for, worked out once each."""

    def __init__(self, faces: Faces) -> None:
        self.faces = faces
        self.frames_differ = bool((np.diff(faces.layout.person_starts) > 1).any())
        self.people_differ = bool((np.diff(faces.layout.video_starts) > 1).any())
        rules = [sum(len(rule.values) or 1 for rule in kind.values()) for kind in (FRAME_RULES, PEOPLE_RULES)]
        differ = (self.frames_differ, self.people_differ)
        # How many structures there are to choose from, rules that make no difference left out.
        self.structures = 2 * int(np.prod([count for count, told in zip(rules, differ, strict=True) if told]))
        self._people = lru_cache(maxsize=24)(self._people_now)
        self.values = lru_cache(maxsize=64)(self._values_now)

    def _people_now(self, how: Aggregation) -> Floats:
        return person_logits(self.faces.logit, self.faces.layout, how)

    def _values_now(self, how: Aggregation) -> Floats:
        """(V, M) logits of videos."""
        people = self._people(Aggregation(how.frames, how.parameter))
        return aggregate_people(people, self.faces.layout, how)


class Problem:
    """Some of the labelled videos and of the members, as a study sees them."""

    def __init__(
        self, aggregates: Aggregates, ridge: float, rows: Rows | None = None, members: tuple[str, ...] | None = None
    ) -> None:
        faces = aggregates.faces
        self.aggregates, self.ridge = aggregates, ridge
        self.members = members or faces.members
        self.rows = np.arange(len(faces.filename)) if rows is None else rows
        self.truth = faces.known()[self.rows]
        self.parts = _parts(self.truth)
        self._cells = np.ix_(self.rows, np.array([faces.members.index(name) for name in self.members]))
        self.values = lru_cache(maxsize=16)(self._values_now)

    def _values_now(self, how: Aggregation) -> Floats:
        """(V, M) logits of these videos by these members."""
        return np.ascontiguousarray(self.aggregates.values(how)[self._cells])

    def loss(self, structure: Structure, mix: Mix, rows: Rows | None = None) -> float:
        """The objective on all of these videos, or on some of them."""
        values = self.values(structure.aggregation)
        if rows is None:
            return objective(values, self.truth, mix, structure.space, self.ridge)
        return objective(values[rows], self.truth[rows], mix, structure.space, self.ridge)

    def solve(self, structure: Structure, rows: Rows | None = None) -> Mix:
        """The best numbers of a structure: proven in logit space, the best of a local search elsewhere."""
        values = self.values(structure.aggregation)
        if rows is None:
            return best_mix(values, self.truth, structure.space, self.ridge)
        return best_mix(values[rows], self.truth[rows], structure.space, self.ridge)

    def certify(self, structure: Structure, at: Mix) -> Mix:
        """The best numbers known: those of `solve`, or if better the proven best weights at the temperature of `at`."""
        values = self.values(structure.aggregation)
        weights = best_weights(values, self.truth, structure.space, self.ridge, at)
        return min((self.solve(structure), weights), key=lambda mix: self.loss(structure, mix))


def _parts(truth: Truth) -> list[Rows]:
    """Rows of the first part of the groups, for every step but the last; none where a source or a class is missing."""
    names, inverse = np.unique(truth.group, return_inverse=True)
    rank = np.random.default_rng(0).permutation(len(names))[inverse]
    parts = [np.flatnonzero(rank < share * len(names)) for share in STEPS[:-1]]
    cell = _cell(truth)
    return [rows for rows in parts if len(np.unique(cell[rows])) == len(np.unique(cell))]


def _cell(truth: Truth) -> Rows:
    """Which class of which source each video belongs to, as a number."""
    place = {name: 2 * number for number, name in enumerate(truth.sources)}
    source = np.zeros(len(truth)) if truth.source is None else np.array([place[name] for name in truth.source])
    return np.asarray(source + truth.label, dtype=np.int64)
