"""How long each section of tuning may take, and what was cut where the time was up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

# Seconds for each section: six members on 2,000 videos need a tenth of it, two hundred members more than there is.
SECONDS = 300.0


class Section:
    """One section of tuning: it asks now and then whether its time is up."""

    def __init__(self, name: str = "", seconds: float = math.inf, cuts: list[str] | None = None) -> None:
        """Begin now.

        Args:
            name: for people.
            seconds: that it may take; without an end by default.
            cuts: a list to which a sentence is added for each thing that is cut.

        Raises:
            ValueError: seconds is 0 or less.
        """
        if not seconds > 0:
            raise ValueError(f"seconds is {seconds:g}; a section of tuning needs more than 0")
        self.name, self.seconds, self.cuts = name, seconds, [] if cuts is None else cuts
        self._until = clock() + seconds

    @property
    def left(self) -> float:
        """Seconds until the end, 0 or more."""
        return max(0.0, self._until - clock())

    def over(self, lost: str) -> bool:
        """Whether the time is up, in which case the caller ends early.

        lost: what is cut short by that and what stands in for it; told once.
        """
        if self.left > 0:
            return False
        if (told := f"{self.name}, cut after {self.seconds:g} s: {lost}") not in self.cuts:
            self.cuts.append(told)
        return True

    def part(self, share: float) -> Section:
        """A part of this section that begins now and may take a share of what is left."""
        part = Section(self.name, self.seconds, self.cuts)
        part._until = clock() + share * self.left
        return part


clock: Callable[[], float] = time.monotonic  # tests put their own in its place
