"""Scores of predicted probabilities: AUC, log loss, accuracy, calibration error, and bootstrap intervals by group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Text is kept as Python strings: arrays of fixed width cut off what is longer than what they were made for.
Names = NDArray[np.object_]

EPS = 1e-15  # Kaggle's scorer clips here


def sigmoid(logit: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow on either side."""
    x = np.asarray(logit, dtype=np.float64)
    positive = 1 / (1 + np.exp(-np.abs(x)))
    return np.where(x >= 0, positive, 1 - positive)


def log_loss(label: Floats, prob_fake: Floats) -> float:
    """Mean binary cross-entropy in nats: the competition's score. label: 0 real, 1 fake."""
    return float(np.mean(losses_of(label, prob_fake)))


def log_loss_balanced(label: Floats, prob_fake: Floats) -> float:
    """Log loss with the two classes weighted half each, as the test set is half and half; NaN for one class only."""
    losses = losses_of(label, prob_fake)
    fake = np.asarray(label) > 0.5
    if fake.all() or not fake.any():
        return float("nan")
    return float((losses[fake].mean() + losses[~fake].mean()) / 2)


def auc(label: Floats, prob_fake: Floats, weight: Floats | None = None) -> float:
    """Area under the ROC curve, ties counted half; NaN when one class is absent. weight: (N,) of the rows."""
    if len(np.unique(label)) < 2:
        return float("nan")
    from sklearn.metrics import roc_auc_score  # it takes a second, and a prediction needs none of it

    return float(roc_auc_score(label, prob_fake, sample_weight=weight))


def accuracy(label: Floats, prob_fake: Floats) -> float:
    """Share called right at the threshold 0.5."""
    return float(np.mean((np.asarray(prob_fake) > 0.5) == (np.asarray(label) > 0.5)))


def calibration_error(label: Floats, prob_fake: Floats, bins: int = 15, weight: Floats | None = None) -> float:
    """Expected calibration error: |share of fakes - mean probability| over equal-width bins, weighted by their size.

    Naeini et al. 2015; 15 bins as in Guo et al. 2017. weight: (N,) of the rows; equal without.
    """
    prob = np.asarray(prob_fake, dtype=np.float64)
    of_row = np.full(len(prob), 1 / len(prob)) if weight is None else weight / weight.sum()
    index = np.minimum((prob * bins).astype(int), bins - 1)
    gap = np.bincount(index, weights=of_row * (np.asarray(label, dtype=np.float64) - prob), minlength=bins)
    return float(np.abs(gap).sum())


def accuracy_balanced(label: Floats, prob_fake: Floats) -> float:
    """Share called right at the threshold 0.5, the two classes weighted half each; NaN for one class only."""
    fake = np.asarray(label) > 0.5
    if fake.all() or not fake.any():
        return float("nan")
    right = (np.asarray(prob_fake) > 0.5) == fake
    return float((right[fake].mean() + right[~fake].mean()) / 2)


def calibration_error_balanced(label: Floats, prob_fake: Floats) -> float:
    """`calibration_error` with the two classes weighted half each, as probabilities of a blend assume; NaN for one."""
    fake = np.asarray(label) > 0.5
    if fake.all() or not fake.any():
        return float("nan")
    return calibration_error(label, prob_fake, weight=class_weights(label))


METRICS: dict[str, Callable[[Floats, Floats], float]] = {
    "auc": auc,
    "log_loss_balanced": log_loss_balanced,
    "log_loss": log_loss,
    "accuracy": accuracy_balanced,
    "calibration_error": calibration_error_balanced,
}


@dataclass(frozen=True)
class Estimate:
    """A metric on the data and its bootstrap interval."""

    value: float
    low: float  # 2.5th percentile
    high: float  # 97.5th percentile


def bootstrap(label: Floats, prob_fake: Floats, group: Names, repeats: int = 500, seed: int = 0) -> dict[str, Estimate]:
    """Every metric with its 95 % percentile interval; whole groups are drawn with replacement (Efron 1979).

    A fake follows its original, so rows of one group are not independent: drawing rows would give intervals that are
    too narrow. Draws in which a metric is undefined (one class only) are left out of its interval.
    """
    rng = np.random.default_rng(seed)
    _, inverse = np.unique(group, return_inverse=True)
    members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    draws: dict[str, list[float]] = {name: [] for name in METRICS}
    for _ in range(repeats):
        rows = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        for name, metric in METRICS.items():
            draws[name].append(metric(label[rows], prob_fake[rows]))
    return {name: estimate_from(metric(label, prob_fake), draws[name]) for name, metric in METRICS.items()}


def estimate_from(value: float, draws: Sequence[float] | Floats) -> Estimate:
    """Return the value with the 95 % percentile interval of its bootstrap draws, undefined draws left out."""
    defined = np.asarray(draws)[np.isfinite(draws)]
    if not len(defined):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.percentile(defined, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def class_weights(label: Floats) -> Floats:
    """Weight rows so that each class has half of the sum, which is 1.

    Args:
        label: (V,) 1 fake, 0 real.

    Returns:
        (V,) weights.

    Raises:
        ValueError: the rows are of one class.
    """
    fake = np.asarray(label) > 0.5
    if fake.all() or not fake.any():
        raise ValueError("real and fake rows are needed; these are of one class")
    return np.asarray(np.where(fake, 0.5 / fake.sum(), 0.5 / (~fake).sum()))


def losses_of(label: Floats, prob_fake: Floats) -> Floats:
    """Binary cross-entropy of each row in nats, clipped as Kaggle's scorer does."""
    prob = np.clip(np.asarray(prob_fake, dtype=np.float64), EPS, 1 - EPS)
    return np.where(np.asarray(label) > 0.5, -np.log(prob), -np.log1p(-prob))
