"""The report of `dfdc tune`: one HTML file that opens anywhere, offline: what ships, why, and what it rests on."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.files import write_text
from common.html import Cell, Table, render
from ensemble import pictures, summary
from ensemble.blend import TEST_PRIOR
from ensemble.contribution import BINS
from ensemble.decide import Outcome
from ensemble.report_parts import Block, Section, beside, columns_of, table_of
from ensemble.report_study import fallbacks_of, run_of, study_of
from ensemble.select import Candidate
from ensemble.summary import interval, number, verdict_of
from ensemble.validate import EQUAL, TUNED

if TYPE_CHECKING:
    pass

BOUNDS = 4  # every fourth bound of the clip has a row
NATS = "log loss, nats"


def write_report(path: Path, outcome: Outcome, command: str = "") -> None:
    """Write the HTML report of `outcome` to `path`, whole or not at all; the same outcome gives the same bytes.

    Args:
        path: the file.
        outcome: what tuning came to.
        command: what the user typed, for the last section.

    Raises:
        OSError: `path` cannot be written.
    """
    parts = (_blends, _members, _alike, _calibration, _clip, _subsets, _disagreements, _slices, study_of, fallbacks_of)
    sections = [section for part in parts if (section := part(outcome)).shown()]
    page = render(
        "ensemble/report.html.j2",
        title=f"Blend of {len(outcome.blend.members)}: {outcome.chosen}",
        chosen=outcome.chosen,
        why=f"{outcome.why[:1].upper()}{outcome.why[1:]}. {summary.doubt(outcome)}",
        cards=_verdict(outcome),
        weights=_weights(outcome),
        sections=[*sections, run_of(outcome, command)],
    )
    write_text(path, page)


def _verdict(outcome: Outcome) -> list[tuple[str, str, str]]:
    blend, expected = outcome.blend, outcome.expected
    low, high = blend.clip
    dearest = max(-math.log(bound) if bound > 0 else math.inf for bound in (low, 1 - high))
    premium = number(summary.clip_premium(outcome), 5, "+")
    seen = f"tuned blend, videos it was tuned on; {number(outcome.losses.of[TUNED].value, 4)} on others"
    prior = f"shift; members behave as if {number(100 * summary.expected_prior(outcome), 1, unit=' %')} were fake, not "
    return [
        ("Expected log loss", number(expected.value, 4), f"95 % {interval(expected)}; 0.5 for all scores 0.6931"),
        ("In sample, too low", number(outcome.naive, 4), seen),
        ("Clip", f"{low:g} to {high:g}", f"{premium} nats here; one certain error {number(dearest, 2)} at most"),
        ("Temperature", number(blend.mix.temperature, 3), f"{blend.space} space; {blend.aggregation}"),
        ("Prior", number(blend.mix.shift, 3, "+"), f"{prior}{100 * TEST_PRIOR:g} %"),
    ]


def _weights(outcome: Outcome) -> Table:
    members, weights = outcome.blend.members, outcome.blend.mix.weights
    rows = []
    for m in np.argsort(-weights, kind="stable"):
        weight = float(weights[m])
        small = "" if weight > 0 else "need not run"
        rows.append((Cell(names=(members[m],)), Cell(f"{weight:.3f}", bar=weight, small=small)))
    return table_of(("member", "weight"), rows, "weights")


def _blends(outcome: Outcome) -> Section:
    of = outcome.losses.of
    gains = [(f"{a} - {b}", gain) for (a, b), gain in outcome.losses.difference.items()]
    clear = [name for name, gain in gains if verdict_of(gain) == "better"]
    losses = [
        [Cell(name, strong="ships" if name == outcome.chosen else ""), *rest]
        for name, *rest in summary.loss_rows(outcome)
    ]
    above = pictures.forest(list(of.items()), NATS, [outcome.chosen])
    below = pictures.forest(gains, f"difference of {NATS}", clear, zero=True)
    return Section(
        "Blends",
        f"Each blend is tuned without the videos it is scored on; with {EQUAL} each member "
        "is calibrated by itself, and their mean once more. "
        "Differences are paired: what two blends share cancels, so a difference can be clear where two intervals "
        "overlap. Below 0 the first is better. Vermilion marks what ships, and differences that lie below 0 with their "
        "interval.",
        (
            beside(above, table_of(("blend", "log loss", "95 %", *outcome.losses.by_source), losses)),
            beside(below, table_of(("difference", "log loss", "95 %", "the first is"), summary.gain_rows(outcome))),
        ),
    )


def _members(outcome: Outcome) -> Section:
    missed = {name: own.missed for name, own in outcome.contributions.singles.items() if own.missed}
    widest = max((abs(x) for e in missed.values() for x in (e.low, e.value, e.high) if math.isfinite(x)), default=0.0)
    rows = [
        [Cell(names=(name,)), *cells, pictures.whisker(missed[name], widest) if name in missed else ""]
        for name, *cells in summary.member_rows(outcome)
    ]
    return Section(
        "Members",
        "Each member by itself: its log loss as it is, and calibrated on other folds. Its contribution is what the log "
        "loss rises by without it, when the others are tuned again; an interval that lies above 0 says that the blend "
        "needs the member.",
        (Block(table=table_of((*summary.MEMBER_COLUMNS, "without it"), rows)),),
    )


def _alike(outcome: Outcome) -> Section:
    shown, some = columns_of(outcome)
    places = [outcome.blend.members.index(name) for name in shown]
    correlation = outcome.contributions.correlation[np.ix_(places, places)]
    rows = [
        (Cell(f"{at} ", names=(name,)), *(pictures.shade(r, number(r, 2)) for r in line))
        for at, (name, line) in enumerate(zip(shown, correlation, strict=True), 1)
    ]
    lead = f"The correlation of their logits: the darker a cell, the less the second member adds.{some}"
    head = ("member", *map(str, range(1, len(rows) + 1)))
    table = table_of(head, rows if len(rows) > 1 else [], "heat")
    return Section("How alike members are", lead, (Block(table=table),))


def _calibration(outcome: Outcome) -> Section:
    before, after = outcome.contributions.before, outcome.contributions.after
    bins = zip(after.said, after.fake, after.size, strict=True)
    rows = [(f"{said:.3f}", f"{fake:.3f}", str(size)) for said, fake, size in bins]
    picture = pictures.reliability(before, after, ("equal weights, as they are", "what ships"), BINS)
    return Section(
        "Calibration",
        "The share of fakes among the videos with a given prob_fake, the classes weighted half each; on the dashed "
        f"line the two agree. Expected calibration error (15 bins): {number(before.error, 4)} before, "
        f"{number(after.error, 4)} after. The table describes what ships.",
        (
            beside(picture, table_of(("prob_fake", "share of fakes", "videos"), rows)),
            Block(facts=tuple(summary.width_facts(outcome))),
        ),
    )


def _clip(outcome: Outcome) -> Section:
    curve, (low, high) = outcome.clip, outcome.blend.clip
    # Bounds on the way, and those that were chosen; the blend's upper one is told as a distance from 1.
    chosen = {int(np.abs(np.array(curve.bound) - bound).argmin()) for bound in (low, 1 - high)}
    rows = []
    for at in sorted({*range(0, len(curve.bound), BOUNDS), *chosen}):
        losses = (number(curve.mean[at], 5), number(curve.worst[at], 5), number(curve.one_error[at], 1))
        rows.append((Cell(f"{curve.bound[at]:g}", strong="chosen" if at in chosen else ""), *losses))
    return Section(
        "What the clip costs and what it protects against",
        f"{low:g} to {high:g} are the widest bounds that serve the worst fold as well as its best bounds do, each side "
        "by itself. One error: the nats that one video costs when the blend is certain and wrong.",
        (beside(pictures.clip_cost(curve, (low, high)), table_of(("bound", "mean", "worst fold", "one error"), rows)),),
    )


def _subsets(outcome: Outcome) -> Section:
    title, limits, chosen = "Subsets within the limits", outcome.limits, summary.chosen_subset(outcome)
    if outcome.selection is None:
        why = "no costs were given, so bytes and seconds are neither known nor limited"
        return Section(title, "", (Block(facts=(("left out", why),)),))
    axes: tuple[tuple[str, Callable[[Candidate], float], float], ...] = (
        ("seconds per video", lambda c: c.seconds, limits.seconds),
        ("MB of weights", lambda c: c.bytes / 1e6, limits.bytes / 1e6),
    )
    images, tables = [], []
    for axis, cost, limit in axes:
        line = outcome.selection.frontier(cost)
        images.append(pictures.subsets(outcome.selection.candidates, line, chosen, cost, limit, axis))
        rows = [(number(cost(c), 2), *_subset(c)) for c in line]
        tables.append(Block(table=table_of((axis, "log loss", "frames", "limits", "members"), rows, "names")))
    lead = (
        f"{summary.how_searched(outcome)} The log loss is that of tuned weights on other folds, not clipped. The "
        "tables list the subsets than which no cheaper one is better."
    )
    return Section(title, lead, (Block(tuple(images)), *tables))


def _subset(candidate: Candidate) -> tuple[object, ...]:
    within = "inside" if candidate.allowed else Cell(strong="beyond")
    return number(candidate.log_loss, 4), str(candidate.frames), within, Cell(names=tuple(candidate.members))


def _disagreements(outcome: Outcome) -> Section:
    members, some = columns_of(outcome)
    rows = [
        (
            *(Cell(names=(video.filename,)), video.label, number(video.prob_fake, 3)),
            *(pictures.shade(1 - 2 * video.of[m], number(video.of[m], 3)) for m in members),
        )
        for video in outcome.contributions.disagreements
    ]
    return Section(
        "Videos on which members disagree most",
        f"prob_fake of the blend, clipped, and of each member, calibrated; blue is real, vermilion is fake.{some}",
        (Block(table=table_of(("video", "label", "blend", *members), rows, "heat")),),
    )


def _slices(outcome: Outcome) -> Section:
    rows = []
    for part in outcome.contributions.slices:
        scores = (number(score, 4) for score in (part.log_loss, part.auc, part.accuracy))
        rows.append((part.name, str(part.videos), *scores, str(part.missed), str(part.accused)))
    head = ("degradation", "videos", "log loss", "AUC", "accuracy", "fakes called real", "reals called fake")
    lead = "What ships, on the videos with each degradation."
    return Section("By degradation", lead, (Block(table=table_of(head, rows)),))
