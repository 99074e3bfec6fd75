"""Tune a blend, validate it, and ship what has the lowest log loss on videos that it was not tuned on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np

from ensemble.aggregate import Aggregation
from ensemble.blend import TEST_PRIOR, Blend
from ensemble.clip import ClipCurve, choose_clip, clip_curve
from ensemble.contribution import Contributions, fallback_ensembles, measure_contributions
from ensemble.convex import Mix, mix_logit
from ensemble.folds import Fit, best_of
from ensemble.metrics import Estimate, Floats, sigmoid
from ensemble.problem import Aggregates, Problem
from ensemble.record import Decision, facts_of, notes_of
from ensemble.sections import SECONDS
from ensemble.select import COMPETITION, Cost, Limits, Selection, frame_counts
from ensemble.table import Faces
from ensemble.tune import StudyOptions
from ensemble.validate import (
    EQUAL,
    EQUAL_BY_WIDTH,
    PLAIN,
    SINGLE,
    TUNED,
    TUNED_BY_WIDTH,
    Fitted,
    Losses,
    Nested,
    Task,
    compare,
    equal_mix,
    fit,
    nested,
    with_width,
)

Stage = Callable[[str], None]  # told what begins

# Which blend ships. lowest: the lowest log loss on videos that it was not tuned on. cautious: the tuned one only where
# it is clearly better than equal weights, by its 95 % interval. tuned: the tuned one.
# The score is log loss and not significance: with a true gain of .005 nats and 500 groups the cautious rule ends .0025
# above the lowest (benchmarks/tune.py rules), and without a gain both end level.
ShipRule = Literal["lowest", "cautious", "tuned"]
WORDS = {
    TUNED: "tuned weights have",
    EQUAL: "equal weights have",
    PLAIN: "equal weights without a calibration have",
    TUNED_BY_WIDTH: "tuned weights with a calibration that follows the width of the faces have",
    EQUAL_BY_WIDTH: "equal weights with a calibration that follows the width of the faces have",
}
MAY_SHIP = tuple(WORDS)
NOTHING_KNOWN = float(np.log(2))  # nats: the log loss of saying 0.5 of every video


@dataclass(frozen=True)
class Outcome:
    """What tuning found, and what was decided."""

    blend: Blend
    chosen: str  # one of MAY_SHIP
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
    rule: ShipRule = "lowest",
    notes: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
    stage: Stage = lambda _: None,
    seconds: float = SECONDS,
) -> Outcome:
    """Tune a blend on labelled faces and decide between it and equal weights.

    Args:
        faces: the labelled table.
        options: length, seed and storage of each study.
        limits: what the members may use together; only applied with costs.
        costs: member -> bytes and seconds.
        sha256: member -> hash of its weights, which blend.json then names.
        rule: which blend ships.
        notes: what a reader should know beside what is found here.
        progress: told how many trials have ended; there are options.trials times OUTER + 1.
        stage: told what begins.
        seconds: for each section: tuning without a fold, tuning on all, subsets, contributions, fallbacks. What does
            not fit is cut short or left out, and the notes say so.

    Returns:
        The blend that ships and all that the report shows.

    Raises:
        ValueError: there are too few groups, the limits allow no member, or no blend is better than saying 0.5.
    """
    most = int(np.diff(faces.layout.person_starts).max())
    views = {n: Aggregates(faces.with_frames(n) if n < most else faces) for n in frame_counts(most, limits.frames)}
    task = Task(views, options, limits, costs or {}, seconds)
    stage("tuning without each fold")
    inside = nested(task, progress)
    stage("tuning on all")
    fitted = fit(task, np.arange(len(faces.filename)), progress, section=task.section("tuning on all"))
    clip, losses = _after_clip(faces, inside)
    decision = Decision(*choose(losses, rule), clip, losses)
    stage("subsets, contributions")
    found = _outcome(task, fitted, inside, decision, dict(sha256 or {}))
    return replace(found, notes=(*task.cuts, *notes, *notes_of(task, fitted)))


def _after_clip(faces: Faces, inside: Nested) -> tuple[dict[str, tuple[float, float]], Losses]:
    """A clip for each blend that may ship, and the losses with clips that did not see their fold either."""
    truth, fold = faces.known(), inside.fold
    prob = {name: sigmoid(logit) for name, logit in inside.logit.items()}
    clip = {name: choose_clip(truth, prob[name], fold) for name in prob}
    clipped = {name: values.copy() for name, values in prob.items()}
    for name, held in product(clip, np.unique(fold)):
        here = fold == held
        bounds = choose_clip(truth[~here], prob[name][~here], fold[~here])
        clipped[name][here] = np.clip(prob[name][here], *bounds)
    pairs = [(TUNED, EQUAL), (TUNED, SINGLE), (EQUAL, SINGLE), (TUNED, PLAIN), (EQUAL, PLAIN)]
    pairs += [(TUNED_BY_WIDTH, TUNED), (EQUAL_BY_WIDTH, EQUAL), (TUNED_BY_WIDTH, EQUAL_BY_WIDTH)]
    return clip, compare(truth, clipped, [(a, b) for a, b in pairs if a in prob and b in prob])


def choose(losses: Losses, rule: ShipRule) -> tuple[str, str]:
    """Decide which blend ships.

    Args:
        losses: of the blends that may, on videos that they were not tuned on.
        rule: by what.

    Returns:
        The name of the blend, one of MAY_SHIP, and a sentence that says why.

    Raises:
        ValueError: the best of them is no better than saying 0.5 of everything.
    """
    gain = losses.difference[TUNED, EQUAL]
    interval = f"{gain.value:+.5f} [{gain.low:+.5f}, {gain.high:+.5f}] nats against equal weights"
    if rule == "tuned":
        return TUNED, f"--force: tuned weights ship whatever their loss, {interval}"
    if rule == "cautious":
        if gain.high < 0:
            return TUNED, f"--cautious: tuned weights are clearly better, {interval}"
        return EQUAL, f"--cautious: tuned weights are refused, they are not clearly better, {interval}"
    # Several sources: what is worse than equal weights where those are worst is no gain for a set that nobody knows.
    allowed = [name for name in MAY_SHIP if name in losses.of and losses.worst(name) <= losses.worst(EQUAL)]
    chosen = min(allowed, key=lambda name: losses.of[name].value)
    if losses.of[chosen].value >= NOTHING_KNOWN:
        raise ValueError(
            f"no blend of these members is better than saying {TEST_PRIOR} of everything: the best, {chosen}, has a "
            f"log loss of {losses.of[chosen].value:.4f} on videos that it was not tuned on, and {TEST_PRIOR} has "
            f"{NOTHING_KNOWN:.4f}; are the labels those of these videos, and the logits those of P(fake)? --force "
            "ships the tuned weights all the same"
        )
    where = ", on the mean over sources, and are not worse on the worst one" if losses.by_source else ""
    return chosen, f"{WORDS[chosen]} the lowest log loss on videos that were held out{where}; tuned: {interval}"


def _outcome(task: Task, fitted: Fitted, inside: Nested, decision: Decision, sha256: dict[str, str]) -> Outcome:
    """Measure what the report shows of a decision that is made; the notes are still missing."""
    truth = task.faces.known()
    everybody = np.arange(len(truth))
    selection = task.search(everybody, fitted.ridge).run(task.section("subsets")) if task.costs else None
    return Outcome(
        blend=_blend(task, fitted, inside, decision, sha256),
        chosen=decision.chosen,
        why=decision.why,
        faces=task.faces,
        fitted=fitted,
        nested=inside,
        losses=decision.losses,
        naive=_naive_loss(task, fitted, decision),
        clip=clip_curve(truth, sigmoid(inside.logit[decision.chosen]), inside.fold),
        selection=selection,
        limits=task.limits,
        costs=task.costs,
        contributions=_contributions(task, fitted, inside, decision),
        notes=(),
    )


def _values(task: Task, fitted: Fitted, how: Aggregation) -> Floats:
    """(V, M) logits of all videos by the members of the chosen subset, at its number of frames."""
    subset = fitted.best_subset
    everybody = np.arange(len(task.faces.filename))
    return Problem(task.views[subset.frames], 0.0, everybody, subset.members).values(how)


def _blend(task: Task, fitted: Fitted, inside: Nested, decision: Decision, sha256: dict[str, str]) -> Blend:
    structure, mix = fitted.blends()[decision.chosen]
    members = fitted.best_subset.members
    values = _values(task, fitted, structure.aggregation)
    # A member of weight 0 does not run, so no fallback may ask for it.
    used = tuple(name for name, weight in zip(members, mix.weights, strict=True) if weight > 0)
    fallbacks = fallback_ensembles(
        used,
        values[:, mix.weights > 0],
        task.faces.known(),
        task.costs,
        _fit(fitted, decision),
        task.options.seed,
        task.section("fallback ensembles"),
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
        facts=facts_of(task, fitted, inside, decision),
    )


def _fit(fitted: Fitted, decision: Decision) -> Fit:
    """How the blend that ships is fitted, for subsets of its members."""
    fits: dict[str, Fit] = {
        TUNED: best_of(fitted.ridge),
        EQUAL: equal_mix,
        PLAIN: lambda values, _: Mix.equal(values.shape[1]),
        TUNED_BY_WIDTH: _by_width(best_of(fitted.ridge)),
        EQUAL_BY_WIDTH: _by_width(equal_mix),
    }
    return fits[decision.chosen]


def _by_width(fit: Fit) -> Fit:
    return lambda values, truth: with_width(fit(values, truth), values, truth, "logit")


def _contributions(task: Task, fitted: Fitted, inside: Nested, decision: Decision) -> Contributions:
    structure, _ = fitted.blends()[decision.chosen]
    chosen = decision.chosen
    return measure_contributions(
        fitted.best_subset.members,
        _values(task, fitted, structure.aggregation),
        task.faces.known(),
        task.faces.filename,
        _fit(fitted, decision),
        task.options.seed,
        before=sigmoid(inside.logit[PLAIN]),
        after=np.clip(sigmoid(inside.logit[chosen]), *decision.clip[chosen]),
        section=task.section("contributions"),
    )


def _naive_loss(task: Task, fitted: Fitted, decision: Decision) -> float:
    """Log loss of the tuned blend on the videos that it was tuned on."""
    tuned, truth = fitted.tuned, task.faces.known()
    logit = mix_logit(_values(task, fitted, tuned.structure.aggregation), tuned.mix, tuned.structure.space)
    return truth.loss(np.clip(sigmoid(logit), *decision.clip[TUNED]))
