"""How long a stage takes per video: learnt while the run goes on, from every video that is finished.

The constants were tried with benchmarks/simulate_budget.py; no other measurement stands behind them.
"""

from __future__ import annotations

# Videos before anything is believed: the mean of 4 errs by a quarter where videos differ by a half.
FIRST_VIDEOS = 4
# A video that takes more than 4 times what was expected is a rare one, and teaches no new speed of the machine. Its
# excess is counted apart, at the rate at which such videos come.
OUTLIER = 4.0
# How far the guessed shares of a stage (`fixed`) may be off, as a standard deviation.
SHAPE_DOUBT = 0.3
# Videos without a surprise that are taken as seen before the first: an early outlier, or an early video that is cut,
# is no reason to expect many.
RARE_MEMORY = 100


class StageSpeed:
    """Seconds per video of one stage: a + b * work, where work is 1 at the top plan.

    It is a Kalman filter of the two numbers (https://en.wikipedia.org/wiki/Kalman_filter). A machine that gets slower
    changes both by the same factor, so that is the way they drift; videos with different plans teach their ratio.
    """

    def __init__(self, fixed: float, noise: float, drift: float) -> None:
        """Start without a video.

        Args:
            fixed: guessed share of a in the seconds of the top plan, 0..1.
            noise: standard deviation between videos, as a share of the mean.
            drift: standard deviation of the change from one video to the next, as a share of the mean.
        """
        self._fixed, self._noise, self._drift = fixed, noise, drift
        self._seen = self._did = 0  # videos, and those that came to this stage
        self._mean = self._work = 0.0  # of those
        self._a = self._b = self._aa = self._ab = self._bb = 0.0
        self._over = 0.0  # sum of what outliers took beyond, in units of what was expected

    def add(self, work: float, seconds: float) -> None:
        """Learn from one video.

        Args:
            work: of its plan, as a share of the top plan's.
            seconds: that the stage took; 0 when it had nothing to do, as for a video without a face.
        """
        self._seen += 1
        if seconds <= 0:
            return
        self._did += 1
        self._mean += (seconds - self._mean) / self._did
        if self._did <= FIRST_VIDEOS:
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
        doubt, turn = self._noise**2 / self._did, (SHAPE_DOUBT * level) ** 2  # turning the line about what was measured
        self._aa = doubt * self._a**2 + turn * self._work**2
        self._ab = doubt * self._a * self._b - turn * self._work
        self._bb = doubt * self._b**2 + turn

    def seconds(self, work: float) -> tuple[float, float]:
        """Foretell a video.

        Args:
            work: of its plan, as a share of the top plan's.

        Returns:
            Expected seconds, and the variance of this expectation; the spread between videos is not in it.
        """
        scale = (1 + self._over / (self._did + RARE_MEMORY)) * self._did / max(1, self._seen)
        variance = self._aa + 2 * work * self._ab + work * work * self._bb
        return (self._a + self._b * work) * scale, max(0.0, variance) * scale * scale
