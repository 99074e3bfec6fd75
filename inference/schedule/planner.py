"""The planner of a budget: how much work each video may cost, so that a run ends in time and uses the time it has.

Nothing here reads a clock or starts anything: whoever runs the videos tells what each took, and asks for the plan of
the next. Two things bound a run: decoders that run ahead, and the one process that detects and runs the members. A run
takes as long per video as the busier of the two, and as much longer as they wait for each other, which is measured.

benchmarks/simulate_budget.py runs this planner against simulated machines. The constants below are settings with which
all its runs end in time and lose few videos; no measurement of a real fleet stands behind them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from inference.schedule.plans import Plan
from inference.schedule.stage_speed import FIRST_VIDEOS, RARE_MEMORY, StageSpeed

# The first look's seconds as a share of the whole cascade's; a guess, until videos with both were seen.
FIRST_LOOK = 0.6
# Seconds a video at the top plan on a machine that is hardly worth running on: one minute is the limit after which a
# decoder is cut. Where all videos fit even so, they get the top plan from the start and are all predicted alike.
SLOWEST = 60.0
# How far a stage's seconds wander over a whole run, as a share: a random walk, spread over its videos. MAX_DRIFT is the
# most for one video, so that a run of few videos does not forget each video at the next.
DRIFT, MAX_DRIFT = 0.4, 0.03
# For each stage (decode, detect, members): the guessed share of its seconds that no plan saves, and the standard
# deviation between videos as a share of the mean. A file must be opened and read whatever its frames are, hence 0.7.
STAGE_GUESSES = ((0.7, 0.4), (0.1, 0.6), (0.05, 0.6))
# Standard deviation of the rest of the run against what was measured so far, as a share: what no video tells yet.
LATER_DOUBT = 0.05
# Standard deviation between videos, as a share of the mean; near the noise of STAGE_GUESSES.
VIDEO_SPREAD = 0.5
# The band of a forecast in standard deviations: 5 % of a normal distribution lie beyond each end.
SIGMAS = 1.64
# Videos after which half of the measured waiting is forgotten: long beside a batch of crops, short beside a run.
RATE_MEMORY = 200
# Share of the less busy side's seconds that the other waits for it, until that is measured. It weighs as much as
# FIRST_VIDEOS videos.
WAITING = 0.2
# A dearer plan must leave this share of the time, and today's plan may lack it before it is left. Without it plans
# changed 68 times in the four runs of test_noise_does_not_make_plans_flap, with it at most 40 times.
STICKY = 0.04
# Videos between two looks at the plan: a 200th of the run, within these bounds.
PAUSE_SHARE, PAUSE_LEAST, PAUSE_MOST = 200, 4, 50


@dataclass(frozen=True)
class Spent:
    """What one finished video took, in seconds of work; waiting is not counted."""

    plan: Plan  # it was started with
    decode: float  # in a decoder, until it was done or cut
    detect: float = 0.0  # all but the members: detection, tracking, crops
    score: float = 0.0  # in the members
    cut: bool = False  # hung, crashed or unreadable: its seconds say nothing of others; one without a face is not cut


@dataclass(frozen=True)
class Forecast:
    """When a run ends, on the planner's clock; 90 % of runs end between low and high."""

    finish: float  # infinite while no video is measured
    low: float
    high: float


class Planner:
    """Chooses the plan of each video so that all are predicted in time, as well as the time allows.

    It takes the best plan that fits at the late end of its forecast: about a tenth of the time left stays in hand,
    whatever is left, so that a late slowdown can be met and little stays unused. Where decoding is the wall no plan is
    much cheaper than another and a great slowdown costs videos; saving for that from the start would cost more.
    All times are seconds on one clock, the caller's.
    """

    def __init__(
        self, plans: Sequence[Plan], videos: int, budget: float, reserve: float, started: float, workers: int = 2
    ) -> None:
        """Plan a run of which nothing is known yet.

        Args:
            plans: from the best to the cheapest, as `make_plans` gives them.
            videos: to predict.
            budget: seconds from `started` on.
            reserve: seconds at the end of the budget that are kept free, for writing.
            started: when the budget began, on the caller's clock.
            workers: videos decoded at a time.

        Raises:
            ValueError: there is no plan, or a number is below its least value.
        """
        if not plans or budget <= 0 or reserve < 0 or workers < 1 or videos < 0:
            numbers = f"budget {budget}, reserve {reserve}, workers {workers}, videos {videos}"
            raise ValueError(f"{len(plans)} plans, {numbers}: reserve and videos start at 0, the others above")
        self.plans, self.workers = tuple(plans), workers
        self.started, self.deadline = started, started + budget - reserve  # then all stops and the file is written
        few = max(1, self.plans[0].frames // 4)  # nothing is known yet, and they show a slow machine early
        self._now = next((i for i, plan in enumerate(self.plans) if plan.frames <= few), len(self.plans) - 1)
        if videos * SLOWEST <= budget - reserve:
            self._now = 0
        self._pause = min(PAUSE_MOST, max(PAUSE_LEAST, videos // PAUSE_SHARE))
        self._looked, self.changes = FIRST_VIDEOS - self._pause, 0  # of plan, after the first videos
        self._flying: Counter[Plan] = Counter()
        self._last = math.nan  # when a video was finished
        self._wall = self._decoding = self._scoring = (
            0.0  # recent seconds: of the run, of decoders, of detection and members
        )
        drift = min(MAX_DRIFT, DRIFT / math.sqrt(max(1, videos)))
        self._stages = tuple(StageSpeed(fixed, noise, drift) for fixed, noise in STAGE_GUESSES)
        self._cut = self._cut_squares = 0.0  # seconds, and their squares
        self._finished = self._measured = 0  # videos, and those of them that were not cut

    def go_on(self, started: float, budget: float) -> None:
        """Plan other videos in a time of their own, on the same machine: what was measured stays.

        Args:
            started: when their time began, on the caller's clock.
            budget: seconds from then on.
        """
        self.started, self.deadline = started, started + budget
        self._flying.clear()
        self._last, self._looked = math.nan, self._finished - self._pause

    @property
    def plan(self) -> Plan:
        """The plan of the next video, as things stand."""
        return self.plans[self._now]

    def finished(self, now: float, spent: Spent) -> None:
        """Learn from a started video that is done: predicted, found without a face, or cut.

        Args:
            now: seconds, on the caller's clock.
            spent: what it took.
        """
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
            keep = 0.5 ** (1 / RATE_MEMORY)
            self._wall = keep * self._wall + now - self._last
            self._decoding = keep * self._decoding + spent.decode
            self._scoring = keep * self._scoring + spent.detect + spent.score
        self._last = now

    def choose(self, now: float, left: int) -> Plan | None:
        """Choose the plan of the next video to start.

        Args:
            now: seconds, on the caller's clock.
            left: videos not yet started, this one included.

        Returns:
            The plan; None when there is no time for another video, or none is left.
        """
        time_left = self.deadline - now
        if left < 1 or time_left <= 0:
            return None
        if self._measured >= FIRST_VIDEOS:
            if self._finished - self._looked >= self._pause:
                self._look(time_left, left)
            rest = range(self._now, len(self.plans))
            fitting = next((i for i in rest if self._remaining(self.plans[i], 1)[0] <= time_left), None)
            if fitting is None:
                return None
            self._change(fitting)
        self._flying[self.plan] += 1
        return self.plan

    def choose_again(self, now: float, above: float) -> Plan | None:
        """Choose the plan of a video that is looked at a second time, when all have been started.

        Args:
            now: seconds, on the caller's clock.
            above: the value that the plan must exceed.

        Returns:
            The best plan that fits with what is under way; None when none above that value does.
        """
        if self._measured < FIRST_VIDEOS:
            return None
        worthy = (plan for plan in self.plans if plan.value > above)
        plan = next((plan for plan in worthy if self._remaining(plan, 1)[0] <= self.deadline - now), None)
        if plan is not None:
            self._flying[plan] += 1
        return plan

    def forecast(self, now: float, left: int, plan: Plan | None = None) -> Forecast:
        """Foretell the end of the run.

        Args:
            now: seconds, on the caller's clock.
            left: videos not yet started.
            plan: of all of them; today's without it.
        """
        if not self._measured:
            return Forecast(math.inf, now, math.inf)
        seconds, doubt = self._remaining(plan or self.plan, left)
        return Forecast(now + seconds, now + max(0.0, seconds - SIGMAS * doubt), now + seconds + SIGMAS * doubt)

    def _look(self, time_left: float, left: int) -> None:
        """Take the best plan that fits; near the edge of the time left stay with today's, or plans would flap.

        Plans cheaper than the one of most value per second are never taken: that one for some videos and the prior for
        the rest gain more.
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
        cuts = self._cut_squares / (self._finished + RARE_MEMORY) / self.workers**2
        spread = left * ((VIDEO_SPREAD * wall) ** 2 + cuts)
        return seconds, math.sqrt((LATER_DOUBT**2 + doubt) * seconds**2 + spread)

    def _per_video(self, plan: Plan) -> tuple[float, float, float]:
        """Seconds of the run per video, their doubt (a share, squared), and seconds from a video's start to its end."""
        (decode, decode_doubt), (detect, detect_doubt), (score, score_doubt) = (
            stage.seconds(work) for stage, work in zip(self._stages, self._work(plan), strict=True)
        )
        scoring = detect + score
        decoding = (decode + self._cut / (self._finished + RARE_MEMORY)) / self.workers
        doubt = decode_doubt / self.workers**2 if decoding > scoring else detect_doubt + score_doubt
        wall = self._wall_of(decoding, scoring)
        return wall, doubt / wall**2 if wall else 0.0, decode + scoring

    def _wall_of(self, decoding: float, scoring: float) -> float:
        """Seconds of the run for a video of that many seconds on each side.

        The busier one's, and the part of the other's for which that has to wait; measured, as is any time beyond both.
        """
        more, less = max(decoding, scoring), min(decoding, scoring)
        decoded, scored = (
            self._decoding / self.workers + FIRST_VIDEOS * decoding,
            self._scoring + FIRST_VIDEOS * scoring,
        )
        wall = self._wall + FIRST_VIDEOS * (more + WAITING * less)
        most, least = max(decoded, scored), min(decoded, scored)
        waiting = min(1.0, max(0.0, (wall - most) / least)) if least else 0.0
        beyond = wall / (most + waiting * least) if most else 1.0
        return (more + waiting * less) * beyond

    def _work(self, plan: Plan) -> tuple[float, float, float]:
        """Work of decoding, detection and members by a plan; 1 each at the top plan."""
        frames = plan.frames / self.plans[0].frames
        return frames, frames * (1.0 if plan.thorough else FIRST_LOOK), frames * plan.members
