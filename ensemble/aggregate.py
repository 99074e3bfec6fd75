"""From logits of faces to one probability per video."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble.metrics import sigmoid

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class VideoVerdict:
    """What the faces of one video come to."""

    prob_fake: float  # not clipped
    people: tuple[tuple[int, int, float], ...]  # (person, faces seen, prob_fake), the most seen first


def mean_logit(logits: dict[str, Floats]) -> Floats:
    """The members' logits (N,) each, averaged face by face with equal weights."""
    if not logits:
        raise ValueError("no member has judged these faces")
    mean: Floats = np.mean([np.asarray(values, dtype=np.float64) for values in logits.values()], axis=0)
    return mean


def judge_video(logit: Floats, person: NDArray[np.intp], min_share: float = 0.25) -> VideoVerdict:
    """The mean of logits over each person's faces; the person most probably fake decides.

    logit: (N,) of each face. person: (N,) ids from 0. Somebody seen in fewer than `min_share` as many frames as the
    person most seen is listed but does not decide: a passer-by, or a false box. Raises ValueError without faces.
    """
    if not len(logit):
        raise ValueError("a video without faces has no verdict")
    ids, inverse, seen = np.unique(person, return_inverse=True, return_counts=True)
    mean = np.bincount(inverse, weights=logit) / seen
    decides = seen >= min_share * seen.max()
    order = np.lexsort((ids, -seen))
    people = tuple((int(ids[i]), int(seen[i]), float(sigmoid(mean[i]))) for i in order)
    return VideoVerdict(float(sigmoid(mean[decides].max())), people)


def clip(prob_fake: float, low: float = 0.01, high: float = 0.99) -> float:
    """Keep away from 0 and 1: one confident error costs 4.6 at 0.01 and 34.5 at the scorer's own bound."""
    return min(max(prob_fake, low), high)
