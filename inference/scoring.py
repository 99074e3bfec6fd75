"""Which faces of a video the members score: a part of them first, and the rest only where that could change the answer.

The faces of one person in one video say much the same. A quarter of them, evenly spread, is a systematic sample of all,
and the spread of their logits says how far the mean of all may lie from theirs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from ensemble.aggregate import Aggregation
from ensemble.blend import Blend
from faces.crop import Image
from inference.result import face_pixels_of
from inference.work import VideoWork
from models.backend import LoadedMember

Indices = NDArray[np.intp]
Floats = NDArray[np.float64]

# Every fourth face is scored first, then every second, then all.
STRIDES = (4, 2, 1)
# Probabilities between which a logit is finite and exact enough.
FINITE = (1e-12, 1 - 1e-12)
# Faces of a person without which nothing is left out: the spread of fewer than five logits says little.
LEAST = 20


@dataclass(frozen=True)
class Scored:
    """What the members say of the faces of one video that they have scored."""

    faces: Indices  # (K,) of the faces of the video, rising
    logits: Mapping[str, Floats]  # member -> (K,)


def score_faces(
    waiting: Sequence[VideoWork], members: Sequence[LoadedMember], blend: Blend, tolerance: float
) -> list[Scored]:
    """Let the members score the faces of some videos, those of all videos in one batch.

    Args:
        waiting: the videos; those without faces get an empty answer.
        members: of the blend.
        blend: makes a probability of their logits.
        tolerance: a video is done when its P(fake) has no larger standard error than this, against what all of its
            faces would give; 0 scores all.

    Returns:
        One for each video.
    """
    rounds = [_rounds(work, blend, tolerance) for work in waiting]
    logits = [{loaded.card.name: np.full(len(work.faces), np.nan) for loaded in members} for work in waiting]
    done = [np.empty(0, dtype=np.intp) for _ in waiting]
    going_on = [number for number, work in enumerate(waiting) if work.faces]
    while going_on:
        now = [rounds[number].pop(0) for number in going_on]
        for loaded in members:
            crops: list[Image] = []
            for number, faces in zip(going_on, now, strict=True):
                crops += [waiting[number].crops[loaded.card.crop][face] for face in faces]
            parts = np.split(loaded.logits(crops), np.cumsum([len(faces) for faces in now])[:-1])
            for number, faces, values in zip(going_on, now, parts, strict=True):
                logits[number][loaded.card.name][faces] = values
        for number, faces in zip(going_on, now, strict=True):
            done[number] = np.union1d(done[number], faces)
        going_on = [
            number
            for number in going_on
            if rounds[number] and standard_error(blend, waiting[number], done[number], logits[number]) > tolerance
        ]
    return [
        Scored(faces, {name: values[faces] for name, values in mine.items()})
        for faces, mine in zip(done, logits, strict=True)
    ]


def _rounds(work: VideoWork, blend: Blend, tolerance: float) -> list[Indices]:
    """The faces to score together, one round after the other; all in one where an early end is not possible."""
    person = np.array([face.person for face in work.faces], dtype=np.intp)
    # The error of other rules than the mean of logits is not that of a mean, and mirrored faces are every other one.
    plain = blend.aggregation.frames == "mean" and blend.space == "logit" and not blend.mirror
    most = int(np.bincount(person).max(initial=0))
    # Where a single face of few makes somebody count, no part of a passer-by's faces is small enough.
    distinct = math.ceil(most / STRIDES[0]) * blend.aggregation.min_share > 1 or len(set(person)) == 1
    if tolerance <= 0 or not plain or most < LEAST or not distinct:
        return [np.arange(len(person))]
    rounds: list[Indices] = []
    before = np.empty(0, dtype=np.intp)
    for stride in STRIDES:
        chosen = np.flatnonzero(spread(person, stride, blend.aggregation))
        rounds.append(np.setdiff1d(chosen, before))
        before = np.union1d(before, chosen)
    return rounds


def spread(person: Indices, stride: int, how: Aggregation) -> NDArray[np.bool_]:
    """Choose every so-many-th face of each person.

    Args:
        person: (N,) of each face, in the order of time.
        stride: 1 chooses all.
        how: its `min_share` decides who counts. Those who count by all faces do so by the chosen ones, nobody else.

    Returns:
        (N,) whether the face is chosen; at least one of each person is.
    """
    chosen = np.zeros(len(person), dtype=bool)
    counts = np.bincount(person)
    most = math.ceil(counts.max() / stride)
    passer_by = max(1, math.ceil(most * how.min_share) - 1)  # the most faces by which one does not count
    for who in np.flatnonzero(counts):
        mine = np.flatnonzero(person == who)[::stride]
        counts_by_all = counts[who] >= how.min_share * counts.max()
        chosen[mine if counts_by_all or stride == 1 else mine[:passer_by]] = True
    return chosen


def standard_error(blend: Blend, work: VideoWork, scored: Indices, logits: Mapping[str, Floats]) -> float:
    """The standard error of P(fake) by the faces that are scored, against P(fake) by all of them.

    The mean of k of n values without replacement has the standard error s / sqrt(k) * sqrt((n - k) / (n - 1)) (Cochran,
    Sampling Techniques, 1977, section 2.6). It is taken for each person's blended logits; the largest of those who
    count stands for the video. What lies outside the blend's clip moves nothing.

    Args:
        blend: of the members.
        work: the video with all of its faces.
        scored: (K,) indices of the faces that are scored, rising.
        logits: member -> (N,) of all faces, NaN of those that are not scored.

    Returns:
        From 0 to 0.5; 0.5 where somebody who counts has too few scored faces to tell.
    """
    person = np.array([face.person for face in work.faces], dtype=np.intp)
    counts = np.bincount(person)
    pixels = face_pixels_of([work.faces[face] for face in scored])
    verdict = blend.predict({name: values[scored] for name, values in logits.items()}, person[scored], pixels)
    single = logit(np.clip(verdict.faces, *FINITE))
    largest = 0.0
    for who in np.flatnonzero(counts >= blend.aggregation.min_share * counts.max()):
        values, n = single[person[scored] == who], int(counts[who])
        k = len(values)
        if k < min(n, LEAST // STRIDES[0]):
            return 0.5
        if k < n:
            largest = max(largest, values.std(ddof=1) / math.sqrt(k) * math.sqrt((n - k) / (n - 1)))
    middle = logit(np.clip(verdict.free, *FINITE))
    low, high = np.clip(expit([middle - largest, middle + largest]), *blend.clip)
    return float(high - low) / 2
