"""From logits of faces to one logit per video and member, and what they say of each person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble.metrics import Floats
from ensemble.rules import FRAME_RULES, PEOPLE_RULES, bind

Counts = NDArray[np.int64]

CHUNK = 4_000_000  # values worked on at a time: what aggregation needs beside the table stays under 100 MB


@dataclass(frozen=True)
class Aggregation:
    """How the faces of a video become one logit, for each member by itself."""

    frames: str = "mean"  # rule over the faces of one person: a name in ensemble.rules
    parameter: float | None = None  # of that rule
    people: str = "most_fake"  # rule over the people of a video
    # Somebody seen in fewer than this share of the frames of the person most seen does not count: a passer-by, or a
    # false box.
    min_share: float = 0.25

    def __post_init__(self) -> None:
        bind(FRAME_RULES, self.frames, self.parameter)
        bind(PEOPLE_RULES, self.people, None)
        if not 0 <= self.min_share <= 1:
            raise ValueError(f"min_share {self.min_share} is a share from 0 to 1")

    def __str__(self) -> str:
        rule = FRAME_RULES[self.frames]
        value = f" ({rule.parameter} {self.parameter:g})" if self.parameter is not None else ""
        return f"{self.frames}{value} over faces, {self.people} over people"


PLAIN = Aggregation()


@dataclass(frozen=True)
class Layout:
    """Which faces are whose: faces lie by video, then person, then frame."""

    person_starts: Counts  # (P + 1,) person p has the faces person_starts[p] : person_starts[p + 1]
    video_starts: Counts  # (V + 1,) video v has the people video_starts[v] : video_starts[v + 1]

    @classmethod
    def of(cls, video: Counts, person: Counts) -> Layout:
        """From the video and the person of each face (N,), sorted by both; ValueError without faces or unsorted."""
        if not len(video):
            raise ValueError("a video without faces has no verdict")
        new_video = np.diff(video, prepend=video[0] - 1) != 0
        new_person = new_video | (np.diff(person, prepend=person[0] - 1) != 0)
        if (np.diff(video) < 0).any() or ((np.diff(person) < 0) & ~new_video[1:]).any():
            raise ValueError("faces must be sorted by video and person")
        person_starts = np.flatnonzero(new_person)
        video_starts = np.searchsorted(person_starts, np.flatnonzero(new_video))
        return cls(np.append(person_starts, len(video)), np.append(video_starts, len(person_starts)))


def aggregate(logit: NDArray[np.floating], layout: Layout, how: Aggregation) -> Floats:
    """(N, M) logits of faces -> (V, M) logits of videos, each member by itself."""
    return aggregate_people(person_logits(logit, layout, how), layout, how)


def person_logits(logit: NDArray[np.floating], layout: Layout, how: Aggregation) -> Floats:
    """(N, M) logits of faces -> (P, M) logits of people, by the rule over faces."""
    rule = bind(FRAME_RULES, how.frames, how.parameter)
    return _by_length(layout.person_starts, logit.shape[1], lambda rows: rule(_block(logit, rows)))


def aggregate_people(people: Floats, layout: Layout, how: Aggregation) -> Floats:
    """(P, M) logits of people -> (V, M) logits of videos, by the rule over those who count."""
    rule = bind(PEOPLE_RULES, how.people, None)
    frames = np.diff(layout.person_starts)
    starts = layout.video_starts
    most = np.maximum.reduceat(frames, starts[:-1])
    counts = frames >= how.min_share * np.repeat(most, np.diff(starts))
    people, frames = people[counts], frames[counts]
    starts = np.append(0, np.cumsum(np.add.reduceat(counts, starts[:-1], dtype=np.int64)))
    return _by_length(starts, people.shape[1], lambda rows: rule(_block(people, rows), frames[rows].astype(np.float64)))


def _by_length(starts: Counts, members: int, rule: Callable[[Counts], Floats]) -> Floats:
    """Apply `rule` to segments of equal length together: numpy's speed with any number of faces per person.

    starts: (S + 1,). rule: (B, L) indices of B segments of length L -> (B, M). Returns (S, M).
    """
    length = np.diff(starts)
    out = np.empty((len(length), members))
    for size in np.unique(length):
        mine = np.flatnonzero(length == size)
        step = max(1, CHUNK // int(size * members))
        for piece in (mine[i : i + step] for i in range(0, len(mine), step)):
            out[piece] = rule(starts[piece][:, None] + np.arange(size))
    return out


def _block(values: NDArray[np.floating], rows: Counts) -> Floats:
    """(B, L) rows of (N, M) values -> (B, L, M) in float64; a plain slice where the rows lie side by side."""
    first, last = rows[0, 0], rows[-1, -1] + 1
    if last - first == rows.size:
        return values[first:last].reshape(*rows.shape, -1).astype(np.float64)
    return values[rows].astype(np.float64)
