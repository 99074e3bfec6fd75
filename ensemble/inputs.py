"""Are these numbers logits of P(fake)? What tables of other programs hold instead, noticed and converted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from ensemble.aggregate import PLAIN, aggregate
from ensemble.metrics import Floats, auc
from ensemble.table import Faces

EVERY = "all"  # stands for all members
TINY = 1e-7  # probabilities are kept this far from 0 and 1: float32 has nothing nearer to 1
SURE = 3.0  # standard errors below .5 at which a member is taken to say P(real): by chance one in 740 members is
FEWEST = 8  # faces: fewer can all lie within [0, 1] by chance


def convert(faces: Faces, invert: Collection[str] = (), probabilities: Collection[str] = ()) -> Faces:
    """Make logits of P(fake) of what some members say.

    Args:
        faces: the table.
        invert: members that say P(real), or its logit; EVERY for all.
        probabilities: members that say probabilities; EVERY for all.

    Returns:
        The table with the values of these members converted.

    Raises:
        ValueError: there is no such member, or a probability is outside 0 to 1.
    """
    logit = faces.logit.astype(np.float64)
    for m in _columns(faces, probabilities):
        low, high = float(logit[:, m].min()), float(logit[:, m].max())
        if low < 0 or high > 1:
            raise ValueError(
                f"member {faces.members[m]!r} has values from {low:g} to {high:g}, which are no probabilities; leave "
                "it out of --probabilities"
            )
        prob = np.clip(logit[:, m], TINY, 1 - TINY)
        logit[:, m] = np.log(prob) - np.log1p(-prob)
    columns = _columns(faces, invert)
    logit[:, columns] *= -1
    return replace(faces, logit=logit.astype(np.float32))


def check(faces: Faces) -> None:
    """Refuse members whose values are not logits of P(fake).

    Args:
        faces: a labelled table.

    Raises:
        ValueError: all values of a member lie within 0 and 1, as probabilities do; or it ranks reals above fakes
            beyond chance, as P(real) does. The message names the member and the option that converts it.
    """
    for m, member in enumerate(faces.members):
        values = faces.logit[:, m]
        if len(values) >= FEWEST and values.min() >= 0 and values.max() <= 1:
            raise ValueError(
                f"all {len(values)} logits of member {member!r} lie within 0 and 1: they look like probabilities; "
                f"convert them with --probabilities {member}, or leave the member out"
            )
    truth = faces.known()
    of_video = aggregate(faces.logit, faces.layout, PLAIN)
    for m, member in enumerate(faces.members):
        score = auc(truth.label, of_video[:, m])
        if score + SURE * _error_of_auc(score, truth.label) < 0.5:
            raise ValueError(
                f"member {member!r} has an AUC of {score:.3f}: it says higher values of reals than of fakes, as "
                f"P(real) does; turn it with --invert {member}, check the labels, or leave the member out"
            )


def _columns(faces: Faces, names: Collection[str]) -> list[int]:
    if EVERY in names:
        return list(range(len(faces.members)))
    if unknown := sorted(set(names) - set(faces.members)):
        raise ValueError(f"the tables have no member {unknown[0]!r}; they have {', '.join(faces.members)}")
    return [faces.members.index(name) for name in sorted(names)]


def _error_of_auc(score: float, label: Floats) -> float:
    """The standard error of an AUC (Hanley and McNeil 1982, equation 1)."""
    fakes = float(np.sum(label))
    reals = len(label) - fakes
    both, other = score / (2 - score), 2 * score**2 / (1 + score)
    spread = score * (1 - score) + (fakes - 1) * (both - score**2) + (reals - 1) * (other - score**2)
    return float(np.sqrt(max(spread, 0.0) / (fakes * reals)))
