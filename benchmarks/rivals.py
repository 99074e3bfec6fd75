#!/usr/bin/env python3
"""What a Kaggler would do instead of `dfdc tune`, side by side on the same folds, with intervals.

python benchmarks/rivals.py holdout.csv [--labels labels.csv]
python benchmarks/rivals.py dfdc=holdout.csv ffpp=clips.csv --labels ffpp=clips_labels.csv

Every rival is fitted on four outer folds and scored on the fifth, groups whole; sources weigh the same, classes half.
All see a video's logits as `dfdc tune` does before a study: the mean over faces, the person most probably fake.
LightGBM takes part where it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from common.labels import read_labels
from ensemble.aggregate import PLAIN, aggregate
from ensemble.convex import Mix, mix_logit
from ensemble.folds import INNER, OUTER, Fit, best_of, choose_ridge, cross_fitted, group_folds
from ensemble.metrics import Floats, auc, sigmoid
from ensemble.sources import merge, named
from ensemble.table import Faces, read_faces
from ensemble.truth import Truth
from ensemble.validate import compare, equal_mix, with_width

Widths = Floats | None  # (V,) of the faces of the videos to predict; None where no table tells
# (training logits, their truth, logits to predict, their widths) -> P(fake)
Rival = Callable[[Floats, Truth, Floats, Widths], Floats]
CLIP = (0.01, 0.99)
OURS = "what dfdc tune ships"
RIDGES: dict[int, tuple[Truth, float]] = {}  # id of the training truth -> itself and its shrinkage, which three need


def ridge_of(values: Floats, truth: Truth) -> float:
    """The shrinkage that inner folds choose, worked out once for each training set."""
    if id(truth) not in RIDGES:
        RIDGES[id(truth)] = truth, choose_ridge(values, truth, 0)
    return RIDGES[id(truth)][1]


def ships(values: Floats, truth: Truth, held: Floats, pixels: Widths) -> Floats:
    """Of the candidates of `dfdc tune` the one with the lowest loss on inner folds, which saw no held video.

    As there, none is taken that is worse than equal votes on the source where those are worst.
    """
    best = best_of(ridge_of(values, truth))
    fits: list[Fit] = [best, equal_mix, plain_mix, by_width_of(best), by_width_of(equal_mix)]
    folds = group_folds(truth, INNER, 0)
    prob = [sigmoid(cross_fitted(values, truth, fit, folds)) for fit in fits]
    sources = [truth.rows_of(source) for source in truth.sources]
    worst = [max(truth[rows].loss(own[rows]) for rows in sources) for own in prob]
    allowed = [i for i in range(len(fits)) if worst[i] <= worst[fits.index(equal_mix)]]
    chosen = min(allowed, key=lambda i: truth.loss(prob[i]))
    return sigmoid(mix_logit(held, fits[chosen](values, truth), "logit", pixels))


def plain_mix(values: Floats, truth: Truth) -> Mix:
    """Equal weights, members taken at their word."""
    return Mix.equal(values.shape[1])


def by_width_of(fit: Fit) -> Fit:
    """A fit, and then a calibration that follows the width of the faces."""
    return lambda values, truth: with_width(fit(values, truth), values, truth, "logit")


def simplex_by_width(values: Floats, truth: Truth, held: Floats, pixels: Widths) -> Floats:
    """The convex optimum, and a calibration by face width."""
    fit = by_width_of(best_of(ridge_of(values, truth)))
    return sigmoid(mix_logit(held, fit(values, truth), "logit", pixels))


def equal_by_width(values: Floats, truth: Truth, held: Floats, pixels: Widths) -> Floats:
    """Equal votes, and a calibration by face width."""
    return sigmoid(mix_logit(held, by_width_of(equal_mix)(values, truth), "logit", pixels))


def simplex(values: Floats, truth: Truth, held: Floats, pixels: Widths) -> Floats:
    """The convex optimum with the shrinkage that inner folds choose."""
    return sigmoid(mix_logit(held, best_of(ridge_of(values, truth))(values, truth), "logit"))


def equal_votes(values: Floats, truth: Truth, held: Floats, pixels: Widths) -> Floats:
    """Each member calibrated by itself, their mean once more."""
    return sigmoid(mix_logit(held, equal_mix(values, truth), "logit"))


def as_they_are(values: Floats, truth: Truth, held: Floats, pixels: Widths) -> Floats:
    """The mean of the logits."""
    return sigmoid(held.mean(axis=1))


def logistic(values: Floats, truth: Truth, held: Floats, pixels: Widths) -> Floats:
    """Logistic regression on the logits (Wolpert's stacking), L2 as scikit-learn has it by default."""
    fitted = LogisticRegression(max_iter=1000).fit(values, truth.label, sample_weight=truth.weight * len(truth))
    return np.asarray(fitted.predict_proba(held)[:, 1])


def hill_climbing(values: Floats, truth: Truth, held: Floats, pixels: Widths, rounds: int = 50) -> Floats:
    """Caruana et al. 2004: add the member whose probability helps the mean most, with replacement."""
    prob, total, chosen = sigmoid(values), np.zeros(len(values)), []
    for count in range(1, rounds + 1):
        losses = [truth.loss((total + prob[:, m]) / count) for m in range(values.shape[1])]
        chosen.append(int(np.argmin(losses)))
        total += prob[:, chosen[-1]]
    return np.asarray(sigmoid(held)[:, chosen].mean(axis=1))


def ranks(values: Floats, truth: Truth, held: Floats, pixels: Widths) -> Floats:
    """The mean of ranks among the training videos, made a probability by an isotonic fit."""

    def rank(of: Floats) -> Floats:
        own = np.sort(values, axis=0)
        places = [np.searchsorted(own[:, m], of[:, m]) / len(own) for m in range(of.shape[1])]
        return np.asarray(np.mean(places, axis=0))

    return _isotonic(rank(values), truth, rank(held))


def isotonic(values: Floats, truth: Truth, held: Floats, pixels: Widths) -> Floats:
    """The mean of the logits, made a probability by an isotonic fit (Zadrozny and Elkan 2002)."""
    return _isotonic(values.mean(axis=1), truth, held.mean(axis=1))


def _isotonic(score: Floats, truth: Truth, held: Floats) -> Floats:
    fitted = IsotonicRegression(out_of_bounds="clip").fit(rankdata(score), truth.label, sample_weight=truth.weight)
    places = np.interp(held, np.sort(score), np.arange(1, len(score) + 1))
    return np.asarray(fitted.predict(places))


def beta(values: Floats, truth: Truth, held: Floats, pixels: Widths) -> Floats:
    """Beta calibration (Kull et al. 2017) of the mean probability: logistic in ln p and -ln(1 - p)."""

    def both(of: Floats) -> Floats:
        prob = np.clip(sigmoid(of).mean(axis=1), 1e-6, 1 - 1e-6)
        return np.column_stack([np.log(prob), -np.log1p(-prob)])

    return logistic(both(values), truth, both(held), pixels)


def boosted_trees(values: Floats, truth: Truth, held: Floats, pixels: Widths) -> Floats:
    """LightGBM on the logits, small trees."""
    from lightgbm import LGBMClassifier

    fitted = LGBMClassifier(
        n_estimators=100, learning_rate=0.05, num_leaves=7, min_child_samples=20, verbose=-1, random_state=0
    )
    fitted.fit(values, truth.label, sample_weight=truth.weight * len(truth))
    return np.asarray(fitted.predict_proba(held)[:, 1])


RIVALS: dict[str, Rival] = {
    OURS: ships,
    "simplex, shrunk": simplex,
    "equal votes": equal_votes,
    "mean of logits as they are": as_they_are,
    "simplex, by face width": simplex_by_width,
    "equal votes, by face width": equal_by_width,
    "logistic stacking": logistic,
    "hill climbing (Caruana)": hill_climbing,
    "rank average, isotonic": ranks,
    "mean, isotonic": isotonic,
    "mean, beta calibration": beta,
    "LightGBM": boosted_trees,
}


def run(faces: Faces) -> None:
    """Print the log loss, the AUC and the paired difference of every rival."""
    truth = faces.known()
    values = aggregate(faces.logit, faces.layout, PLAIN)
    rivals = {n: r for n, r in RIVALS.items() if r is not boosted_trees or importlib.util.find_spec("lightgbm")}
    prob = {name: np.zeros(len(truth)) for name in rivals}
    for train, held in group_folds(truth, OUTER, 0):
        known = truth[train]
        for name, rival in rivals.items():
            prob[name][held] = np.clip(rival(values[train], known, values[held], truth[held].face_pixels), *CLIP)
    losses = compare(truth, prob, [(name, OURS) for name in rivals if name != OURS])
    rows = []
    for name, loss in losses.of.items():
        row = {"": name, "log loss": f"{loss.value:.4f} [{loss.low:.4f}, {loss.high:.4f}]"}
        row |= {source: f"{own[name]:.4f}" for source, own in losses.by_source.items()}
        row["AUC"] = f"{auc(truth.label, prob[name], truth.weight):.4f}"
        gain = losses.difference.get((name, OURS))
        row["minus ours"] = "" if gain is None else f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
        rows.append(row)
    print(f"{faces!r}\n{pd.DataFrame(rows).to_string(index=False)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", help="tables of held-out probabilities; NAME=TABLE for several sources")
    parser.add_argument("--labels", action="append", default=[], help="CSV for tables without labels; NAME=CSV")
    options = parser.parse_args()
    labels = named(options.labels)
    tables = {}
    for source, paths in named(options.tables).items():
        own = labels.get(source) or labels.get("")
        tables[source] = read_faces(paths, read_labels(own[0]) if own else None)
    run(merge(tables))
