"""The plans that a budget chooses from: how many frames of a video, which members, how thorough a look for faces.

The constants are guesses: they order the plans, and a blend's own numbers replace them where they are known. They
were tried with benchmarks/simulate_budget.py, where every simulated run ends in time; no data set stands behind them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

# Of P(fake): its standard error where some of a video's faces are left out. On 32 clips of FaceForensics++, 32 frames
# each, this one leaves out a sixth of them, moves the log loss by 0.0006 and AUC not at all (benchmarks/tolerance.py).
TOLERANCE = 0.0075
PRIOR_LOSS = math.log(2)  # log loss of a video that gets the prior, 0.5

# The shares of the frames that plans have. Each is two thirds to three quarters of the one before: a smaller step is
# lost in the noise of the forecast, a larger one leaves time unused.
FRAME_SHARES = (1, 3 / 4, 1 / 2, 3 / 8, 1 / 4, 5 / 32, 3 / 32, 2 / 32, 1 / 32)
# Shares of a video's work at the top plan, to order the plans: opening the file and reading its packets, decoding that
# goes with the frames, detection, members. A guess for a CPU; they add up to 1.
DECODE, DECODE_FRAMES, DETECT, MEMBERS = 0.30, 0.15, 0.20, 0.35
# Share of a video's value that is lost with a single frame. The mean over f frames errs as 1 / f, so that f frames
# lose FRAME_NOISE / f of it.
FRAME_NOISE = 0.2
# Share of the value that a fallback loses at least against the one before it. A fallback is the best of many subsets,
# so one that measures as good as more members was partly chosen for looking so.
LEAST_LOSS = 0.002
# Share of the value that is lost with the first look alone: a guess at how many videos show their faces only to the
# later detectors of the cascade.
FIRST_LOOK_LOSS = 0.03
# (tolerance, share of a video's faces that are scored with it, share of the value that it loses). The shares were
# measured on 32 clips of FaceForensics++; the losses are about half of the squared standard error over p (1 - p).
EARLY = ((TOLERANCE, 0.82, 0.0006), (0.02, 0.60, 0.004))
CHEAP = EARLY[-1][0]  # the tolerance of all plans that are short of time


@dataclass(frozen=True)
class Plan:
    """How one video is predicted. Two plans are equal when they ask for the same, whatever is known of them."""

    frames: int  # per video, evenly spread
    fallback: int  # 0: all members of the blend; k: those of blend.fallbacks[k - 1]
    thorough: bool = True  # the whole detector cascade; False: its first look only
    tolerance: float = 0.0  # standard error of a video's P(fake) at which the rest of its faces is left out
    members: float = field(default=1.0, compare=False)  # seconds of these members as a share of all members' seconds
    value: float = field(default=1.0, compare=False)  # what it gains over the prior, the top plan's gain being 1

    @property
    def scored_alike(self) -> tuple[int, float]:
        """What the videos of one batch must share."""
        return self.fallback, self.tolerance


def check_tolerance(tolerance: float) -> None:
    """ValueError unless a tolerance of P(fake) is one."""
    if not 0 <= tolerance < 0.5:
        raise ValueError(f"tolerance {tolerance} of P(fake) must be at least 0 and below 0.5")


def is_sparing(frames: int | None, tolerance: float) -> bool:
    """Whether a video may have fewer frames than the blend says, and those that are decoded soonest.

    Args:
        frames: that were asked for; None where nobody said.
        tolerance: of P(fake); at 0 all is looked at.
    """
    return frames is None and tolerance > 0


def make_plans(
    frames: int,
    fallbacks: int,
    shares: Sequence[float] = (),
    losses: Sequence[float] = (),
    tolerance: float = 0.0,
) -> tuple[Plan, ...]:
    """Make the plans from the best to the cheapest, each cheaper than the one before.

    Where the top plan scores all faces, the next one leaves out those that would hardly matter. Then each plan gives
    up what loses least for the work that it saves: frames or members. The last one has the cheapest look for faces as
    well.

    Args:
        frames: of the top plan, 1 or more.
        fallbacks: how many fallback ensembles the blend has.
        shares: seconds of the members of the blend and of each fallback, as shares of the blend's; falling, the
            blend's first. Without them each fallback drops as much as the one before.
        losses: expected log loss of the blend and of each fallback, in nats, below the prior's. Guessed without them.
        tolerance: of the top plan; those after it have the tolerances of EARLY, where these are larger.

    Returns:
        The plans; the first has all frames, all members and the whole cascade.

    Raises:
        ValueError: a number is out of its range, or there are too few or too many.
    """
    shares = shares or [1 - k / (fallbacks + 1) for k in range(fallbacks + 1)]
    losses = losses or [PRIOR_LOSS * (0.6 + 0.1 * k / max(1, fallbacks)) for k in range(fallbacks + 1)]
    if frames < 1 or not len(shares) == len(losses) == fallbacks + 1 >= 1:
        raise ValueError(
            f"frames {frames} start at 1; {fallbacks} fallbacks need one share and loss more: {shares}, {losses}"
        )
    if not all(a > b > 0 for a, b in pairwise(shares)) or max(losses) >= PRIOR_LOSS:
        raise ValueError(f"shares {shares} fall and stay above 0, losses {losses} are below the prior's, ln 2")
    values = [1.0]
    for loss in losses[1:]:
        values.append(min((PRIOR_LOSS - loss) / (PRIOR_LOSS - losses[0]), values[-1] * (1 - LEAST_LOSS)))
    counts = sorted({max(1, round(frames * share)) for share in FRAME_SHARES}, reverse=True)

    early = [(each, share, 1 - loss) for each, share, loss in EARLY if each > tolerance]
    ends = [(tolerance, 1.0, 1.0), *early]  # of scoring a video's faces; all plans with fewer frames have the last one

    def plan(step: int, fallback: int, end: int = -1) -> Plan:
        least, share, kept = ends[end]
        value = kept * values[fallback] * (1 - FRAME_NOISE * (1 / counts[step] - 1 / frames))
        return Plan(counts[step], fallback, True, least, share * shares[fallback], value)

    step = fallback = 0
    plans = [plan(0, 0, end) for end in range(len(ends))]
    while step + 1 < len(counts) or fallback < fallbacks:
        ways = [(step + 1, fallback)] * (step + 1 < len(counts)) + [(step, fallback + 1)] * (fallback < fallbacks)
        step, fallback = min(ways, key=lambda way: _price(plans[-1], plan(*way), frames))
        plans.append(plan(step, fallback))
    return (*plans, replace(plans[-1], thorough=False, value=plans[-1].value * (1 - FIRST_LOOK_LOSS)))


def _price(before: Plan, after: Plan, frames: int) -> float:
    """Value lost for work saved, each as a share of what is left."""
    work, less = (DECODE + p.frames / frames * (DECODE_FRAMES + DETECT + MEMBERS * p.members) for p in (before, after))
    return math.log(before.value / after.value) / math.log(work / less)
