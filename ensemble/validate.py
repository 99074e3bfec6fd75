"""What tuning is worth on videos that it has not seen: nested cross-validation by group, intervals by bootstrap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ensemble.convex import Mix, mix_logit, objective, optimum
from ensemble.folds import OUTER, choose_ridge, group_folds
from ensemble.metrics import Estimate, Floats, class_weights, estimate_from, losses_of
from ensemble.problem import Aggregates, Problem, Rows, Structure
from ensemble.select import COMPETITION, Candidate, Cost, Limits, Search, best_subset
from ensemble.table import Faces
from ensemble.tune import Progress, StudyOptions, Tuned, run_study

TUNED, EQUAL, SINGLE, PLAIN = "tuned", "equal weights", "best single member", "equal weights, not calibrated"


def equal_mix(values: Floats, label: Floats) -> Mix:
    """Equal weights with the best temperature and shift: what a tuned blend has to beat."""
    calibrated = optimum(values.mean(axis=1, keepdims=True), label, 0.0)
    return replace(calibrated, weights=np.full(values.shape[1], 1 / values.shape[1]))


def single_mix(values: Floats, label: Floats) -> Mix:
    """The best member by itself, with its best temperature and shift."""
    fits = [optimum(values[:, [m]], label, 0.0) for m in range(values.shape[1])]
    losses = [objective(values[:, [m]], label, fit, "logit", 0.0) for m, fit in enumerate(fits)]
    best = int(np.argmin(losses))
    return replace(fits[best], weights=np.eye(values.shape[1])[best])


@dataclass(frozen=True)
class Fitted:
    """What tuning on some videos came to."""

    best_subset: Candidate  # all members, or those that the limits allow
    ridge: float
    tuned: Tuned
    equal: Mix
    single: Mix

    def blends(self) -> dict[str, tuple[Structure, Mix]]:
        """The tuned blend and what it is compared with, in the order of the line-up's members."""
        plain, members = Structure(), len(self.best_subset.members)
        return {
            TUNED: (self.tuned.structure, self.tuned.mix),
            EQUAL: (plain, self.equal),
            SINGLE: (plain, self.single),
            PLAIN: (plain, Mix.equal(members)),
        }


@dataclass(frozen=True)
class Task:
    """What is tuned, and within what."""

    views: Mapping[int, Aggregates]  # frames per video -> what is made of them
    options: StudyOptions
    limits: Limits = COMPETITION
    costs: Mapping[str, Cost] = field(default_factory=dict)  # member -> cost; without any there are no limits

    @property
    def faces(self) -> Faces:
        """The table, all of its frames."""
        return self.views[max(self.views)].faces

    def search(self, rows: Rows, ridge: float) -> Search:
        """Line-ups judged on some of the videos."""
        truth, how = self.faces.known(), Structure().aggregation
        values = {frames: view.values(how)[rows] for frames, view in self.views.items()}
        costs = self.costs or {member: Cost(0, 0.0) for member in self.faces.members}
        return Search(
            values,
            truth.label[rows],
            truth.group[rows],
            self.faces.members,
            self.limits,
            costs,
            ridge,
            self.options.seed,
        )


def fit(task: Task, rows: Rows, progress: Progress | None = None, options: StudyOptions | None = None) -> Fitted:
    """The whole of tuning, from choosing the line-up on, on `rows` alone."""
    truth, options = task.faces.known(), options or task.options
    label, group, how = truth.label[rows], truth.group[rows], Structure().aggregation
    everything = task.views[max(task.views)].values(how)[rows]
    found = best_subset(task.search(rows, choose_ridge(everything, label, group, options.seed)))
    aggregates = task.views[found.frames]
    values = Problem(aggregates, 0.0, rows, found.members).values(how)
    ridge = choose_ridge(values, label, group, options.seed)
    tuned = run_study(Problem(aggregates, ridge, rows, found.members), options, progress)
    return Fitted(found, ridge, tuned, equal_mix(values, label), single_mix(values, label))


@dataclass(frozen=True)
class Nested:
    """Predictions of every video by blends that were tuned without its fold."""

    fold: Rows  # (V,)
    logit: dict[str, Floats]  # TUNED, EQUAL, SINGLE, PLAIN -> (V,) logits, not clipped
    fits: tuple[Fitted, ...]  # of each fold


def nested(task: Task, progress: Progress | None = None) -> Nested:
    """Tune OUTER times, each time without a fold, and predict it. These studies are kept in memory."""
    truth, options = task.faces.known(), replace(task.options, storage=None)
    fold = np.zeros(len(truth.label), dtype=np.int64)
    logit = {name: np.zeros(len(truth.label)) for name in (TUNED, EQUAL, SINGLE, PLAIN)}
    fits = []
    for number, (train, held) in enumerate(group_folds(truth.label, truth.group, OUTER, options.seed)):
        fitted = fit(task, train, progress, options)
        fits.append(fitted)
        fold[held] = number
        problem = Problem(task.views[fitted.best_subset.frames], 0.0, held, fitted.best_subset.members)
        for name, (structure, mix) in fitted.blends().items():
            logit[name][held] = mix_logit(problem.values(structure.aggregation), mix, structure.space)
    return Nested(fold, logit, tuple(fits))


@dataclass(frozen=True)
class Losses:
    """Log losses with the classes weighted half each, and paired differences, with 95 % intervals by group."""

    of: dict[str, Estimate]
    difference: dict[tuple[str, str], Estimate]  # (a, b) -> loss of a minus loss of b: below 0, a is better


def compare(
    label: Floats,
    group: NDArray[np.str_],
    prob_fake: Mapping[str, Floats],
    pairs: Sequence[tuple[str, str]],
    seed: int = 0,
    repeats: int = 2000,
) -> Losses:
    """Bootstrap whole groups, the same draws for all predictions, so that what they share cancels in differences.

    prob_fake: name -> (V,). Draws without one of the classes are left out.
    """
    names = list(prob_fake)
    losses = np.stack([losses_of(label, prob_fake[name]) for name in names], axis=1)
    draws = _draws(label, group, losses, seed, repeats)
    value = class_weights(label) @ losses
    of = {name: estimate_from(float(value[i]), draws[:, i]) for i, name in enumerate(names)}
    at = {name: i for i, name in enumerate(names)}
    difference = {
        (a, b): estimate_from(float(value[at[a]] - value[at[b]]), draws[:, at[a]] - draws[:, at[b]]) for a, b in pairs
    }
    return Losses(of, difference)


def _draws(label: Floats, group: NDArray[np.str_], losses: Floats, seed: int, repeats: int) -> Floats:
    """(R, K) balanced losses of R draws of groups: sums per group and class, so that a draw is a product."""
    names, inverse = np.unique(group, return_inverse=True)
    rng, count = np.random.default_rng(seed), len(names)
    kinds = [label > 0.5, label <= 0.5]
    sums = [np.stack([np.bincount(inverse[k], loss[k], count) for loss in losses.T], axis=1) for k in kinds]
    sizes = [np.bincount(inverse[k], minlength=count).astype(np.float64) for k in kinds]
    parts = []
    for start in range(0, repeats, 100):
        draw = rng.multinomial(count, np.full(count, 1 / count), min(100, repeats - start)).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            fake, real = (draw @ total / (draw @ size)[:, None] for total, size in zip(sums, sizes, strict=True))
        parts.append((fake + real) / 2)
    every = np.concatenate(parts)
    return every[np.isfinite(every).all(axis=1)]
