"""Sections of the report of `dfdc tune` that tell how its numbers came about: the study, the fallbacks, the run."""

from __future__ import annotations

from collections.abc import Sequence

from common.html import Cell
from ensemble.convex import Mix
from ensemble.decide import Outcome
from ensemble.report_parts import Block, Section, columns_of, table_of
from ensemble.summary import WIDE, number
from ensemble.tune import GAP
from ensemble.validate import Fitted


def study_of(outcome: Outcome) -> Section:
    """What the study found, on all videos and without each fold."""
    tuned, (shown, some) = outcome.fitted.tuned, columns_of(outcome)
    members = outcome.faces.members if not some else shown
    how = "weights, temperature and shift" if tuned.structure.space == "logit" else "weights at its temperature, shift"
    taken = "further than that, so the optimum was taken over" if tuned.polished else "close enough, so it was kept"
    facts = (
        ("structure", f"{tuned.structure.space} space, {tuned.structure.aggregation}"),
        ("trials", f"{tuned.trials}, of them {tuned.pruned} ended early"),
        ("shrinkage (ridge)", f"{outcome.fitted.ridge:g}, towards equal weights; chosen on held-out folds"),
        ("certificate", f"{tuned.gap:.1e} nats above the proven best {how}; {GAP:g} is allowed: {taken}"),
    )
    fits = [("all videos", outcome.fitted)]
    fits += [(f"without fold {at}", fitted) for at, fitted in enumerate(outcome.nested.fits, 1)]
    head = ("tuned on", "ridge", "space", "temperature", "shift", *members, "rules")
    return Section(
        "The study",
        f"The tuned blend, whether it ships or not. Weights that differ from fold to fold rest on little.{some}",
        (Block(facts=facts), Block(table=table_of(head, [(name, *_fit(fitted, members)) for name, fitted in fits]))),
    )


def _fit(fitted: Fitted, members: Sequence[str]) -> list[str]:
    structure, mix = fitted.tuned.structure, _mix(fitted.best_subset.members, fitted.tuned.mix, members)
    return [f"{fitted.ridge:g}", structure.space, *mix, str(structure.aggregation)]


def _mix(have: Sequence[str], mix: Mix, members: Sequence[str]) -> list[str]:
    """Cells: temperature, shift, and a weight for each of `members`."""
    weight = dict(zip(have, mix.weights, strict=True))
    weights = [number(weight[name], 3) if name in weight else "-" for name in members]
    return [number(mix.temperature, 3), number(mix.shift, 3, "+"), *weights]


def fallbacks_of(outcome: Outcome) -> Section:
    """The fallback ensembles, in the order in which members are dropped."""
    (members, some), left, rows = columns_of(outcome), outcome.blend.members, []
    for fallback in outcome.blend.fallbacks:
        lost = tuple(name for name in left if name not in fallback.members)
        gone = Cell(names=lost) if len(lost) <= WIDE else f"{len(lost)} members"
        rows.append([gone, number(fallback.log_loss, 4), *_mix(fallback.members, fallback.mix, members)])
        left = fallback.members
    return Section(
        "When time is short",
        "Members are dropped in this order: the one whose contribution per second is the least goes first, and the "
        f"rest get these weights. The log loss is that of tuned weights on other folds, not clipped.{some}",
        (Block(table=table_of(("drop", "log loss", "temperature", "shift", *members), rows)),),
    )


def run_of(outcome: Outcome, command: str) -> Section:
    """Notes, the data and the command."""
    faces, truth = outcome.faces, outcome.faces.known()
    fakes, groups = int(truth.label.sum()), len(set(truth.group.tolist()))
    rows: list[tuple[str, object]] = [("note", note) for note in outcome.notes]
    rows += [
        ("videos", f"{len(truth.label)}: {fakes} fake, {len(truth.label) - fakes} real, in {groups} groups"),
        ("faces", f"{len(faces.logit)} scored by each member; {len(faces.unscored)} videos without"),
        ("members", Cell(names=tuple(faces.members))),
        ("SHA-256 of the tables", faces.sha256 or "n/a"),
        ("command", command or "n/a"),
    ]
    return Section("Notes, data, command", "", (Block(facts=tuple(rows)),))
