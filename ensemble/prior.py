"""The share of fakes among videos that nobody has labelled, and probabilities that follow it."""

from __future__ import annotations

import numpy as np

from ensemble.metrics import Floats, sigmoid

MOST = (0.001, 0.999)  # a share of exactly 0 or 1 would make every answer certain
STEPS = 1000
STILL = 1e-7  # a step of the share that is smaller ends the search


def estimate_prior(prob_fake: Floats, assumed: float = 0.5) -> float:
    """Estimate the share of fakes by expectation maximisation (Saerens, Latinne and Decaestecker 2002).

    It rests on probabilities that are calibrated for the share that they assume, and on fakes and reals like those of
    the calibration: of another kind of fake it says too little.

    Args:
        prob_fake: (V,) P(fake) of videos, not clipped.
        assumed: the share of fakes that they assume; 0.5 for a blend.

    Returns:
        The share, from 0.001 to 0.999.

    Raises:
        ValueError: there is no video, or `assumed` is not between 0 and 1.
    """
    if not len(prob_fake):
        raise ValueError("the share of fakes of no video cannot be estimated")
    share = assumed
    for _ in range(STEPS):
        before, share = share, float(np.clip(with_prior(prob_fake, share, assumed).mean(), *MOST))
        if abs(share - before) < STILL:
            break
    return share


def with_prior(prob_fake: Floats, prior: float, assumed: float = 0.5) -> Floats:
    """Move probabilities from one share of fakes to another: the odds change by the ratio of the odds of the shares.

    Args:
        prob_fake: (V,) P(fake).
        prior: the share of fakes to assume now, between 0 and 1.
        assumed: the share that `prob_fake` assumes, between 0 and 1.

    Returns:
        (V,) P(fake).

    Raises:
        ValueError: a share is not between 0 and 1.
    """
    for name, share in (("prior", prior), ("assumed", assumed)):
        if not 0 < share < 1:
            raise ValueError(f"{name} is {share}; a share of fakes lies between 0 and 1")
    prob = np.clip(np.asarray(prob_fake, dtype=np.float64), 1e-15, 1 - 1e-15)
    logit = np.log(prob) - np.log1p(-prob)
    return sigmoid(logit + np.log(prior / (1 - prior)) - np.log(assumed / (1 - assumed)))
