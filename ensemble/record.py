"""What blend.json and the report say of a tuning that is decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ensemble.convex import SHIFTS, TEMPERATURES, Mix
from ensemble.facts import DIGITS, ExpectedLoss, Facts, StudyFacts, TableFacts
from ensemble.metrics import sigmoid
from ensemble.rates import measure_rates
from ensemble.usual import Usual
from ensemble.validate import EQUAL, TUNED, Fitted, Losses, Nested, Task


@dataclass(frozen=True)
class Decision:
    """The blend that ships, and what the decision rests on."""

    chosen: str  # one of ensemble.decide.MAY_SHIP
    why: str
    clip: Mapping[str, tuple[float, float]]  # of each blend that may ship
    losses: Losses


def facts_of(task: Task, fitted: Fitted, inside: Nested, decision: Decision) -> Facts:
    """What blend.json says beside what is needed to predict."""
    losses, truth = decision.losses, task.faces.known()
    weights = zip(fitted.best_subset.members, fitted.tuned.mix.weights, strict=True)
    return Facts(
        chosen=decision.chosen,
        why=decision.why,
        expected_log_loss=ExpectedLoss.from_estimate(losses.of[decision.chosen]),
        compared=losses.of,
        by_source={s: {n: round(v, DIGITS) for n, v in own.items()} for s, own in losses.by_source.items()} or None,
        gain={f"{a} - {b}": estimate for (a, b), estimate in losses.difference.items()},
        tuned_on=TableFacts(
            table_sha256=task.faces.sha256,
            videos=len(truth.label),
            fakes=int(truth.label.sum()),
            groups=truth.groups,
            faces=len(task.faces.logit),
        ),
        study=StudyFacts(
            trials=task.options.trials,
            seed=task.options.seed,
            shrinkage=fitted.ridge,
            certificate_gap=float(f"{fitted.tuned.gap:.2e}"),
            weights={name: round(float(weight), DIGITS) for name, weight in weights},
        ),
        rates=measure_rates(truth, np.clip(sigmoid(inside.logit[decision.chosen]), *decision.clip[decision.chosen])),
        usual=Usual.of(task.faces.of([name for name, weight in _used(fitted, decision) if weight > 0])),
    )


def _used(fitted: Fitted, decision: Decision) -> list[tuple[str, float]]:
    """The members of the blend that ships, and their weights."""
    weights = fitted.blends()[decision.chosen][1].weights
    return list(zip(fitted.best_subset.members, weights.tolist(), strict=True))


def _at_bound(mix: Mix) -> str:
    """Which number of a mix lies at its bound; empty for none."""
    if not TEMPERATURES[0] * 1.001 < mix.temperature < TEMPERATURES[1] / 1.001:
        return f"temperature {mix.temperature:g}"
    return "" if abs(mix.shift) < SHIFTS[1] * 0.999 else f"shift {mix.shift:+g}"


def notes_of(task: Task, fitted: Fitted) -> tuple[str, ...]:
    """What a reader has to know about how far the figures carry."""
    faces, notes, view = task.faces, list(task.faces.lost), task.views[max(task.views)]
    if not view.frames_differ:
        notes.append("no person has two faces in the table: rules over faces and the number of frames cannot be tuned")
    if not view.people_differ:
        notes.append("no video shows two people: rules over people cannot be tuned")
    if faces.unscored:
        notes.append(f"{len(faces.unscored)} videos without a scored face get the prior in any blend: left out")
    for name, (_, mix) in fitted.blends().items():
        if name in (TUNED, EQUAL) and (bound := _at_bound(mix)):
            notes.append(f"the {bound} of {name} lies at its bound: are the labels those of these videos?")
    if not task.costs:
        notes.append("no costs were given: bytes and seconds are not limited")
    elif len(fitted.best_subset.members) < len(faces.members):
        out = sorted(set(faces.members) - set(fitted.best_subset.members))
        notes.append(f"left out by the limits: {', '.join(out)}")
    return tuple(notes)
