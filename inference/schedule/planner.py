"""The clock and the plan: how much work each video may cost, so that a run ends in time and uses the time it has.

Nothing here reads a clock or starts anything: whoever runs the videos tells what each took, and asks for the plan of
the next. Two things bound a run: decoders that run ahead, and the one process that detects and judges. A run takes as
long per video as the busier of the two, and as much longer as they wait for each other, which is measured.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

PRIOR_LOSS = math.log(2)  # log loss of a video that gets the prior

# Guesses, for the order of a ladder and until a machine has been measured.
STEPS = (1, 3 / 4, 1 / 2, 3 / 8, 1 / 4, 5 / 32, 3 / 32, 2 / 32, 1 / 32)  # of the frames
DECODE, DECODE_FRAMES, DETECT, JUDGE = 0.30, 0.15, 0.20, 0.35  # shares of a video's work at the top plan
FRAME_NOISE = 0.2  # of what a video is worth, lost with a single frame; a mean over f frames errs as 1 / f
LEAST_LOSS = 0.002  # of the worth, per rung: one that measures no worse was chosen for looking so
UNSURE_VIDEOS = 0.03  # of the worth, lost without the whole cascade
FIRST_LOOK = 0.6  # of the cascade's seconds

FIRST = 4  # videos before anything is believed
SLOWEST = 60.0  # seconds a video at the top plan on a machine that is hardly worth running on
DRIFT = 0.4  # of a stage's seconds, over a whole run, as a random walk
OUTLIER = 4.0  # times what was expected: more than that is a rare video and no new speed of the machine
SHAPE = 0.3  # how far the guessed shares may be off
LATER = 0.05  # how far the rest of the run may differ from what was measured so far
SPREAD = 0.5  # between videos
SIGMAS = 1.64  # the band of a forecast: 5 % beyond each end
MEMORY = 200  # videos after which half of the measured waiting is forgotten
WAITING = 0.2  # share of the less busy side's seconds that the other waits, until measured; worth FIRST videos
CUT_MEMORY = 100  # videos without a cut that are taken as seen: an early one is no reason to expect many
STICKY = 0.04  # of the time left: a dearer plan must leave that over, today's may lack it before it is left


@dataclass(frozen=True)
class Plan:
    """How one video is judged. Two plans are equal when they ask for the same, whatever is known of them."""

    frames: int  # judged per video
    fallback: int  # 0: all members of the blend, k: those of blend.ladder[k - 1]
    thorough: bool = True  # the whole detector cascade, or its first look only
    members: float = field(default=1.0, compare=False)  # share of all members' seconds that the rung takes
    value: float = field(default=1.0, compare=False)  # what it gains over the prior, the top plan's gain being 1


@dataclass(frozen=True)
class Spent:
    """What one finished video took, in seconds of work; waiting is no work."""

    plan: Plan  # it was started with
    decode: float  # in a decoder, until it was done or cut
    detect: float = 0.0  # all but the members: detection, tracking, crops
    score: float = 0.0  # in the members
    cut: bool = False  # hung, crashed or unreadable: its seconds say nothing of others; one without a face is not cut


@dataclass(frozen=True)
class Forecast:
    """When a run ends, on the planner's clock; 90 % of runs end between low and high."""

    finish: float  # infinite while nothing is known
    low: float
    high: float


def make_plans(
    frames: int, fallbacks: int, shares: Sequence[float] = (), losses: Sequence[float] = ()
) -> tuple[Plan, ...]:
    """Plans from the best to the cheapest, each cheaper than the one before: fewer frames and members, first look last.

    Each step gives up what loses least for the work it saves. frames: of the top plan. rungs: length of the blend's
    ladder. shares: seconds of the members of each rung as a share of all members', log losses: of each rung; both with
    the whole blend first, both guessed if not given. Raises ValueError when their number or order is not possible.
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
    counts = sorted({max(1, round(frames * step)) for step in STEPS}, reverse=True)

    def plan(step: int, fallback: int) -> Plan:
        value = values[fallback] * (1 - FRAME_NOISE * (1 / counts[step] - 1 / frames))
        return Plan(counts[step], fallback, True, shares[fallback], value)

    step = fallback = 0
    plans = [plan(0, 0)]
    while step + 1 < len(counts) or fallback < fallbacks:
        ways = [(step + 1, fallback)] * (step + 1 < len(counts)) + [(step, fallback + 1)] * (fallback < fallbacks)
        step, fallback = min(ways, key=lambda way: _price(plans[-1], plan(*way), frames))
        plans.append(plan(step, fallback))
    return (*plans, replace(plans[-1], thorough=False, value=plans[-1].value * (1 - UNSURE_VIDEOS)))


def _price(before: Plan, after: Plan, frames: int) -> float:
    """Worth lost for work saved, each as a share of what is left."""
    work, less = (DECODE + p.frames / frames * (DECODE_FRAMES + DETECT + JUDGE * p.members) for p in (before, after))
    return math.log(before.value / after.value) / math.log(work / less)


class _Stage:
    """Seconds per video of one stage: a + b * work, work being 1 at the top plan.

    A Kalman filter of the two numbers (https://en.wikipedia.org/wiki/Kalman_filter). A machine that gets slower changes
    both by the same factor, so that is the way they drift; their ratio is learnt from videos with different plans.
    """

    def __init__(self, fixed: float, noise: float, drift: float) -> None:
        """fixed: guessed share of a. noise between videos and drift from one to the next are shares of the mean."""
        self._fixed, self._noise, self._drift = fixed, noise, drift
        self._seen = self._did = 0  # videos, and those that came to this stage
        self._mean = self._work = 0.0  # of those
        self._a = self._b = self._aa = self._ab = self._bb = 0.0
        self._over = 0.0  # sum of what outliers took beyond, in units of what was expected

    def add(self, work: float, seconds: float) -> None:
        """One video; 0 seconds: there was nothing to do, such as no face to judge."""
        self._seen += 1
        if seconds <= 0:
            return
        self._did += 1
        self._mean += (seconds - self._mean) / self._did
        if self._did <= FIRST:
            self._work += (work - self._work) / self._did
            self._begin()
            return
        expected = self._a + self._b * work
        scale = max(expected, self._mean)  # the mean: first videos with almost no work mislead
        usual = min(seconds, OUTLIER * scale)
        self._over += (seconds - usual) / scale
        drift = (self._drift * scale / max(expected, 1e-9)) ** 2
        self._aa += drift * self._a**2
        self._ab += drift * self._a * self._b
        self._bb += drift * self._b**2
        to_a, to_b = self._aa + work * self._ab, self._ab + work * self._bb
        total = to_a + work * to_b + (self._noise * scale) ** 2
        surprise = (usual - expected) / total
        self._a, self._b = max(0.0, self._a + to_a * surprise), max(0.0, self._b + to_b * surprise)
        self._aa -= to_a * to_a / total
        self._ab -= to_a * to_b / total
        self._bb -= to_b * to_b / total

    def _begin(self) -> None:
        """The guessed shape through the mean of the first videos, in doubt about both."""
        level = self._mean / (self._fixed + (1 - self._fixed) * self._work)
        self._a, self._b = level * self._fixed, level * (1 - self._fixed)
        doubt, turn = self._noise**2 / self._did, (SHAPE * level) ** 2  # turning the line about what was measured
        self._aa = doubt * self._a**2 + turn * self._work**2
        self._ab = doubt * self._a * self._b - turn * self._work
        self._bb = doubt * self._b**2 + turn

    def seconds(self, work: float) -> tuple[float, float]:
        """Expected seconds of a video, and their variance as far as it is doubt and not spread between videos."""
        scale = (1 + self._over / (self._did + CUT_MEMORY)) * self._did / max(1, self._seen)
        variance = self._aa + 2 * work * self._ab + work * work * self._bb
        return (self._a + self._b * work) * scale, max(0.0, variance) * scale * scale


class Planner:
    """Chooses the plan of each video so that all are judged in time, as well as the time allows.

    It takes the best plan that fits at the late end of its forecast: about a tenth of the time left stays in hand,
    whatever is left, so that a late slowdown can be met and little stays unused. Where decoding is the wall no plan is
    much cheaper than another and a great slowdown costs videos; saving for that from the start would cost more.
    All times are seconds on one clock, the caller's.
    """

    def __init__(
        self, plans: Sequence[Plan], videos: int, budget: float, reserve: float, started: float, workers: int = 2
    ) -> None:
        """budget: from `started` on. reserve: its end, kept free. videos: to judge. workers: decoded at a time."""
        if not plans or budget <= 0 or reserve < 0 or workers < 1 or videos < 0:
            numbers = f"budget {budget}, reserve {reserve}, workers {workers}, videos {videos}"
            raise ValueError(f"{len(plans)} plans, {numbers}: reserve and videos start at 0, the others above")
        self.plans, self.workers = tuple(plans), workers
        self.started, self.deadline = started, started + budget - reserve  # then all stops and the file is written
        few = max(1, self.plans[0].frames // 4)  # nothing is known yet, and they show a slow machine early
        self._now = next((i for i, plan in enumerate(self.plans) if plan.frames <= few), len(self.plans) - 1)
        if videos * SLOWEST <= budget - reserve:  # so few that nothing can go wrong: all are judged alike
            self._now = 0
        self._pause = min(50, max(4, videos // 200))  # videos between two looks at the plan
        self._looked, self.changes = FIRST - self._pause, 0  # of plan, after the first videos
        self._flying: Counter[Plan] = Counter()
        self._last = math.nan  # when a video was finished
        self._wall = self._decoding = self._scoring = 0.0  # recent seconds: of the run, of decoders, of the judge
        drift = min(0.03, DRIFT / math.sqrt(max(1, videos)))
        self._stages = _Stage(0.7, 0.4, drift), _Stage(0.1, 0.6, drift), _Stage(0.05, 0.6, drift)  # as in _work
        self._cut = self._cut_squares = 0.0  # seconds, and their squares
        self._finished = self._measured = 0  # videos, and those of them that were not cut

    @property
    def plan(self) -> Plan:  # of the next video, as things stand
        return self.plans[self._now]

    def finished(self, now: float, spent: Spent) -> None:
        """A started video is done, at `now`: judged, found without a face, or cut."""
        self._finished += 1
        self._flying -= Counter([spent.plan])  # drops what is at 0
        if spent.cut:
            self._cut += spent.decode
            self._cut_squares += spent.decode**2
        else:
            self._measured += 1
            took = spent.decode, spent.detect, spent.score
            for stage, work, seconds in zip(self._stages, self._work(spent.plan), took, strict=True):
                stage.add(work, seconds)
        if self._last <= now:  # not for the first: the time before it is start-up and no rate
            keep = 0.5 ** (1 / MEMORY)
            self._wall = keep * self._wall + now - self._last
            self._decoding = keep * self._decoding + spent.decode
            self._scoring = keep * self._scoring + spent.detect + spent.score
        self._last = now

    def choose(self, now: float, left: int) -> Plan | None:
        """The plan of the next video to start; None: there is no time for another, or none is left.

        left: videos not yet started, this one included.
        """
        time_left = self.deadline - now
        if left < 1 or time_left <= 0:
            return None
        if self._measured >= FIRST:
            if self._finished - self._looked >= self._pause:
                self._look(time_left, left)
            rest = range(self._now, len(self.plans))
            fitting = next((i for i in rest if self._remaining(self.plans[i], 1)[0] <= time_left), None)
            if fitting is None:
                return None
            self._change(fitting)
        self._flying[self.plan] += 1
        return self.plan

    def forecast(self, now: float, left: int, plan: Plan | None = None) -> Forecast:
        """When the run ends if all videos left, not counting those under way, are judged by `plan` (or today's)."""
        if not self._measured:
            return Forecast(math.inf, now, math.inf)
        seconds, doubt = self._remaining(plan or self.plan, left)
        return Forecast(now + seconds, now + max(0.0, seconds - SIGMAS * doubt), now + seconds + SIGMAS * doubt)

    def _look(self, time_left: float, left: int) -> None:
        """Take the best plan that fits; near the edge of the time left stay with today's, or plans would flap.

        Plans cheaper than the one of most worth per second are never taken: that one for some videos, and the prior for
        the rest, is worth more.
        """
        self._looked = self._finished
        forecasts = [self._remaining(plan, left) for plan in self.plans]
        late = [max(1e-9, seconds + SIGMAS * doubt) for seconds, doubt in forecasts]
        stay = [1 + STICKY * ((i < self._now) - (i == self._now)) for i in range(len(late))]
        last = min(range(len(late)), key=lambda i: late[i] / self.plans[i].value)
        self._change(next((i for i in range(last) if late[i] * stay[i] <= time_left), last))

    def _change(self, to: int) -> None:
        self.changes, self._now = self.changes + (to != self._now), to

    def _remaining(self, plan: Plan, left: int) -> tuple[float, float]:
        """Seconds until `left` videos by this plan and those under way are done, and their standard deviation."""
        wall, doubt, latency = self._per_video(plan)
        seconds = wall * left + latency if left else 0.0
        seconds += sum(self._per_video(other)[0] * count for other, count in self._flying.items())
        cuts = self._cut_squares / (self._finished + CUT_MEMORY) / self.workers**2
        spread = left * ((SPREAD * wall) ** 2 + cuts)
        return seconds, math.sqrt((LATER**2 + doubt) * seconds**2 + spread)

    def _per_video(self, plan: Plan) -> tuple[float, float, float]:
        """Seconds of the run per video, their doubt (a share, squared), and seconds from a video's start to its end."""
        (decode, decode_doubt), (detect, detect_doubt), (score, score_doubt) = (
            stage.seconds(work) for stage, work in zip(self._stages, self._work(plan), strict=True)
        )
        scoring = detect + score
        decoding = (decode + self._cut / (self._finished + CUT_MEMORY)) / self.workers
        doubt = decode_doubt / self.workers**2 if decoding > scoring else detect_doubt + score_doubt
        wall = self._wall_of(decoding, scoring)
        return wall, doubt / wall**2 if wall else 0.0, decode + scoring

    def _wall_of(self, decoding: float, scoring: float) -> float:
        """Seconds of the run for a video of that many seconds on each side.

        The busier one's, and the part of the other's for which that has to wait; measured, as is any time beyond both.
        """
        more, less = max(decoding, scoring), min(decoding, scoring)
        decoded, scored = self._decoding / self.workers + FIRST * decoding, self._scoring + FIRST * scoring
        wall = self._wall + FIRST * (more + WAITING * less)
        most, least = max(decoded, scored), min(decoded, scored)
        waiting = min(1.0, max(0.0, (wall - most) / least)) if least else 0.0
        beyond = wall / (most + waiting * least) if most else 1.0
        return (more + waiting * less) * beyond

    def _work(self, plan: Plan) -> tuple[float, float, float]:
        """Decoding, detection and judging by a plan; 1 each at the top plan."""
        frames = plan.frames / self.plans[0].frames
        return frames, frames * (1.0 if plan.thorough else FIRST_LOOK), frames * plan.members
