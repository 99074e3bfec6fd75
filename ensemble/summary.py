"""What tuning came to, as text for a terminal; and how figures are written, there and in the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ensemble.blend import TEST_PRIOR
from ensemble.decide import Outcome
from ensemble.metrics import Estimate, sigmoid
from ensemble.select import Candidate
from ensemble.validate import EQUAL, EQUAL_BY_WIDTH, TUNED, TUNED_BY_WIDTH

FRONTIER = 6  # subsets of the frontier that a terminal shows
WIDE = 30  # members that a terminal lists, and that have a column in the tables of the report


def render(outcome: Outcome) -> str:
    """The verdict, blends, differences, members, limits and notes: about 30 lines, the most important ones first."""
    blends = _columns(("blend", "log loss", "95 % interval", *outcome.losses.by_source), loss_rows(outcome))
    gains = _columns(("difference", "log loss", "95 % interval", "the first is"), gain_rows(outcome))
    every = member_rows(outcome)
    rows = [row for row in every if len(every) <= WIDE or row[0] in heaviest(outcome)]
    members = _columns(MEMBER_COLUMNS, [[printable(name), *cells] for name, *cells in rows])
    members += [f"and {len(every) - len(rows)} members of less weight"] * (len(every) > len(rows))
    parts = (_verdict(outcome), blends, gains, members, _limits(outcome))
    notes = [f"note: {printable(note)}" for note in outcome.notes]
    return "\n\n".join("\n".join(part) for part in (*parts, notes) if part) + "\n"


def number(value: float | None, digits: int, sign: str = "", unit: str = "") -> str:
    """A number for people; "n/a" where there is none. sign: "+" shows it always."""
    return f"{value:{sign}.{digits}f}{unit}" if value is not None and math.isfinite(value) else "n/a"


def interval(estimate: Estimate, digits: int = 4, sign: str = "") -> str:
    """The 95 % interval alone."""
    return f"[{number(estimate.low, digits, sign)}, {number(estimate.high, digits, sign)}]"


def verdict_of(difference: Estimate) -> str:
    """What a paired difference, a minus b, says of a."""
    if not (math.isfinite(difference.low) and math.isfinite(difference.high)):
        return "n/a"
    return "better" if difference.high < 0 else "worse" if difference.low > 0 else "not clear"


def expected_prior(outcome: Outcome) -> float:
    """The share of fakes that the members behave as if they expect; the shift corrects it to the test set's."""
    mix = outcome.blend.mix
    return float(sigmoid(np.array(-mix.shift * mix.temperature)))


def clip_premium(outcome: Outcome) -> float:
    """What the clip adds to the log loss of what ships on these videos, nats; below 0 it helps even here."""
    prob_fake = sigmoid(outcome.nested.logit[outcome.chosen])
    return outcome.expected.value - outcome.faces.known().loss(prob_fake)


def doubt(outcome: Outcome) -> str:
    """A sentence that names what the shipped blend is not clearly better than; empty where there is nothing."""
    gains = ((b, gain) for (a, b), gain in outcome.losses.difference.items() if a == outcome.chosen)
    others = [b for b, gain in gains if verdict_of(gain) != "better"]
    return f"It is not clearly better than: {'; '.join(others)}." if others else ""


def width_words(outcome: Outcome) -> str:
    """How the logit follows the width of the faces; empty where it does not."""
    width = outcome.blend.mix.width
    if width is None:
        return ""
    parts = zip(width.knots, width.scale, width.shift, strict=True)
    told = "; ".join(f"{k:g} pixels x {number(s, 3)} {number(c, 3, '+')}" for k, s, c in parts)
    return f"the logit by face width: {told}"


def width_facts(outcome: Outcome) -> list[tuple[str, str]]:
    """Whether the calibration follows the width of the faces, how, and what that is worth: name and value."""
    name, of = "face width", outcome.losses.difference
    pairs = {TUNED_BY_WIDTH: TUNED, EQUAL_BY_WIDTH: EQUAL}
    gains = [(pair, of[pair]) for pair in pairs.items() if pair in of]
    if not gains:
        return [(name, "the tables do not tell how wide the faces are, so the calibration cannot follow it")]
    ships = width_words(outcome) or "what ships does not follow it"
    told = [(f"{a} - {b}", f"{number(g.value, 4, '+')} {interval(g, 4, '+')} nats") for (a, b), g in gains]
    return [(name, ships), *told]


def printable(text: str) -> str:
    """Without what a terminal would obey: names come from files."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


@dataclass(frozen=True)
class Share:
    """What one member costs within a subset."""

    bytes: int
    seconds: float  # per video, at the subset's number of frames


def shares_of(outcome: Outcome) -> dict[str, Share]:
    """Costs of members, as far as the subsets tell: by one that has a single member whose cost is not known yet."""
    limits, frames = outcome.limits, outcome.fitted.best_subset.frames
    known: dict[str, Share] = {}
    candidates = outcome.selection.candidates if outcome.selection else ()
    for candidate in sorted((c for c in candidates if c.frames == frames), key=lambda c: len(c.members)):
        if len(new := [name for name in candidate.members if name not in known]) == 1:
            others = [known[name] for name in candidate.members if name in known]
            seconds = candidate.seconds - limits.fixed - frames * limits.per_frame - sum(o.seconds for o in others)
            known[new[0]] = Share(candidate.bytes - sum(o.bytes for o in others), seconds)
    return known


def loss_rows(outcome: Outcome) -> list[list[str]]:
    """Blend, its log loss, the interval, and its log loss on each source where there are several."""
    by_source = outcome.losses.by_source
    return [
        [name, number(loss.value, 4), interval(loss), *(number(by_source[s][name], 4) for s in by_source)]
        for name, loss in outcome.losses.of.items()
    ]


def gain_rows(outcome: Outcome) -> list[list[str]]:
    """Two blends, the difference of their losses, the interval, and what it says of the first."""
    return [
        [f"{a} - {b}", number(gain.value, 5, "+"), interval(gain, 5, "+"), verdict_of(gain)]
        for (a, b), gain in outcome.losses.difference.items()
    ]


MEMBER_COLUMNS = ("member", "weight", "AUC", "log loss", "calibrated", "without it", "95 %", "MB", "s/video")


def member_rows(outcome: Outcome) -> list[list[str]]:
    """MEMBER_COLUMNS of every member of the table: those of the blend first, then those that the limits left out."""
    blend, shares = outcome.blend, shares_of(outcome)
    weight = dict(zip(blend.members, blend.mix.weights, strict=True))
    rows = []
    for name in dict.fromkeys((*blend.members, *outcome.faces.members)):
        own, share = outcome.contributions.singles.get(name), shares.get(name)
        row = [name, number(weight[name], 3) if name in weight else "left out"]
        row += [number(score, 4) for score in ((own.auc, own.log_loss, own.calibrated) if own else (None,) * 3)]
        row += [number(own.missed.value, 5, "+"), interval(own.missed, 5, "+")] if own and own.missed else ["n/a"] * 2
        rows.append([*row, *([number(share.bytes / 1e6, 1), number(share.seconds, 3)] if share else ["n/a"] * 2)])
    return rows


def heaviest(outcome: Outcome) -> tuple[str, ...]:
    """The WIDE members of the blend with the most weight, in its order: all of them, where there are no more."""
    blend = outcome.blend
    heavy = np.sort(np.argsort(-blend.mix.weights, kind="stable")[:WIDE])
    return tuple(blend.members[i] for i in heavy)


def chosen_subset(outcome: Outcome) -> Candidate:
    """What ships, as the selection scored it if it did: its shrinkage can differ from the first one's."""
    mine = outcome.fitted.best_subset
    same = (c for c in (outcome.selection.candidates if outcome.selection else ()) if c.members == mine.members)
    return next((c for c in same if c.frames == mine.frames), mine)


def how_searched(outcome: Outcome) -> str:
    """What ships beside the limits, and whether all subsets were tried; empty without costs."""
    if outcome.selection is None:
        return ""
    limits, mine, count = outcome.limits, chosen_subset(outcome), len(outcome.selection.candidates)
    use = (
        f"What ships takes {number(mine.bytes / 1e6, 1)} of {number(limits.bytes / 1e6, 1)} MB and "
        f"{number(mine.seconds, 2)} of {number(limits.seconds, 2)} seconds per video at {mine.frames} frames."
    )
    if outcome.selection.exact:
        return f"{use} All {count} subsets were tried."
    how = "Not all subsets were tried" if outcome.selection.cut else "Members were added one by one"
    return (
        f"{use} {how}, but {count}; where it was fitted, no subset is lower than the best of them by more than "
        f"{number(outcome.selection.gap, 5)} nats."
    )


def _verdict(outcome: Outcome) -> list[str]:
    blend, expected = outcome.blend, outcome.expected
    videos, groups = len(outcome.faces.filename), len(set(outcome.faces.known().group.tolist()))
    return [
        f"What ships: {outcome.chosen}",
        f"  {outcome.why}",
        *(f"  {words}" for words in [doubt(outcome)] if words),
        f"  expected log loss {number(expected.value, 4)}, 95 % interval {interval(expected)}, on videos like these "
        f"({videos} videos, {groups} groups)",
        f"  the tuned blend on videos it has seen {number(outcome.naive, 4)}, on others "
        f"{number(outcome.losses.of[TUNED].value, 4)}",
        f"  clip {blend.clip[0]:g} to {blend.clip[1]:g}, which costs {number(clip_premium(outcome), 5, '+')} here",
        f"  temperature {number(blend.mix.temperature, 3)}, shift {number(blend.mix.shift, 3, '+')} (prior "
        f"{number(expected_prior(outcome), 3)} to {TEST_PRIOR})",
        f"  {blend.space} space, {blend.aggregation}",
        *(f"  {words}" for words in [width_words(outcome)] if words),
    ]


def _limits(outcome: Outcome) -> list[str]:
    if outcome.selection is None:
        return []
    line = outcome.selection.frontier(lambda candidate: candidate.seconds)[-FRONTIER:]
    cheapest = ", ".join(f"{number(c.log_loss, 4)} in {number(c.seconds, 2)} s" for c in line)
    return [how_searched(outcome), f"No cheaper subset is better than: {cheapest}"]


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right."""
    width = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(cell.rjust(w) if at else cell.ljust(w) for at, (cell, w) in enumerate(zip(row, width, strict=True)))
        for row in (head, *rows)
    ]
