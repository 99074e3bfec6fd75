"""A guard against tuning on the public score: which of many submissions is better by more than chance.

The idea is the Ladder of Blum and Hardt 2015 (arXiv:1502.04585): a score counts as better only where it beats the best
so far by more than a step. Their step is the standard error of a score, which is not known of the hidden videos; the
standard error of the expected log loss stands in for it here.
"""

from __future__ import annotations

from collections.abc import Sequence

from kaggle_dataset.submit.ledger import Entry

SIGMAS = 1.96  # half of a 95 % interval, in standard errors


def advice(entry: Entry, entries: Sequence[Entry]) -> str:
    """Say what the public score of a submission is worth beside the earlier ones.

    Args:
        entry: the submission, with a public score.
        entries: of the ledger, the oldest first; `entry` may be among them.

    Returns:
        A sentence without a full stop; empty without a public score.
    """
    if entry.public_score is None:
        return ""
    said = [_beside_expected(entry)]
    scores = [
        other.public_score
        for other in entries
        if other.competition == entry.competition and other.message != entry.message and other.when <= entry.when
        and other.public_score is not None
    ]  # fmt: skip
    if scores:
        said.append(_beside_earlier(entry.public_score, scores, step(entry)))
    return "; ".join(part for part in said if part)


def step(entry: Entry) -> float:
    """The difference in log loss that counts: the standard error of the expected one, 0 where it has no interval."""
    if entry.expected_low is None or entry.expected_high is None:
        return 0.0
    return (entry.expected_high - entry.expected_low) / (2 * SIGMAS)


def _beside_expected(entry: Entry) -> str:
    if entry.public_score is None or entry.expected_low is None or entry.expected_high is None:
        return ""
    inside = entry.expected_low <= entry.public_score <= entry.expected_high
    interval = f"[{entry.expected_low:.4f}, {entry.expected_high:.4f}]"
    if inside:
        return f"the public score lies inside the expected interval {interval}"
    side = "below" if entry.public_score < entry.expected_low else "above"
    return f"the public score lies {side} the expected interval {interval}: the hidden videos are unlike held-out ones"


def _beside_earlier(score: float, scores: Sequence[float], needed: float) -> str:
    best, tries = min(scores), len(scores) + 1
    if score < best - needed:
        return f"it beats the best of {tries - 1} earlier ones, {best:.4f}, by more than chance gives ({needed:.4f})"
    return (
        f"it does not beat the best of {tries - 1} earlier ones, {best:.4f}, by more than chance gives ({needed:.4f}): "
        f"choose by the expected log loss, since the lowest of {tries} public scores is low by luck"
    )
