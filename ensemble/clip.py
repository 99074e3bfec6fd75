"""Where to clip: a bound is an insurance, and this is its premium."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble.metrics import Floats
from ensemble.truth import Truth

# No clip is wider than this, whatever the table shows: a table without a single sure error cannot price one. A clip
# tuned on 500 clean, sure videos lost .184 nats where 3 % of the fresh ones look like the other class, with this floor
# .151; .463 and .365 at 8 %; and .016 and .022 where none do (python benchmarks/tune.py clip --seeds 20).
FLOOR = 0.01
# 0.0001 to 0.2 in steps of a quarter: the scorer's own bound costs 34.5 for one confident error, 0.01 costs 4.6.
BOUNDS = tuple(sorted({FLOOR, *(float(f"{bound:.2g}") for bound in np.geomspace(1e-4, 0.2, 35))}))
# Of bounds that the worst fold cannot tell apart by more than this many nats the widest is taken: an error that it has
# not shown is dearer on the other side.
TOLERANCE = 1e-4
PREMIUM = (
    1e-3  # nats that the insurance may cost on the mean of all folds: one bad fold of few videos is no reason for more
)


@dataclass(frozen=True)
class ClipCurve:
    """The log loss of a blend for each bound, on both sides at once."""

    bound: tuple[float, ...]
    mean: tuple[float, ...]  # nats, classes half each, mean over folds
    worst: tuple[float, ...]  # of the fold that is worst without a clip
    one_error: tuple[float, ...]  # nats that one certain error costs: -log(bound)


def clip_curve(truth: Truth, prob_fake: Floats, fold: NDArray[np.int64]) -> ClipCurve:
    """Work out the log loss of a blend for each bound of BOUNDS.

    Args:
        truth: of V videos.
        prob_fake: (V,) of blends that were tuned without a video's fold.
        fold: (V,) the fold of each video.
    """
    worst = worst_fold(truth, prob_fake, fold)
    folds = np.unique(fold)
    losses = np.array([[_loss(truth, prob_fake, fold == k, b, 1 - b) for k in folds] for b in BOUNDS])
    at = int(np.flatnonzero(folds == worst)[0])
    return ClipCurve(
        BOUNDS,
        tuple(float(x) for x in losses.mean(axis=1)),
        tuple(float(x) for x in losses[:, at]),
        tuple(float(-np.log(b)) for b in BOUNDS),
    )


def worst_fold(truth: Truth, prob_fake: Floats, fold: NDArray[np.int64]) -> int:
    """Return the fold with the highest log loss before any clip."""
    folds = np.unique(fold)
    return int(folds[np.argmax([_loss(truth, prob_fake, fold == k, 0.0, 1.0) for k in folds])])


def choose_clip(truth: Truth, prob_fake: Floats, fold: NDArray[np.int64]) -> tuple[float, float]:
    """Choose the widest bounds that serve the worst fold as well as its best ones do; each side by itself.

    The mean over folds would choose bounds for the folds where nothing went wrong; the test set is none of them. It
    only says what is too dear: bounds that cost more than PREMIUM on all folds together are not considered. FLOOR
    bounds both sides: it insures against errors that no fold has shown.

    Args:
        truth: of V videos.
        prob_fake: (V,) of blends that were tuned without a video's fold.
        fold: (V,) the fold of each video.

    Returns:
        The lowest and the highest P(fake).
    """
    worst, every = fold == worst_fold(truth, prob_fake, fold), np.ones(len(fold), dtype=bool)

    def side(clip: Callable[[float], tuple[float, float]]) -> float:
        free = _loss(truth, prob_fake, every, 0.0, 1.0)
        allowed = [b for b in BOUNDS if _loss(truth, prob_fake, every, *clip(b)) <= free + PREMIUM] or [BOUNDS[0]]
        losses = [_loss(truth, prob_fake, worst, *clip(bound)) for bound in allowed]
        best = max(b for b, loss in zip(allowed, losses, strict=True) if loss <= min(losses) + TOLERANCE)
        return max(best, FLOOR)

    return side(lambda bound: (bound, 1.0)), round(1 - side(lambda bound: (0.0, 1 - bound)), 6)


def _loss(truth: Truth, prob_fake: Floats, rows: NDArray[np.bool_], low: float, high: float) -> float:
    return truth[rows].loss(np.clip(prob_fake[rows], low, high))
