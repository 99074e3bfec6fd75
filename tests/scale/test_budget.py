"""A deadline over units: shares by what is left, and an end that is kept."""

import pytest

from scale.budget import Budget
from scale.driver import Driver
from scale.store import Store
from tests.scale.test_driver import Scripted, unit


class Clock:
    """Goes on when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def test_a_share_is_that_of_the_videos_that_are_left():
    clock = Clock()
    budget = Budget(100, 10, 20, slots=2, now=clock)
    first = budget.share(4)
    assert (first.seconds, first.until) == (36, 1090)  # a fifth of twice ninety
    clock.now += 45
    budget.finished(16)  # quicker than thought: the last ones have all the rest, and no unit more than that
    assert budget.share(4).seconds == 45 and budget.share(2).seconds == 45 and budget.share(1).seconds == 22.5
    clock.now += 50
    assert budget.share(4).seconds == 0 and not budget.is_over()
    clock.now += 5
    assert budget.is_over()


def test_a_reserve_must_leave_something():
    with pytest.raises(ValueError, match=r"--reserve of 120 s leaves nothing of --budget, 60 s"):
        Budget(60, 120, 4, 1)


def test_a_run_ends_with_its_budget_and_the_next_goes_on(tmp_path):
    clock, store = Clock(), Store(str(tmp_path / "store"))
    units = [unit(number) for number in range(8)]

    class Slow(Scripted):
        def poll(self, seconds):
            clock.now += 10
            return super().poll(seconds)

    engine = Slow(store)
    summary = Driver(store, engine, 1000, budget=Budget(45, 5, 32, 2, clock)).run(units)
    assert summary.units == 5 and summary.over and engine.closed
    assert "the budget was used up; the same command goes on" in str(summary)
    assert {attempt.time.until for attempt in engine.submitted} == {1040.0}
    shares = [attempt.time.seconds for attempt in engine.submitted]
    assert shares[0] == 10 and shares[-1] == 0  # an eighth of twice forty; nothing is left at the end
    engine = Slow(store)
    enough = Driver(store, engine, 1000, budget=Budget(1000, 5, 32, 2, clock)).run(units)
    assert enough.units == 8 and not enough.over
