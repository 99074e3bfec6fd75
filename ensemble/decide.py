"""The whole of `dfdc tune`: tune, say what that is worth, and ship it only where it is worth something."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.blend import Blend
from ensemble.contribution import Contributions, fallback_ensembles, measure_contributions
from ensemble.convex import mix_logit
from ensemble.metrics import Estimate, sigmoid
from ensemble.problem import Aggregates, Problem
from ensemble.risk import ClipCurve, choose_clip, clip_curve
from ensemble.select import COMPETITION, Cost, Limits, Selection, frame_counts
from ensemble.table import Faces
from ensemble.tune import StudyOptions
from ensemble.validate import EQUAL, PLAIN, SINGLE, TUNED, Fitted, Losses, Nested, Task, compare, fit, nested

Floats = NDArray[np.float64]
Stage = Callable[[str], None]  # told what begins


@dataclass(frozen=True)
class Outcome:
    """What tuning found, and what it decided."""

    blend: Blend
    chosen: str  # TUNED or EQUAL
    why: str
    faces: Faces
    fitted: Fitted  # on all videos
    nested: Nested
    losses: Losses  # by blends tuned without a video's fold; those that may ship clipped, PLAIN as it is
    naive: float  # log loss of the tuned blend on the very videos it was tuned on: too low
    clip: ClipCurve
    selection: Selection | None  # None without costs
    limits: Limits
    costs: Mapping[str, Cost]  # empty where none are known
    contributions: Contributions
    notes: tuple[str, ...]

    @property
    def expected(self) -> Estimate:
        """The log loss of what ships."""
        return self.losses.of[self.chosen]


def tune_blend(
    faces: Faces,
    options: StudyOptions,
    limits: Limits = COMPETITION,
    costs: Mapping[str, Cost] | None = None,
    sha256: Mapping[str, str] | None = None,
    force: bool = False,
    notes: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
    stage: Stage = lambda _: None,
) -> Outcome:
    """Tune a blend on labelled faces and decide between it and equal weights.

    costs: member -> bytes and seconds; without them there is no limit. sha256: member -> hash of its weights. force:
    ship the tuned blend whatever it is worth. notes: what a reader should know beside what is found here. progress:
    told how many trials have ended; there are options.trials times OUTER + 1. Raises ValueError with too few groups,
    or when the limits allow no member.
    """
    most = int(np.diff(faces.layout.person_starts).max())
    views = {n: Aggregates(faces.with_frames(n) if n < most else faces) for n in frame_counts(most, limits.frames)}
    task = Task(views, options, limits, costs or {})
    stage("tuning without each fold")
    inside = nested(task, progress)
    stage("tuning on all")
    fitted = fit(task, np.arange(len(faces.filename)), progress)
    clip, losses = _after_clip(faces, inside)
    chosen, why = _choose(losses, force)
    stage("line-ups, worth")
    said = (*notes, *_notes(task, fitted))
    return _outcome(task, fitted, inside, clip, losses, chosen, why, dict(sha256 or {}), said)


def _after_clip(faces: Faces, inside: Nested) -> tuple[dict[str, tuple[float, float]], Losses]:
    """A clip for each blend that may ship, and the losses with clips that did not see their fold either."""
    truth, fold = faces.known(), inside.fold
    prob = {name: sigmoid(logit) for name, logit in inside.logit.items()}
    clip = {name: choose_clip(truth.label, prob[name], fold) for name in (TUNED, EQUAL, SINGLE)}
    clipped = {name: values.copy() for name, values in prob.items()}
    for name, held in product(clip, np.unique(fold)):
        here = fold == held
        bounds = choose_clip(truth.label[~here], prob[name][~here], fold[~here])
        clipped[name][here] = np.clip(prob[name][here], *bounds)
    pairs = [(TUNED, EQUAL), (TUNED, SINGLE), (EQUAL, SINGLE), (TUNED, PLAIN), (EQUAL, PLAIN)]
    return clip, compare(truth.label, truth.group, clipped, pairs)


def _choose(losses: Losses, force: bool) -> tuple[str, str]:
    gain = losses.difference[TUNED, EQUAL]
    interval = f"{gain.value:+.5f} [{gain.low:+.5f}, {gain.high:+.5f}] nats against equal weights"
    if gain.high < 0:
        return TUNED, f"tuned weights are clearly better: {interval}"
    if force:
        return TUNED, f"--force: tuned weights are not clearly better, {interval}"
    return EQUAL, f"tuned weights are refused, they are not clearly better: {interval}"


def _outcome(
    task: Task,
    fitted: Fitted,
    inside: Nested,
    clip: Mapping[str, tuple[float, float]],
    losses: Losses,
    chosen: str,
    why: str,
    sha256: dict[str, str],
    notes: tuple[str, ...],
) -> Outcome:
    faces, truth, seed = task.faces, task.faces.known(), task.options.seed
    structure, mix = fitted.blends()[chosen]
    members, frames = fitted.best_subset.members, fitted.best_subset.frames
    view, everybody = task.views[frames], np.arange(len(faces.filename))
    values = Problem(view, 0.0, everybody, members).values(structure.aggregation)
    before, after = sigmoid(inside.logit[PLAIN]), np.clip(sigmoid(inside.logit[chosen]), *clip[chosen])
    contributions = measure_contributions(
        members, values, truth, faces.filename, fitted.ridge, chosen == EQUAL, seed, before, after
    )
    naive = mix_logit(
        Problem(view, 0.0, everybody, members).values(fitted.tuned.structure.aggregation),
        fitted.tuned.mix,
        fitted.tuned.structure.space,
    )
    # Who weighs nothing is not run, so no rung may ask for it.
    used = tuple(name for name, weight in zip(members, mix.weights, strict=True) if weight > 0)
    blend = Blend(
        members,
        mix,
        structure.space,
        structure.aggregation,
        clip[chosen],
        frames,
        False,
        {name: sha256[name] for name in members if name in sha256},
        fallback_ensembles(used, values[:, mix.weights > 0], truth, task.costs, fitted.ridge, chosen == EQUAL, seed),
        _facts(task, fitted, losses, chosen, why),
    )
    return Outcome(
        blend,
        chosen,
        why,
        faces,
        fitted,
        inside,
        losses,
        compare(truth.label, truth.group, {"": np.clip(sigmoid(naive), *clip[TUNED])}, []).of[""].value,
        clip_curve(truth.label, sigmoid(inside.logit[chosen]), inside.fold),
        task.search(everybody, fitted.ridge).run() if task.costs else None,
        task.limits,
        task.costs,
        contributions,
        notes,
    )


def _facts(task: Task, fitted: Fitted, losses: Losses, chosen: str, why: str) -> dict[str, Any]:
    """What blend.json says of itself; rounded, so that the last bits of another machine do not change the file."""
    expected, truth = losses.of[chosen], task.faces.known()
    return {
        "chosen": chosen,
        "why": why,
        "expected_log_loss": {
            **_interval(expected),
            "of": "videos like those it was tuned on, classes half each; nested cross-validation, bootstrap by group",
        },
        "compared": {name: _interval(estimate) for name, estimate in losses.of.items()},
        "gain": {f"{a} - {b}": _interval(estimate) for (a, b), estimate in losses.difference.items()},
        "tuned_on": {
            "table_sha256": task.faces.sha256,
            "videos": len(truth.label),
            "fakes": int(truth.label.sum()),
            "groups": len(set(truth.group.tolist())),
            "faces": len(task.faces.logit),
        },
        "study": {
            "trials": task.options.trials,
            "seed": task.options.seed,
            "shrinkage": fitted.ridge,
            "certificate_gap": float(f"{fitted.tuned.gap:.2e}"),
            "weights": {
                name: round(float(weight), 6)
                for name, weight in zip(fitted.best_subset.members, fitted.tuned.mix.weights, strict=True)
            },
        },
    }


def _interval(estimate: Estimate) -> dict[str, float]:
    return {"value": round(estimate.value, 6), "low": round(estimate.low, 6), "high": round(estimate.high, 6)}


def _notes(task: Task, fitted: Fitted) -> tuple[str, ...]:
    """What a reader has to know about how far the figures carry."""
    faces, notes, view = task.faces, list(task.faces.lost), task.views[max(task.views)]
    if not view.frames_differ:
        notes.append("no person has two faces in the table: rules over faces and the number of frames cannot be tuned")
    if not view.people_differ:
        notes.append("no video shows two people: rules over people cannot be tuned")
    if faces.unscored:
        notes.append(f"{len(faces.unscored)} videos without a judged face get the prior in any blend: left out")
    if not task.costs:
        notes.append("no costs were given: bytes and seconds are not limited")
    elif len(fitted.best_subset.members) < len(faces.members):
        out = sorted(set(faces.members) - set(fitted.best_subset.members))
        notes.append(f"left out by the limits: {', '.join(out)}")
    return tuple(notes)
