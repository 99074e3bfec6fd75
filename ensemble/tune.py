"""An Optuna study of blends: which rules, which space, which weights, how sure; and how far it is from the optimum."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import optuna
from optuna.trial import TrialState
from sqlalchemy.exc import ArgumentError, IntegrityError, OperationalError

from ensemble.aggregate import PLAIN, Aggregation
from ensemble.convex import SHIFTS, TEMPERATURES, Mix, Space
from ensemble.problem import Problem, Structure
from ensemble.rules import FRAME_RULES, PEOPLE_RULES
from ensemble.sections import Section

Progress = Callable[[int], None]  # called with the number of trials that have ended since the last call

GAP = 1e-4  # nats: the most that a study may lie above the optimum of its own structure
WAITS = (0.2, 0.4, 0.8, 1.6)  # seconds between tries to open a storage
PATIENCE = 30.0  # seconds for another process to end the trial that it is in
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class StudyOptions:
    """How long a study looks, and where it keeps its trials."""

    trials: int = 1000
    seed: int = 0
    timeout: float | None = None  # seconds; with it a run is no longer the same every time
    storage: str | None = None  # an Optuna storage URL; None keeps the trials in memory
    name: str = "blend"  # of the study in the storage
    explore: float = 0.3  # share of the trials, at most, that look for the structure; the others for its numbers

    def __post_init__(self) -> None:
        if self.trials < 2 or not 0 < self.explore < 1 or (self.timeout is not None and self.timeout <= 0):
            raise ValueError(f"trials {self.trials} start at 2, explore {self.explore} lies between 0 and 1")


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


def run_study(
    problem: Problem, options: StudyOptions, progress: Progress | None = None, section: Section | None = None
) -> Tuned:
    """Search, then certify. The same seed gives the same answer, in memory or in a fresh storage of one process.

    First the structure: each is scored with its own best numbers, since by chance ones a worse space or rule can look
    better. All are tried where there are few, else TPE chooses. Then CMA-ES finds the weights, the temperature and the
    shift of the best, which the solver's optimum certifies. Where the time of `section` is up the studies end early;
    each has one trial at least, and the optimum is taken all the same. Raises ValueError when the storage holds a
    study of that name about something else.
    """
    section = section or Section()
    count = min(problem.aggregates.structures, max(1, round(options.trials * options.explore)))
    first = _open(problem, replace(options, name=f"{options.name}, structure"))
    first.sampler = _structures(problem, count, options)
    if not first.trials:
        # A study that is cut has compared the others with the plain structure.
        first.enqueue_trial(_plain_params(problem), skip_if_exists=True)
    timed = _Timed(options.timeout, section.part(0.5), "structures were compared")
    _search(first, lambda trial: _try_structure(trial, problem), count, timed, progress)
    _wait(first)
    structure = _suggest_structure(optuna.trial.FixedTrial(first.best_params), problem)
    second = _open(problem, replace(options, name=f"{options.name}, {structure.space}, {structure.aggregation}"))
    second.sampler = _refining(options.seed)
    if not second.trials:
        second.enqueue_trial(_equal_params(problem.members), skip_if_exists=True)
    left = max(2, options.trials - count)
    timed = _Timed(options.timeout, section, "trials for weights were made, and the solver's optimum is taken")
    _search(second, lambda trial: _try_mix(trial, problem, structure), left, timed, progress)
    _wait(second)
    return _certify(problem, structure, first, second)


@dataclass(frozen=True)
class _Timed:
    """When a search ends early."""

    timeout: float | None  # seconds, as the user asked
    section: Section
    lost: str  # what is said where its time is up, after "n of m"


def _plain_params(problem: Problem) -> dict[str, Any]:
    """Logits, the mean over faces, the most fake person, as far as these are searched."""
    differ = {"frames": problem.aggregates.frames_differ, "people": problem.aggregates.people_differ}
    return {"space": "logit", **{name: getattr(PLAIN, name) for name, told in differ.items() if told}}


def _structures(problem: Problem, count: int, options: StudyOptions) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if count == problem.aggregates.structures:
            return optuna.samplers.BruteForceSampler(seed=options.seed)
        return optuna.samplers.TPESampler(
            seed=options.seed, multivariate=True, group=True, constant_liar=options.storage is not None
        )


def _refining(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.CmaEsSampler(seed=seed, n_startup_trials=1, warn_independent_sampling=False)


def _search(
    study: optuna.Study,
    objective: Callable[[optuna.Trial], float],
    until: int,
    timed: _Timed,
    progress: Progress | None,
) -> None:
    """Run trials until the study has `until` finished ones, other processes' and an earlier run's among them."""
    left = until - len(study.get_trials(deepcopy=False, states=FINISHED))
    if left <= 0:
        return
    ends = time.monotonic() + (math.inf if timed.timeout is None else timed.timeout)

    def stop_in_time(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        # After a trial, never before the first: a study without any has no answer.
        done = trial.number + 1
        if time.monotonic() >= ends or (done < until and timed.section.over(f"{done} of {until} {timed.lost}")):
            study.stop()

    callbacks: list[Callable[..., None]] = [optuna.study.MaxTrialsCallback(until, states=FINISHED), stop_in_time]
    if progress is not None:
        callbacks.append(lambda *_: progress(1))
    study.optimize(objective, n_trials=left, callbacks=callbacks)


def _wait(study: optuna.Study) -> None:
    """Let other processes end their trials, so that all see the same best; one that was killed never does."""
    until = time.monotonic() + PATIENCE
    while study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) and time.monotonic() < until:
        time.sleep(0.1)


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
        "seed": options.seed,
    }
    # One attribute, so that a second process sees all of it or nothing.
    if (known := study.user_attrs.get("about", about)) != about:
        raise ValueError(
            f"the study {options.name!r} in the storage is about {known}, and this one about {about}; give another "
            "--study, or another --storage"
        )
    study.set_user_attr("about", about)
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


def _equal_params(members: tuple[str, ...]) -> dict[str, Any]:
    """Equal weights, taken at their word: every study begins with them."""
    return {"temperature": 1.0, "shift": 0.0, **{f"weight {name}": 0.5 for name in members}}


def _try_structure(trial: optuna.Trial, problem: Problem) -> float:
    structure = _suggest_structure(trial, problem)
    for step, rows in enumerate(problem.parts):
        trial.report(problem.loss(structure, problem.solve(structure, rows), rows), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return problem.loss(structure, problem.solve(structure))


def _try_mix(trial: optuna.Trial, problem: Problem, structure: Structure) -> float:
    return problem.loss(structure, _suggest_mix(trial, problem.members))


def _suggest_structure(trial: optuna.trial.BaseTrial, problem: Problem) -> Structure:
    space = trial.suggest_categorical("space", ("logit", "probability"))
    frames, parameter, people = "mean", None, "most_fake"
    if problem.aggregates.frames_differ:
        frames = trial.suggest_categorical("frames", tuple(FRAME_RULES))
        if values := FRAME_RULES[frames].values:
            parameter = trial.suggest_categorical(f"{frames} {FRAME_RULES[frames].parameter}", values)
    if problem.aggregates.people_differ:
        people = trial.suggest_categorical("people", tuple(PEOPLE_RULES))
    return Structure(cast(Space, space), Aggregation(frames, parameter, people))


def _suggest_mix(trial: optuna.trial.BaseTrial, members: tuple[str, ...]) -> Mix:
    raw = np.array([trial.suggest_float(f"weight {name}", 0.0, 1.0) for name in members])
    temperature = trial.suggest_float("temperature", *TEMPERATURES, log=True)
    shift = trial.suggest_float("shift", *SHIFTS)
    # All zero says nothing about the members: equal, as anywhere on the ray from zero.
    weights = raw / raw.sum() if raw.sum() > 0 else np.full(len(raw), 1 / len(raw))
    return Mix(weights, temperature, shift)


def _certify(problem: Problem, structure: Structure, first: optuna.Study, second: optuna.Study) -> Tuned:
    mix = _suggest_mix(optuna.trial.FixedTrial(second.best_params), problem.members)
    proven = problem.certify(structure, mix)
    value, least = problem.loss(structure, mix), problem.loss(structure, proven)
    gap = max(0.0, value - least)
    polished = gap > GAP
    trials = [trial for study in (first, second) for trial in study.get_trials(deepcopy=False, states=FINISHED)]
    pruned = sum(trial.state == TrialState.PRUNED for trial in trials)
    return Tuned(
        structure, proven if polished else mix, least if polished else value, gap, polished, len(trials), pruned
    )
