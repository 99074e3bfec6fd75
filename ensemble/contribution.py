"""What each member contributes to a blend, where members disagree, and whether probabilities are calibrated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble.blend import FallbackEnsemble
from ensemble.folds import OUTER, Fit, best_of, cross_fitted, group_folds
from ensemble.metrics import (
    Estimate,
    Floats,
    Names,
    accuracy,
    auc,
    calibration_error,
    log_loss_balanced,
    sigmoid,
)
from ensemble.sections import Section
from ensemble.select import EXACT, Cost
from ensemble.truth import Rows, Truth
from ensemble.validate import compare

BINS = 10  # of the reliability diagram
SHOWN = 15  # videos on which members disagree most


@dataclass(frozen=True)
class Single:
    """One member by itself."""

    auc: float
    log_loss: float  # as it is, nats, classes half each
    calibrated: float  # with a scale and a shift fitted on other folds
    missed: Estimate | None  # what the blend loses without it: below 0 the blend is better off; None for the only one


@dataclass(frozen=True)
class Disagreement:
    """A video of which members say different things."""

    filename: str
    label: str
    prob_fake: float  # of the blend, by folds that it was not fitted on
    of: dict[str, float]  # member -> its calibrated P(fake)


@dataclass(frozen=True)
class Reliability:
    """What share of videos are fake where so much was said."""

    said: tuple[float, ...]  # mean P(fake) of each bin that is not empty
    fake: tuple[float, ...]  # share of fakes in it, classes weighted half each
    size: tuple[int, ...]  # videos
    error: float  # expected calibration error, classes weighted half each


@dataclass(frozen=True)
class Slice:
    """The blend on the videos of one degradation."""

    name: str
    videos: int
    log_loss: float
    auc: float
    accuracy: float
    missed: int  # fakes called real
    accused: int  # reals called fake


@dataclass(frozen=True)
class Contributions:
    """All that is measured of members and of the blend that ships."""

    singles: dict[str, Single]
    correlation: NDArray[np.float64]  # (M, M) of logits
    disagreements: tuple[Disagreement, ...]
    before: Reliability  # equal weights, not calibrated
    after: Reliability  # the blend that ships, by folds that it was not fitted on
    slices: tuple[Slice, ...]  # empty where the table names no degradation


def measure_contributions(
    members: tuple[str, ...],
    values: Floats,
    truth: Truth,
    filename: Names,
    fit: Fit,
    seed: int,
    before: Floats,
    after: Floats,
    section: Section | None = None,
) -> Contributions:
    """Measure members one by one, and what the blend loses without each.

    Args:
        members: M names.
        values: (V, M) logits of videos.
        truth: of the V videos.
        filename: (V,) their names.
        fit: how the blend that ships is fitted.
        seed: of the folds.
        before: (V,) P(fake) of equal weights that are not calibrated.
        after: (V,) P(fake) of the blend that ships.
        section: where its time is up, what the blend loses without a member is known of the first members only: those
            of the most weight come first.
    """
    folds = group_folds(truth, OUTER, seed)
    alone = {m: cross_fitted(values[:, [i]], truth, best_of(0.0), folds) for i, m in enumerate(members)}
    missed = _missed(members, values, truth, fit, folds, section or Section())
    singles = {
        m: Single(
            auc(truth.label, values[:, i], truth.weight),
            truth.loss(sigmoid(values[:, i])),
            truth.loss(sigmoid(alone[m])),
            missed.get(m),
        )
        for i, m in enumerate(members)
    }
    return Contributions(
        singles,
        np.atleast_2d(np.corrcoef(values, rowvar=False)),
        _disagreements(alone, truth, filename, after),
        reliability(truth, before),
        reliability(truth, after),
        _slices(truth, after),
    )


def _missed(
    members: tuple[str, ...],
    values: Floats,
    truth: Truth,
    fit: Fit,
    folds: list[tuple[Rows, Rows]],
    section: Section,
) -> dict[str, Estimate]:
    """Leave one out: the loss without a member minus the loss with all, paired, with its interval; heavy ones first."""
    if len(members) < 2:
        return {}

    def blended(columns: list[int]) -> Floats:
        return sigmoid(cross_fitted(values[:, columns], truth, fit, folds))

    every = range(len(members))
    prob: dict[str, Floats] = {}
    for own in np.argsort(-fit(values, truth).weights, kind="stable"):
        if section.over(f"what the blend loses without a member is known of {len(prob)} of {len(members)}"):
            break
        prob[members[own]] = blended([i for i in every if i != own])
    losses = compare(truth, {**prob, "": blended([*every])}, [(name, "") for name in prob])
    return {name: losses.difference[name, ""] for name in prob}


def _disagreements(
    alone: Mapping[str, Floats], truth: Truth, filename: Names, blended: Floats
) -> tuple[Disagreement, ...]:
    spread = np.std(list(alone.values()), axis=0)
    worst = np.argsort(-spread, kind="stable")[: SHOWN if len(alone) > 1 else 0]
    return tuple(
        Disagreement(
            str(filename[v]),
            "FAKE" if truth.label[v] else "REAL",
            float(blended[v]),
            {m: float(sigmoid(logit[v])) for m, logit in alone.items()},
        )
        for v in worst
    )


def reliability(truth: Truth, prob_fake: Floats) -> Reliability:
    """Bins of equal width, both classes weighted half, or the share of fakes would be the data's."""
    fake = truth.label > 0.5
    weight = truth.weight
    index = np.minimum((prob_fake * BINS).astype(int), BINS - 1)
    total = np.bincount(index, weight, BINS)
    filled = total > 0
    said = np.bincount(index, weight * prob_fake, BINS)[filled] / total[filled]
    share = np.bincount(index, weight * fake, BINS)[filled] / total[filled]
    size = np.bincount(index, minlength=BINS)[filled]
    error = calibration_error(truth.label, prob_fake, weight=weight)
    return Reliability(tuple(said.tolist()), tuple(share.tolist()), tuple(size.tolist()), error)


def _slices(truth: Truth, prob_fake: Floats) -> tuple[Slice, ...]:
    if truth.degradation is None:
        return ()
    found = []
    for name in sorted(set(truth.degradation.tolist())):
        rows = truth.degradation == name
        label, prob = truth.label[rows], prob_fake[rows]
        called = prob > 0.5
        found.append(
            Slice(
                name,
                int(rows.sum()),
                log_loss_balanced(label, prob),
                auc(label, prob),
                accuracy(label, prob),
                int((~called & (label > 0.5)).sum()),
                int((called & (label < 0.5)).sum()),
            )
        )
    return tuple(found)


def fallback_ensembles(
    members: tuple[str, ...],
    values: Floats,
    truth: Truth,
    costs: Mapping[str, Cost],
    fit: Fit,
    seed: int,
    section: Section | None = None,
) -> tuple[FallbackEnsemble, ...]:
    """Subsets for a run that is short of time: each leaves out the member that contributes least per second.

    A member contributes what the validated loss rises by without it. Of more than EXACT members, and where the time
    of `section` is up, the half with the least weight per second goes at once.

    Args:
        members: M names.
        values: (V, M) logits of videos.
        truth: of the V videos.
        costs: member -> cost; without one every member takes as long as any other.
        fit: how the blend that ships is fitted; each subset gets numbers of its own.
        seed: of the folds.
        section: what time there is; without one, all that is needed.

    Returns:
        M - 1 subsets, fewer of many members, the largest first.
    """
    section, folds = section or Section(), group_folds(truth, OUTER, seed)
    seconds = np.array([costs[name].seconds if name in costs else 1.0 for name in members])

    def loss(columns: list[int]) -> float:
        return truth.loss(sigmoid(cross_fitted(values[:, columns], truth, fit, folds)))

    def drop_one(left: list[int], now: float) -> tuple[list[int], float]:
        without = {out: loss([i for i in left if i != out]) for out in left}
        out = min(left, key=lambda i: (without[i] - now) / seconds[i])
        return [i for i in left if i != out], without[out]

    def drop_half(left: list[int], weights: Floats) -> tuple[list[int], float]:
        keep = max(EXACT if len(left) > EXACT else 1, len(left) // 2)
        kept = sorted(left[i] for i in np.argsort(-weights / seconds[left], kind="stable")[:keep])
        return kept, loss(kept)

    fallbacks: list[FallbackEnsemble] = []
    left, now = list(range(len(members))), math.nan
    mix = fit(values, truth)
    while len(left) > 1:
        if len(left) > EXACT or section.over("of few members half, and not one, are left out at a time"):
            left, now = drop_half(left, mix.weights)
        else:
            left, now = drop_one(left, now if math.isfinite(now) else loss(left))
        mix = fit(values[:, left], truth)
        fallbacks.append(FallbackEnsemble(tuple(members[i] for i in left), mix, now))
    return tuple(fallbacks)
