"""Folds that keep groups whole, and what a blend is worth on the fold that it was not tuned on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from ensemble.convex import mix_logit, optimum
from ensemble.metrics import Floats, log_loss_balanced, sigmoid

Rows = NDArray[np.int64]

OUTER, INNER = 5, 4  # folds that say what tuning is worth, and folds inside them that choose how strongly to shrink
# How strongly weights may be pulled towards equal ones; the first leaves them free, the last leaves nothing else.
RIDGES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


def group_folds(label: Floats, group: NDArray[np.str_], count: int, seed: int) -> list[tuple[Rows, Rows]]:
    """(fit, held) rows of `count` folds that keep groups whole and classes even; ValueError with too few groups."""
    fewest = min(len(set(group[label == kind].tolist())) for kind in (0.0, 1.0))
    if fewest < count:
        raise ValueError(
            f"{count} folds need {count} groups of either class at least, and one class has {fewest}; judge more videos"
        )
    folds = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    return [(fit, held) for fit, held in folds.split(label, label, group)]


def cross_fitted(values: Floats, label: Floats, ridge: float, folds: list[tuple[Rows, Rows]]) -> Floats:
    """(V,) logits of the best blends in logit space, each video's by the one that was fitted without its fold."""
    out = np.empty(len(label))
    for fit, held in folds:
        out[held] = mix_logit(values[held], optimum(values[fit], label[fit], ridge), "logit")
    return out


def choose_ridge(values: Floats, label: Floats, group: NDArray[np.str_], seed: int) -> float:
    """The shrinkage with the lowest log loss on held-out folds; of equals the strongest."""
    folds = group_folds(label, group, INNER, seed)
    losses = [log_loss_balanced(label, sigmoid(cross_fitted(values, label, ridge, folds))) for ridge in RIDGES]
    return max(ridge for ridge, loss in zip(RIDGES, losses, strict=True) if loss <= min(losses) + 1e-9)
