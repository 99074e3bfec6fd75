"""Tune a blend, validate it, and ship the tuned weights only where they are clearly better than equal ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from ensemble.aggregate import Aggregation
from ensemble.blend import Blend
from ensemble.contribution import Contributions, fallback_ensembles, measure_contributions
from ensemble.convex import mix_logit
from ensemble.facts import DIGITS, ExpectedLoss, Facts, StudyFacts, TableFacts
from ensemble.metrics import Estimate, Floats, log_loss_balanced, sigmoid
from ensemble.problem import Aggregates, Problem
from ensemble.risk import ClipCurve, choose_clip, clip_curve
from ensemble.select import COMPETITION, Cost, Limits, Selection, frame_counts
from ensemble.table import Faces
from ensemble.tune import StudyOptions
from ensemble.validate import EQUAL, PLAIN, SINGLE, TUNED, Fitted, Losses, Nested, Task, compare, fit, nested

Stage = Callable[[str], None]  # told what begins


@dataclass(frozen=True)
class Decision:
    """The blend that ships, and what the decision rests on."""

    chosen: str  # TUNED or EQUAL
    why: str
    clip: Mapping[str, tuple[float, float]]  # of each blend that may ship
    losses: Losses


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

    Args:
        faces: the labelled table.
        options: length, seed and storage of each study.
        limits: what the members may use together; only applied with costs.
        costs: member -> bytes and seconds.
        sha256: member -> hash of its weights, which blend.json then names.
        force: ship the tuned weights although they are not clearly better.
        notes: what a reader should know beside what is found here.
        progress: told how many trials have ended; there are options.trials times OUTER + 1.
        stage: told what begins.

    Returns:
        The blend that ships and all that the report shows.

    Raises:
        ValueError: there are too few groups, or the limits allow no member.
    """
    most = int(np.diff(faces.layout.person_starts).max())
    views = {n: Aggregates(faces.with_frames(n) if n < most else faces) for n in frame_counts(most, limits.frames)}
    task = Task(views, options, limits, costs or {})
    stage("tuning without each fold")
    inside = nested(task, progress)
    stage("tuning on all")
    fitted = fit(task, np.arange(len(faces.filename)), progress)
    clip, losses = _after_clip(faces, inside)
    decision = Decision(*_choose(losses, force), clip, losses)
    stage("subsets, contributions")
    return _outcome(task, fitted, inside, decision, dict(sha256 or {}), (*notes, *_notes(task, fitted)))


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
    task: Task, fitted: Fitted, inside: Nested, decision: Decision, sha256: dict[str, str], notes: tuple[str, ...]
) -> Outcome:
    """Measure what the report shows of a decision that is made."""
    truth = task.faces.known()
    everybody = np.arange(len(truth.label))
    selection = task.search(everybody, fitted.ridge).run() if task.costs else None
    return Outcome(
        blend=_blend(task, fitted, decision, sha256),
        chosen=decision.chosen,
        why=decision.why,
        faces=task.faces,
        fitted=fitted,
        nested=inside,
        losses=decision.losses,
        naive=_naive_loss(task, fitted, decision),
        clip=clip_curve(truth.label, sigmoid(inside.logit[decision.chosen]), inside.fold),
        selection=selection,
        limits=task.limits,
        costs=task.costs,
        contributions=_contributions(task, fitted, inside, decision),
        notes=notes,
    )


def _values(task: Task, fitted: Fitted, how: Aggregation) -> Floats:
    """(V, M) logits of all videos by the members of the chosen subset, at its number of frames."""
    subset = fitted.best_subset
    everybody = np.arange(len(task.faces.filename))
    return Problem(task.views[subset.frames], 0.0, everybody, subset.members).values(how)


def _blend(task: Task, fitted: Fitted, decision: Decision, sha256: dict[str, str]) -> Blend:
    structure, mix = fitted.blends()[decision.chosen]
    members, equal = fitted.best_subset.members, decision.chosen == EQUAL
    values = _values(task, fitted, structure.aggregation)
    # A member of weight 0 does not run, so no fallback may ask for it.
    used = tuple(name for name, weight in zip(members, mix.weights, strict=True) if weight > 0)
    fallbacks = fallback_ensembles(
        used, values[:, mix.weights > 0], task.faces.known(), task.costs, fitted.ridge, equal, task.options.seed
    )
    return Blend(
        members=members,
        mix=mix,
        space=structure.space,
        aggregation=structure.aggregation,
        clip=decision.clip[decision.chosen],
        frames=fitted.best_subset.frames,
        sha256={name: sha256[name] for name in members if name in sha256},
        fallbacks=fallbacks,
        facts=_facts(task, fitted, decision),
    )


def _contributions(task: Task, fitted: Fitted, inside: Nested, decision: Decision) -> Contributions:
    structure, _ = fitted.blends()[decision.chosen]
    chosen = decision.chosen
    return measure_contributions(
        fitted.best_subset.members,
        _values(task, fitted, structure.aggregation),
        task.faces.known(),
        task.faces.filename,
        fitted.ridge,
        chosen == EQUAL,
        task.options.seed,
        before=sigmoid(inside.logit[PLAIN]),
        after=np.clip(sigmoid(inside.logit[chosen]), *decision.clip[chosen]),
    )


def _naive_loss(task: Task, fitted: Fitted, decision: Decision) -> float:
    """Log loss of the tuned blend on the videos that it was tuned on."""
    tuned, truth = fitted.tuned, task.faces.known()
    logit = mix_logit(_values(task, fitted, tuned.structure.aggregation), tuned.mix, tuned.structure.space)
    return log_loss_balanced(truth.label, np.clip(sigmoid(logit), *decision.clip[TUNED]))


def _facts(task: Task, fitted: Fitted, decision: Decision) -> Facts:
    losses, truth = decision.losses, task.faces.known()
    weights = zip(fitted.best_subset.members, fitted.tuned.mix.weights, strict=True)
    return Facts(
        chosen=decision.chosen,
        why=decision.why,
        expected_log_loss=ExpectedLoss.from_estimate(losses.of[decision.chosen]),
        compared=losses.of,
        gain={f"{a} - {b}": estimate for (a, b), estimate in losses.difference.items()},
        tuned_on=TableFacts(
            table_sha256=task.faces.sha256,
            videos=len(truth.label),
            fakes=int(truth.label.sum()),
            groups=len(set(truth.group.tolist())),
            faces=len(task.faces.logit),
        ),
        study=StudyFacts(
            trials=task.options.trials,
            seed=task.options.seed,
            shrinkage=fitted.ridge,
            certificate_gap=float(f"{fitted.tuned.gap:.2e}"),
            weights={name: round(float(weight), DIGITS) for name, weight in weights},
        ),
    )


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
