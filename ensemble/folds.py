"""Folds that keep groups whole, and the loss of a blend on the fold that it was not tuned on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from ensemble.convex import Mix, mix_logit, optimum
from ensemble.metrics import Floats, sigmoid
from ensemble.sections import Section
from ensemble.truth import Rows, Truth

Fit = Callable[[Floats, Truth], Mix]  # (V, M) logits of videos and what is known of them -> their blend

OUTER, INNER = 5, 4  # folds that validate tuning, and folds inside them that choose how strongly to shrink
# How strongly weights may be pulled towards equal ones; the first leaves them free, the last leaves nothing else.
RIDGES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


def group_folds(truth: Truth, count: int, seed: int) -> list[tuple[Rows, Rows]]:
    """Cut videos into folds that keep groups whole, and in each of which every source has both classes.

    Args:
        truth: of V videos.
        count: of folds.
        seed: draws them.

    Returns:
        `count` pairs of row numbers, (fit, held), both sorted.

    Raises:
        ValueError: a class of a source has fewer groups than folds, or its groups cannot be dealt so that each fold
            has both classes.
    """
    held: list[list[Rows]] = [[] for _ in range(count)]
    for source in truth.sources:
        rows = truth.rows_of(source)
        for fold, part in enumerate(_folds_of_one_source(truth[rows], source, count, seed)):
            held[fold].append(rows[part])
    everything = np.arange(len(truth))
    parts = [np.sort(np.concatenate(fold)) for fold in held]
    return [(np.setdiff1d(everything, part, assume_unique=True), part) for part in parts]


def _folds_of_one_source(truth: Truth, source: str, count: int, seed: int) -> list[Rows]:
    of = f" of source {source!r}" if source else ""
    fewest = min(len(set(truth.group[truth.label == kind].tolist())) for kind in (0.0, 1.0))
    if fewest < count:
        raise ValueError(
            f"{count} folds need {count} groups of either class at least, and one class{of} has {fewest}; "
            "score more videos"
        )
    # Codes in the order of the names deal as the names themselves would.
    codes = np.unique(truth.group, return_inverse=True)[1]
    folds = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    held = [part for _, part in folds.split(truth.label, truth.label, codes)]
    if lacking := [n for n, part in enumerate(held) if len(np.unique(truth.label[part])) < 2]:
        raise ValueError(
            f"fold {lacking[0]} of {count}{of} has videos of one class only: a few groups hold nearly all of the "
            "other; score more videos, or give finer groups"
        )
    return held


def cross_fitted(values: Floats, truth: Truth, fit: Fit, folds: list[tuple[Rows, Rows]]) -> Floats:
    """(V,) logits of blends in logit space, each video's by the one that was fitted without its fold."""
    out = np.empty(len(truth))
    for train, held in folds:
        out[held] = mix_logit(values[held], fit(values[train], truth[train]), "logit", truth[held].face_pixels)
    return out


def best_of(ridge: float) -> Fit:
    """Return the fit that finds the best weights, temperature and shift under a shrinkage."""
    return lambda values, truth: optimum(values, truth, ridge)


def choose_ridge(values: Floats, truth: Truth, seed: int, section: Section | None = None) -> float:
    """The shrinkage with the lowest log loss on held-out folds; of equals the strongest.

    The strongest is tried first, since it is the safest and the quickest: where the time of `section` is up, the best
    of those that were tried is taken.
    """
    section = section or Section()
    folds = group_folds(truth, INNER, seed)
    losses: dict[float, float] = {}
    for ridge in reversed(RIDGES):
        if losses and section.over(f"only the {len(losses)} strongest of {len(RIDGES)} shrinkages were tried"):
            break
        losses[ridge] = truth.loss(sigmoid(cross_fitted(values, truth, best_of(ridge), folds)))
    return max(ridge for ridge, loss in losses.items() if loss <= min(losses.values()) + 1e-9)
