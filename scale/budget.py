"""A deadline over units: each gets a share of the time that is left, and its worker chooses how to use it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class UnitTime:
    """The time of one unit."""

    seconds: float  # its share, from when a worker begins it
    until: float  # of time.time(): whatever its share, it ends by then


class Budget:
    """Shares out the time of a run by how many videos are left, so that a quick start leaves more for the rest.

    What a share is worth is measured by the worker itself: it keeps the seconds that its videos took from one unit to
    the next, and takes the best plan (frames, members) that fits. Clocks of several machines must agree to a second.
    """

    def __init__(
        self, seconds: float, reserve: float, videos: int, slots: int, now: Callable[[], float] = time.time
    ) -> None:
        """Begin now.

        Args:
            seconds: that the run may take.
            reserve: of them at the end, kept for writing results.
            videos: of the run.
            slots: units that run at a time.
            now: gives seconds as time.time() does.

        Raises:
            ValueError: the reserve leaves nothing of the seconds.
        """
        if reserve >= seconds:
            raise ValueError(f"--reserve of {reserve:g} s leaves nothing of --budget, {seconds:g} s")
        self.now, self.end = now, now() + seconds
        self.until, self.left, self.slots = self.end - reserve, videos, slots

    def share(self, videos: int) -> UnitTime:
        """Share out time to a unit of so many videos that is about to begin."""
        working = max(0.0, self.until - self.now()) * self.slots
        # A unit cannot take longer than until the end, however few are left.
        seconds = min(working * videos / max(videos, self.left), working / self.slots)
        return UnitTime(seconds, self.until)

    def finished(self, videos: int) -> None:
        """Count the videos of a unit that is done."""
        self.left -= videos

    def is_over(self) -> bool:
        """Whether what is not done now has to be left."""
        return self.now() >= self.end
