"""The report of `dfdc tune`: one HTML file that opens anywhere, offline: what ships, why, and what it rests on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from common.files import write_text
from common.html import html
from ensemble import pictures, summary
from ensemble.blend import TEST_PRIOR
from ensemble.contribution import BINS
from ensemble.convex import Mix
from ensemble.decide import Outcome
from ensemble.select import Candidate
from ensemble.summary import interval, number, verdict_of
from ensemble.tune import GAP
from ensemble.validate import EQUAL, TUNED, Fitted

# The browser itself then refuses every request, so "no network" does not rest on our care alone.
CONTENT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
BOUNDS = 4  # every fourth bound of the clip has a row
NATS = "log loss, nats"


def write_report(path: Path, outcome: Outcome, command: str = "") -> None:
    """Write the HTML report of `outcome` to `path`, whole or not at all; the same outcome gives the same bytes.

    command: what the user typed, for the last section. Raises OSError where `path` cannot be written.
    """
    write_text(path, _page(outcome, command))


def _page(outcome: Outcome, command: str) -> str:
    css = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    parts = (_verdict, _blends, _members, _alike, _calibration, _clip, _subsets, _disagreements, _slices, _study)
    body = "\n".join(filter(None, (part(outcome) for part in (*parts, _fallbacks))))
    title = f"Blend of {len(outcome.blend.members)}: {outcome.chosen}"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{html(title)}</title>
<meta http-equiv="Content-Security-Policy" content="{CONTENT_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<style>
{css}</style></head>
<body><header><h1>What ships: {html(outcome.chosen)}</h1>
<p class="lead">{html(outcome.why[:1].upper() + outcome.why[1:])}. {summary.doubt(outcome)}</p></header>
<main>
{body}
{_run(outcome, command)}
</main></body></html>
"""


def _section(title: str, lead: str, *body: str) -> str:
    """lead and body: ready HTML; nothing at all when the body is empty."""
    rest = "\n".join(filter(None, body))
    return f'<section><h2>{title}</h2>\n<p class="lead">{lead}</p>\n{rest}</section>' if rest else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table of ready HTML cells, the first of each row its heading, in a box that scrolls by itself."""
    cells = ((name, (c if c.startswith("<td") else f"<td>{c}</td>" for c in rest)) for name, *rest in rows)
    lines = [f'<tr><th scope="row">{name}</th>{"".join(rest)}</tr>\n' for name, rest in cells]
    names = "".join(f'<th scope="col">{name}</th>' for name in head)
    box = f'<div class="scroll" tabindex="0" role="region" aria-label="table by {head[0]}">'  # reached by keyboard
    top = f'{box}<table class="{kind}">\n<thead><tr>{names}</tr></thead>'
    return f"{top}\n<tbody>\n{''.join(lines)}</tbody></table></div>" if lines else ""


def _beside(picture: str, table: str) -> str:
    return f'<div class="pair"><figure>{picture}</figure>{table}</div>'


def _facts(rows: Iterable[tuple[str, str]]) -> str:
    """Ready HTML, name and value."""
    return f'<dl class="run">\n{"".join(f"<div><dt>{k}</dt><dd>{v}</dd></div>{chr(10)}" for k, v in rows)}</dl>'


def _name(member: str) -> str:
    """A name from a file: letters that are written from right to left must not turn what stands beside it."""
    return f"<bdi>{html(member)}</bdi>"


def _verdict(outcome: Outcome) -> str:
    blend, expected = outcome.blend, outcome.expected
    low, high = blend.clip
    dearest = max(-math.log(bound) if bound > 0 else math.inf for bound in (low, 1 - high))
    premium = number(summary.clip_premium(outcome), 5, "+")
    seen = f"tuned blend, videos it was tuned on; {number(outcome.losses.of[TUNED].value, 4)} on others"
    prior = f"shift; members behave as if {number(100 * summary.expected_prior(outcome), 1, unit=' %')} were fake, not "
    cards = (
        ("Expected log loss", number(expected.value, 4), f"95 % {interval(expected)}; 0.5 for all scores 0.6931"),
        ("In sample, too low", number(outcome.naive, 4), seen),
        ("Clip", f"{low:g} to {high:g}", f"{premium} nats here; one certain error {number(dearest, 2)} at most"),
        ("Temperature", number(blend.mix.temperature, 3), f"{blend.space} space; {blend.aggregation}"),
        ("Prior", number(blend.mix.shift, 3, "+"), f"{prior}{100 * TEST_PRIOR:g} %"),
    )
    tiles = (f"<div><dt>{name}</dt><dd>{value}<small>{html(note)}</small></dd></div>\n" for name, value, note in cards)
    order = np.argsort(-blend.mix.weights, kind="stable")
    rows = ((_name(blend.members[m]), pictures.bar(blend.mix.weights[m])) for m in order)
    return f"""<section><dl class="cards">
{"".join(tiles)}</dl>
<p class="lead">Log loss in nats, the classes weighted half each, lower is better: on videos like those it was tuned on,
judged by blends that were tuned without them. Intervals are by bootstrap of whole groups.</p>
{_table(("member", "weight"), rows, "weights")}</section>"""


def _blends(outcome: Outcome) -> str:
    of, ships = outcome.losses.of, " <b>ships</b>"
    gains = [(f"{a} - {b}", gain) for (a, b), gain in outcome.losses.difference.items()]
    clear = [name for name, gain in gains if verdict_of(gain) == "better"]
    losses = [[html(name) + ships * (name == outcome.chosen), *rest] for name, *rest in summary.loss_rows(outcome)]
    above = pictures.forest(list(of.items()), NATS, [outcome.chosen])
    below = pictures.forest(gains, f"difference of {NATS}", clear, zero=True)
    return _section(
        "Blends",
        f"Each tuned without the videos it is judged on; {EQUAL} have a tuned temperature and shift too. Differences "
        "are paired: what two blends share cancels, so they can be sure where two intervals overlap. Below 0 the first "
        "is better. Vermilion: what ships, and differences that lie below 0 with their interval.",
        _beside(above, _table(("blend", "log loss", "95 %"), losses)),
        _beside(below, _table(("difference", "log loss", "95 %", "the first is"), summary.gain_rows(outcome))),
    )


def _members(outcome: Outcome) -> str:
    missed = {name: own.missed for name, own in outcome.contributions.singles.items() if own.missed}
    widest = max((abs(x) for e in missed.values() for x in (e.low, e.value, e.high) if math.isfinite(x)), default=0.0)
    rows = [
        [_name(name), *cells, pictures.whisker(missed[name], widest) if name in missed else ""]
        for name, *cells in summary.member_rows(outcome)
    ]
    return _section(
        "Members",
        "Each by itself: log loss as it is, and calibrated on other folds. Without it: what the log loss rises by when "
        "the others are tuned again; an interval that lies above 0 says that the blend would miss it.",
        _table((*summary.MEMBER_COLUMNS, "without it"), rows),
    )


def _alike(outcome: Outcome) -> str:
    rows = [
        (f"{at} {_name(name)}", *(pictures.shade(r, number(r, 2)) for r in line))
        for at, (name, line) in enumerate(zip(outcome.blend.members, outcome.contributions.correlation, strict=True), 1)
    ]
    lead = "Correlation of their logits: the darker, the less a second one adds."
    head = ("member", *map(str, range(1, len(rows) + 1)))
    return _section("How alike members are", lead, _table(head, rows if len(rows) > 1 else [], "heat"))


def _calibration(outcome: Outcome) -> str:
    before, after = outcome.contributions.before, outcome.contributions.after
    bins = zip(after.said, after.fake, after.size, strict=True)
    rows = [(f"{said:.3f}", f"{fake:.3f}", str(size)) for said, fake, size in bins]
    picture = pictures.reliability(before, after, ("equal weights, as they are", "what ships"), BINS)
    return _section(
        "Do probabilities mean what they say",
        "Of the videos of which it said so much, how many are fake, the classes weighted half each; on the dashed line "
        f"they are as many as it said. Expected calibration error (15 bins): {number(before.error, 4)} before, "
        f"{number(after.error, 4)} after. The table is of what ships.",
        _beside(picture, _table(("prob_fake", "share of fakes", "videos"), rows)),
    )


def _clip(outcome: Outcome) -> str:
    curve, (low, high) = outcome.clip, outcome.blend.clip
    # Bounds on the way, and those that were chosen; the blend's upper one is told as a distance from 1.
    chosen = {int(np.abs(np.array(curve.bound) - bound).argmin()) for bound in (low, 1 - high)}
    rows = []
    for at in sorted({*range(0, len(curve.bound), BOUNDS), *chosen}):
        losses = (number(curve.mean[at], 5), number(curve.worst[at], 5), number(curve.one_error[at], 1))
        rows.append((f"{curve.bound[at]:g}" + " <b>chosen</b>" * (at in chosen), *losses))
    return _section(
        "What the clip costs, and what it insures",
        f"{low:g} to {high:g}: the widest bounds that serve the worst fold as well as its best ones do, each side by "
        "itself. One error: the nats that one video costs when the blend is certain and wrong.",
        _beside(pictures.clip_cost(curve, (low, high)), _table(("bound", "mean", "worst fold", "one error"), rows)),
    )


def _subsets(outcome: Outcome) -> str:
    title, limits, chosen = "Line-ups within the limits", outcome.limits, summary.chosen_subset(outcome)
    if outcome.selection is None:
        why = "no costs were given, so bytes and seconds are neither known nor limited"
        return _section(title, "", _facts([("left out", why)]))
    axes: tuple[tuple[str, Callable[[Candidate], float], float], ...] = (
        ("seconds per video", lambda c: c.seconds, limits.seconds),
        ("MB of weights", lambda c: c.bytes / 1e6, limits.bytes / 1e6),
    )
    images, tables = "", []
    for axis, cost, limit in axes:
        line = outcome.selection.frontier(cost)
        images += f"<figure>{pictures.subsets(outcome.selection.candidates, line, chosen, cost, limit, axis)}</figure>"
        rows = [(number(cost(c), 2), *_subset(c)) for c in line]
        tables.append(_table((axis, "log loss", "frames", "limits", "members"), rows, "names"))
    words = "Log loss: tuned weights, on other folds, not clipped. Tables: those than which no cheaper one is better."
    return _section(
        title, f"{html(summary.how_searched(outcome))} {words}", f'<div class="pair">{images}</div>', *tables
    )


def _subset(candidate: Candidate) -> tuple[str, ...]:
    within = "inside" if candidate.allowed else "<b>beyond</b>"
    return number(candidate.log_loss, 4), str(candidate.frames), within, ", ".join(map(_name, candidate.members))


def _disagreements(outcome: Outcome) -> str:
    members = outcome.blend.members
    rows = [
        (
            *(_name(video.filename), html(video.label), number(video.prob_fake, 3)),
            *(pictures.shade(1 - 2 * video.of[m], number(video.of[m], 3)) for m in members),
        )
        for video in outcome.contributions.disagreements
    ]
    return _section(
        "Videos on which members disagree most",
        "prob_fake of the blend, clipped, and of each member, calibrated; blue is real, vermilion is fake.",
        _table(("video", "label", "blend", *map(_name, members)), rows, "heat"),
    )


def _slices(outcome: Outcome) -> str:
    rows = []
    for part in outcome.contributions.slices:
        scores = (number(score, 4) for score in (part.log_loss, part.auc, part.accuracy))
        rows.append((html(part.name), str(part.videos), *scores, str(part.missed), str(part.accused)))
    head = ("degradation", "videos", "log loss", "AUC", "accuracy", "fakes called real", "reals called fake")
    return _section("By degradation", "What ships, on videos to which this was done.", _table(head, rows))


def _study(outcome: Outcome) -> str:
    tuned, members = outcome.fitted.tuned, outcome.faces.members
    how = "weights, temperature and shift" if tuned.structure.space == "logit" else "weights at its temperature, shift"
    taken = "further than that, so the optimum was taken over" if tuned.polished else "close enough, so it was kept"
    facts = (
        ("structure", html(f"{tuned.structure.space} space, {tuned.structure.aggregation}")),
        ("trials", f"{tuned.trials}, of them {tuned.pruned} ended early"),
        ("shrinkage (ridge)", f"{outcome.fitted.ridge:g}, towards equal weights; chosen on held-out folds"),
        ("certificate", f"{tuned.gap:.1e} nats above the proven best {how}; {GAP:g} is allowed: {taken}"),
    )
    fits = [("all videos", outcome.fitted)]
    fits += [(f"without fold {at}", fitted) for at, fitted in enumerate(outcome.nested.fits, 1)]
    head = ("tuned on", "ridge", "space", "temperature", "shift", *map(_name, members))
    return _section(
        "The study",
        "The tuned blend, whether it ships or not. Weights that differ from fold to fold rest on little.",
        _facts(facts),
        _table((*head, "rules"), [(name, *_fit(fitted, members)) for name, fitted in fits]),
    )


def _fit(fitted: Fitted, members: Sequence[str]) -> list[str]:
    structure, mix = fitted.tuned.structure, _mix(fitted.best_subset.members, fitted.tuned.mix, members)
    return [f"{fitted.ridge:g}", structure.space, *mix, html(structure.aggregation)]


def _mix(have: Sequence[str], mix: Mix, members: Sequence[str]) -> list[str]:
    """Cells: temperature, shift, and a weight for each of `members`."""
    weight = dict(zip(have, mix.weights, strict=True))
    weights = [number(weight[name], 3) if name in weight else "-" for name in members]
    return [number(mix.temperature, 3), number(mix.shift, 3, "+"), *weights]


def _fallbacks(outcome: Outcome) -> str:
    members, left, rows = outcome.blend.members, outcome.blend.members, []
    for fallback in outcome.blend.fallbacks:
        gone = ", ".join(_name(name) for name in left if name not in fallback.members)
        rows.append([gone, number(fallback.log_loss, 4), *_mix(fallback.members, fallback.mix, members)])
        left = fallback.members
    return _section(
        "When time is short",
        "Drop members in this order: the one whose worth per second is the least goes first, and the rest get these "
        "weights. Log loss is that of tuned weights on other folds, not clipped.",
        _table(("drop", "log loss", "temperature", "shift", *map(_name, members)), rows),
    )


def _run(outcome: Outcome, command: str) -> str:
    faces, truth = outcome.faces, outcome.faces.known()
    fakes, groups = int(truth.label.sum()), len(set(truth.group.tolist()))
    rows = [("note", html(note)) for note in outcome.notes]
    rows += [
        ("videos", f"{len(truth.label)}: {fakes} fake, {len(truth.label) - fakes} real, in {groups} groups"),
        ("faces", f"{len(faces.logit)} judged by each member; {len(faces.unscored)} videos without"),
        ("members", ", ".join(map(_name, faces.members))),
        ("SHA-256 of the tables", f"<code>{html(faces.sha256) or 'n/a'}</code>"),
        ("command", f"<code>{html(command) or 'n/a'}</code>"),
    ]
    return f"<section><h2>Notes, data, command</h2>\n{_facts(rows)}</section>"
