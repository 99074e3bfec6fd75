"""Time that is left when all videos were started: those that had a cheaper plan than need be are predicted again."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

from inference.schedule.planner import Planner
from inference.schedule.plans import Plan

Key = TypeVar("Key", bound=Hashable)


class SecondLooks(Generic[Key]):
    """Remembers by which plan each video was predicted, and names the next one that is worth another look.

    The first videos of a run have a modest plan, since nothing is known yet; those of a time in which the machine was
    slow have a cheap one. Their first prediction stays until the second one is there, so that a second look may be
    broken off at any moment.
    """

    def __init__(self, planner: Planner) -> None:
        """Remember nothing yet.

        Args:
            planner: of the run; it says whether there is time.
        """
        self._planner = planner
        # A heap: what a prediction is worth, how many were finished before it, its video, its plan's value.
        self._waiting: list[tuple[float, int, Key, float]] = []
        self._count = 0

    def finished(self, key: Key, plan: Plan, with_faces: bool) -> None:
        """Take in a video that was predicted, or in which no face was found; one that was cut gets no second look.

        Args:
            key: of the video.
            plan: by which it was looked at.
            with_faces: whether a face was found. Where none was, another look may gain all.
        """
        self._count += 1
        if plan != self._planner.plans[0]:
            heapq.heappush(self._waiting, (plan.value if with_faces else 0.0, self._count, key, plan.value))

    def next(self, now: float) -> tuple[Key, Plan] | None:
        """Name the video that gains most by another look.

        Args:
            now: seconds, on the planner's clock.

        Returns:
            The video and its new plan; None when no better plan fits into the time.
        """
        if not self._waiting:
            return None
        _, _, key, above = self._waiting[0]
        plan = self._planner.choose_again(now, above)
        if plan is None:
            return None
        heapq.heappop(self._waiting)
        return key, plan
