"""Rules that make one logit of several: a person's faces, then a video's people. A new rule is one function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ensemble.metrics import Floats

FINITE = 30.0  # logits beyond it say "certain" in float64 and make powers overflow


def mean(logit: Floats) -> Floats:
    """(S, F, M) logits of F faces -> (S, M): their mean, what independent evidence of equal weight comes to."""
    return np.asarray(logit.mean(axis=1))


def trimmed_mean(logit: Floats, share: float) -> Floats:
    """(S, F, M) -> (S, M): the mean without the lowest and the highest `share` (below 0.5) of the faces."""
    return _ranked_mean(logit, share, 1 - share)


def top_share(logit: Floats, share: float) -> Floats:
    """(S, F, M) -> (S, M): the mean of the highest `share` of the faces, one at least.

    A smooth form of the winner's "confident strategy", which takes the mean of the confident fakes where they are more
    than two fifths of the faces (kernel_utils.py of selimsef/dfdc_deepfake_challenge): of 32 faces 12 confident ones
    say 0.39 there, 13 say 0.95. Here a face that crosses a threshold moves the result no more than any other.
    """
    return _ranked_mean(logit, 1 - share, 1.0)


def _ranked_mean(logit: Floats, start: float, stop: float) -> Floats:
    """The mean over a range of ranks, 0 the lowest and 1 the highest; a face half inside it counts half."""
    count = logit.shape[1]
    edge = np.arange(count + 1)
    inside = np.minimum(edge[1:], stop * count) - np.maximum(edge[:-1], start * count)
    weight = np.clip(inside, 0, None)
    return np.asarray(np.einsum("sfm,f->sm", np.sort(logit, axis=1), weight / weight.sum()))


def power_mean(logit: Floats, power: float) -> Floats:
    """(S, F, M) -> (S, M): (mean of prob_fake ** power) ** (1 / power), as a logit; 1 is the mean, large is the max."""
    log_prob = -np.logaddexp(0.0, -np.clip(logit, -FINITE, FINITE))
    log_mean = np.logaddexp.reduce(power * log_prob, axis=1) - np.log(logit.shape[1])
    # Near 1 the logarithm of the mean loses what the mean of 1 - p ** power keeps.
    missing = -np.expm1(power * log_prob).mean(axis=1)
    log_mean = np.where(missing < 0.5, np.log1p(-np.minimum(missing, 0.5)), log_mean) / power
    return np.asarray(log_mean - np.log(-np.expm1(log_mean)))


def most_fake(logit: Floats, frames: Floats) -> Floats:
    """(S, Q, M) logits of Q people seen in (S, Q) frames -> (S, M): those of the person most probably fake.

    Who that is the members say together, by the mean of their logits. With each member's own choice, a video of several
    real people would be taken for more fake than any of them: somebody errs on each.
    """
    who = logit.mean(axis=2).argmax(axis=1)
    return np.asarray(logit[np.arange(len(logit)), who])


def noisy_or(logit: Floats, frames: Floats) -> Floats:
    """(S, Q, M), (S, Q) -> (S, M): one fake person is enough, and each is one independently of the others.

    P(fake) = 1 - product of (1 - P(fake) of each), Pearl 1988; here log(exp(sum of softplus) - 1).
    """
    total = np.logaddexp(0.0, np.clip(logit, -FINITE, FINITE)).sum(axis=1)
    return np.asarray(total + np.log(-np.expm1(-total)))


def by_length(logit: Floats, frames: Floats) -> Floats:
    """(S, Q, M), (S, Q) -> (S, M): the mean over people, each weighted by the frames in which it was seen."""
    return np.asarray(np.einsum("sqm,sq->sm", logit, frames / frames.sum(axis=1, keepdims=True)))


@dataclass(frozen=True)
class Rule:
    """A rule and what may be tuned of it."""

    function: Callable[..., Floats]
    parameter: str = ""  # its one parameter; empty for none
    values: tuple[float, ...] = ()  # that a study tries, in rising order


# A study tries steps, not any number: what a rule makes of a large table is then worked out once for each.
FRAME_RULES: dict[str, Rule] = {
    "mean": Rule(mean),
    "trimmed_mean": Rule(trimmed_mean, "share", (0.05, 0.1, 0.2, 0.3, 0.4)),
    "top_share": Rule(top_share, "share", (0.1, 0.2, 0.3, 0.4, 0.6, 0.8)),
    "power_mean": Rule(power_mean, "power", (0.5, 1.0, 2.0, 4.0, 8.0)),
}
PEOPLE_RULES: dict[str, Rule] = {
    "most_fake": Rule(most_fake),
    "noisy_or": Rule(noisy_or),
    "by_length": Rule(by_length),
}


def bind(rules: dict[str, Rule], name: str, parameter: float | None) -> Callable[..., Floats]:
    """The rule called `name` with its parameter filled in; ValueError for an unknown rule or a parameter too many."""
    if name not in rules:
        raise ValueError(f"there is no rule {name!r}; there are {', '.join(rules)}")
    rule = rules[name]
    if bool(rule.parameter) != (parameter is not None):
        raise ValueError(f"rule {name!r} has {rule.parameter or 'no parameter'}, and was given {parameter}")
    if parameter is None:
        return rule.function
    if not 0 < parameter < np.inf or (rule.parameter == "share" and parameter >= _most(name)):
        raise ValueError(f"rule {name!r} cannot take {rule.parameter} = {parameter}")
    arguments: dict[str, Any] = {rule.parameter: parameter}

    def bound(*blocks: Floats) -> Floats:
        return rule.function(*blocks, **arguments)

    return bound


def _most(name: str) -> float:
    """A trimmed mean must leave something; of the others a share of 1 is everything."""
    return 0.5 if name == "trimmed_mean" else np.nextafter(1.0, 2.0)
