"""An Optuna study of blends: which rules, which space, which weights, how sure; and how far it is from the optimum."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import TrialState
from sqlalchemy.exc import ArgumentError, IntegrityError, OperationalError

from ensemble.aggregate import PLAIN, Aggregation, aggregate_people, person_logits
from ensemble.convex import SHIFTS, TEMPERATURES, Mix, Space, best_weights, class_weights, objective, optimum
from ensemble.rules import FRAME_RULES, PEOPLE_RULES
from ensemble.table import Faces

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Progress = Callable[[int], None]  # called with the number of trials that have ended since the last call

WAITS = (0.2, 0.4, 0.8, 1.6)  # seconds between tries to open a storage
GAP = 1e-4  # nats: the most that a study may lie above the optimum of its own structure
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
# Shares of the groups on which a trial is judged before the whole, so that a bad one ends early.
STEPS = (0.25, 1.0)


@dataclass(frozen=True)
class StudyOptions:
    """How long a study looks, and where it keeps its trials."""

    trials: int = 1000
    seed: int = 0
    timeout: float | None = None  # seconds; with it a run is no longer the same every time
    storage: str | None = None  # an Optuna storage URL; None keeps the trials in memory
    name: str = "blend"  # of the study in the storage
    explore: float = 0.3  # share of the trials that look at every structure; the others refine the best of them

    def __post_init__(self) -> None:
        if self.trials < 2 or not 0 < self.explore < 1 or (self.timeout is not None and self.timeout <= 0):
            raise ValueError(f"trials {self.trials} start at 2, explore {self.explore} lies between 0 and 1")


@dataclass(frozen=True)
class Structure:
    """What a study chooses besides numbers."""

    space: Space = "logit"
    aggregation: Aggregation = PLAIN


@dataclass(frozen=True)
class Tuned:
    """The best blend of a study and its certificate."""

    structure: Structure
    mix: Mix
    objective: float  # nats: log loss, classes half each, plus the penalty
    gap: float  # of the study's best above the proven optimum, before that was taken over
    polished: bool  # the study ended further than GAP from the optimum, which was then taken
    trials: int  # finished, of them
    pruned: int  # ended early


class Aggregates:
    """The videos' logits under every rule that anybody asks for, worked out once each."""

    def __init__(self, faces: Faces) -> None:
        self.faces = faces
        self.frames_differ = bool((np.diff(faces.layout.person_starts) > 1).any())
        self.people_differ = bool((np.diff(faces.layout.video_starts) > 1).any())
        self._people = lru_cache(maxsize=24)(self._people_now)
        self.values = lru_cache(maxsize=64)(self._values_now)

    def _people_now(self, how: Aggregation) -> Floats:
        return person_logits(self.faces.logit, self.faces.layout, how)

    def _values_now(self, how: Aggregation) -> Floats:
        """(V, M) logits of videos."""
        people = self._people(Aggregation(how.frames, how.parameter))
        return aggregate_people(people, self.faces.layout, how)


class Problem:
    """Some of the labelled videos and of the members, as a study sees them."""

    def __init__(
        self, aggregates: Aggregates, ridge: float, rows: Rows | None = None, members: tuple[str, ...] | None = None
    ) -> None:
        faces = aggregates.faces
        self.aggregates, self.ridge = aggregates, ridge
        self.members = members or faces.members
        self.rows = np.arange(len(faces.filename)) if rows is None else rows
        self.label, self.group = faces.known().label[self.rows], faces.known().group[self.rows]
        self.weight = class_weights(self.label)
        self.parts = _parts(self.group, self.label)
        self._cells = np.ix_(self.rows, np.array([faces.members.index(name) for name in self.members]))
        self.values = lru_cache(maxsize=16)(self._values_now)

    def _values_now(self, how: Aggregation) -> Floats:
        """(V, M) logits of these videos by these members."""
        return np.ascontiguousarray(self.aggregates.values(how)[self._cells])

    def loss(self, structure: Structure, mix: Mix, rows: Rows | None = None) -> float:
        """The objective on all of these videos, or on some of them."""
        values = self.values(structure.aggregation)
        if rows is None:
            return objective(values, self.label, mix, structure.space, self.ridge, self.weight)
        return objective(values[rows], self.label[rows], mix, structure.space, self.ridge)

    def optimum(self, structure: Structure, at: Mix) -> Mix:
        """The proven best: of weights, temperature and shift in logit space, of weights at `at`'s others elsewhere."""
        values = self.values(structure.aggregation)
        if structure.space == "logit":
            return optimum(values, self.label, self.ridge)
        return best_weights(values, self.label, structure.space, self.ridge, at)


def _parts(group: NDArray[np.str_], label: Floats) -> list[Rows]:
    """Rows of the first part of the groups, for every step but the last; none where a class would be missing."""
    names, inverse = np.unique(group, return_inverse=True)
    rank = np.random.default_rng(0).permutation(len(names))[inverse]
    parts = [np.flatnonzero(rank < share * len(names)) for share in STEPS[:-1]]
    return [rows for rows in parts if len(np.unique(label[rows])) == 2]


def run_study(problem: Problem, options: StudyOptions, progress: Progress | None = None) -> Tuned:
    """Search, then certify. The same seed gives the same answer, in memory or in a fresh storage of one process.

    First TPE looks at everything together, then CMA-ES refines the numbers of the best structure found. Raises
    ValueError when the storage holds a study of that name about something else.
    """
    study = _open(problem, options)
    explore = max(1, round(options.trials * options.explore))
    _search(study, problem, explore, _tpe(options), options, progress)
    best = {k: v for k, v in study.best_params.items() if not _is_number_of_mix(k)}
    study.pruner = optuna.pruners.NopPruner()  # CMA-ES learns from whole generations
    _search(study, problem, options.trials, _refining(best, options.seed), options, progress)
    return _certify(study, problem)


def _tpe(options: StudyOptions) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=options.seed,
            multivariate=True,
            group=True,
            constant_liar=options.storage is not None,
            n_startup_trials=max(1, min(30, options.trials // 10)),
        )


def _refining(structure: dict[str, Any], seed: int) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        cma = optuna.samplers.CmaEsSampler(seed=seed, n_startup_trials=1, warn_independent_sampling=False)
        return optuna.samplers.PartialFixedSampler(structure, cma)


def _search(
    study: optuna.Study,
    problem: Problem,
    until: int,
    sampler: optuna.samplers.BaseSampler,
    options: StudyOptions,
    progress: Progress | None,
) -> None:
    """Run trials until the study has `until` finished ones, other processes' and an earlier run's among them."""
    study.sampler = sampler
    left = until - len(study.get_trials(deepcopy=False, states=FINISHED))
    if left <= 0:
        return
    callbacks: list[Callable[..., None]] = [optuna.study.MaxTrialsCallback(until, states=FINISHED)]
    if progress is not None:
        callbacks.append(lambda *_: progress(1))
    study.optimize(lambda trial: _try(trial, problem), n_trials=left, timeout=options.timeout, callbacks=callbacks)


def _open(problem: Problem, options: StudyOptions) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=options.name,
        storage=None if options.storage is None else _storage(options.storage),
        load_if_exists=options.storage is not None,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=20, n_warmup_steps=0),
    )
    about = {
        "members": list(problem.members),
        "table": problem.aggregates.faces.sha256,
        "videos": len(problem.rows),
        "shrinkage": problem.ridge,
    }
    # One attribute, so that a second process sees all of it or nothing.
    if (known := study.user_attrs.get("about", about)) != about:
        raise ValueError(
            f"the study {options.name!r} in the storage is about {known}, and this one about {about}; give another "
            "--study, or another --storage"
        )
    if "about" not in study.user_attrs:
        study.set_user_attr("about", about)
        study.enqueue_trial(_equal_params(problem), skip_if_exists=True)
    return study


def _storage(url: str) -> optuna.storages.BaseStorage:
    """Open a storage. Two processes that make its tables in the same moment get in each other's way: tried again."""
    waits = iter(WAITS)
    while True:
        try:
            return optuna.storages.get_storage(url)
        except ArgumentError as error:
            raise ValueError(f"{url!r} is no storage; for a file: sqlite:///study.db") from error
        except (OperationalError, IntegrityError) as error:
            wait = next(waits, None)
            if wait is None:
                raise ValueError(f"the storage {url} cannot be opened: {error.orig}") from error
        time.sleep(wait)


def _is_number_of_mix(name: str) -> bool:
    return name in ("temperature", "shift") or name.startswith("weight ")


def _equal_params(problem: Problem) -> dict[str, Any]:
    """Equal weights and the plain rules: every study begins with them."""
    return {
        "space": "logit",
        "frames": "mean",
        "people": "most_fake",
        "temperature": 1.0,
        "shift": 0.0,
        **{f"weight {name}": 0.5 for name in problem.members},
    }


def _try(trial: optuna.Trial, problem: Problem) -> float:
    structure = _suggest_structure(trial, problem)
    mix = _suggest_mix(trial, problem.members)
    for step, rows in enumerate(problem.parts):
        trial.report(problem.loss(structure, mix, rows), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return problem.loss(structure, mix)


def _suggest_structure(trial: optuna.Trial, problem: Problem) -> Structure:
    space = trial.suggest_categorical("space", ("logit", "probability"))
    frames, parameter, people = "mean", None, "most_fake"
    if problem.aggregates.frames_differ:
        frames = trial.suggest_categorical("frames", tuple(FRAME_RULES))
        if values := FRAME_RULES[frames].values:
            parameter = trial.suggest_categorical(f"{frames} {FRAME_RULES[frames].parameter}", values)
    if problem.aggregates.people_differ:
        people = trial.suggest_categorical("people", tuple(PEOPLE_RULES))
    return Structure(cast(Space, space), Aggregation(frames, parameter, people))


def _suggest_mix(trial: optuna.Trial, members: tuple[str, ...]) -> Mix:
    raw = np.array([trial.suggest_float(f"weight {name}", 0.0, 1.0) for name in members])
    temperature = trial.suggest_float("temperature", *TEMPERATURES, log=True)
    shift = trial.suggest_float("shift", *SHIFTS)
    # All zero says nothing about the members: equal, as anywhere on the ray from zero.
    weights = raw / raw.sum() if raw.sum() > 0 else np.full(len(raw), 1 / len(raw))
    return Mix(weights, temperature, shift)


def _certify(study: optuna.Study, problem: Problem) -> Tuned:
    trial = study.best_trial
    fixed = optuna.trial.FixedTrial(trial.params)
    structure, mix = _suggest_structure(fixed, problem), _suggest_mix(fixed, problem.members)  # type: ignore[arg-type]
    proven = problem.optimum(structure, mix)
    value, least = problem.loss(structure, mix), problem.loss(structure, proven)
    gap = max(0.0, value - least)
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    return Tuned(
        structure,
        proven if gap > GAP else mix,
        least if gap > GAP else value,
        gap,
        gap > GAP,
        len(trials),
        sum(t.state == TrialState.PRUNED for t in trials),
    )
