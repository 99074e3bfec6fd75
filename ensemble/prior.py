"""The share of fakes among videos that nobody has labelled, and probabilities that follow it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ensemble.metrics import Floats, sigmoid

MOST = (0.001, 0.999)  # a share of exactly 0 or 1 would make every answer certain
HALF = 0.5  # of DFDC's test set, and what a blend assumes unless it is told otherwise
EM = "em"  # stands for a share that is to be estimated
REFUSED = 3.841  # the 95 % point of chi-square with one degree of freedom
GRID = np.linspace(*MOST, 999)  # of shares, among which an interval ends
STEPS = 1000
STILL = 1e-7  # a step of the share that is smaller ends the search


@dataclass(frozen=True)
class Prior:
    """The share of fakes that probabilities assume, and where it comes from."""

    share: float = HALF
    how: Literal["assumed", "given", "estimated"] = "assumed"  # by the blend, by the user, from the videos
    estimate: float | None = None  # that was found; the share is half where it does not differ clearly from that
    low: float | None = None  # of the 95 % interval of an estimate
    high: float | None = None

    @classmethod
    def given(cls, share: float) -> Prior:
        """The share of a blend: what it assumes anyway, or else what somebody has given it."""
        return cls() if share == HALF else cls(share, "given")

    @classmethod
    def of(cls, asked: str | float | None, prob_fake: Floats) -> Prior:
        """What a user asked for, as `read_prior` gives it, for (V,) P(fake) that assume half, not clipped.

        An estimate is followed where a likelihood ratio test says that it differs from half (Saerens et al. 2002,
        section 3), at 5 %. Few videos say little, and half stays. Its interval knows nothing of probabilities that are
        not calibrated for these videos.
        """
        if asked is None:
            return cls()
        if not isinstance(asked, str):
            return cls.given(asked)
        estimate = estimate_prior(prob_fake)
        low, high = _interval(prob_fake, estimate)
        return cls(HALF if low <= HALF <= high else estimate, "estimated", estimate, low, high)

    def sentence(self) -> str:
        """For people; empty where nothing was asked for."""
        if self.how == "assumed":
            return ""
        told = f"probabilities assume a share of fakes of {self.share:.3f}"
        if self.estimate is None:
            return f"{told}, as given"
        interval = f"[{self.low:.3f}, {self.high:.3f}]"
        if self.share == HALF:
            return f"{told}, since {self.estimate:.3f} {interval} of these videos does not differ clearly from half"
        return f"{told} {interval}, estimated from these videos"

    def to_dict(self) -> dict[str, Any]:
        """For JSON; an interval only where there is one."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def read_prior(text: str | None) -> str | float | None:
    """Read what a user gives as --prior.

    Args:
        text: a share of fakes, EM, or None for half.

    Returns:
        The share as a number, EM, or None.

    Raises:
        ValueError: it is neither EM nor a number between 0 and 1.
    """
    if text is None or text == EM:
        return text
    try:
        share = float(text)
    except ValueError as error:
        raise ValueError(f"--prior is {text!r}; give a share of fakes between 0 and 1, or {EM}") from error
    if not 0 < share < 1:
        raise ValueError(f"--prior is {text}; a share of fakes lies between 0 and 1, such as 0.2")
    return share


def _interval(prob_fake: Floats, share: float) -> tuple[float, float]:
    """95 %: the shares that a likelihood ratio test does not refuse."""

    def likelihood(of: float) -> float:
        return float(np.log(of * prob_fake + (1 - of) * (1 - prob_fake)).sum())

    least = likelihood(share) - REFUSED / 2
    kept = [of for of in GRID.tolist() if likelihood(of) >= least] or [share]
    return min(kept), max(kept)


def estimate_prior(prob_fake: Floats, assumed: float = HALF) -> float:
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


def with_prior(prob_fake: Floats, prior: float, assumed: float = HALF) -> Floats:
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
