from pathlib import Path

from inference.result import VideoResult
from inference.schedule.planner import Planner
from inference.schedule.plans import make_plans
from inference.schedule.scheduler import BudgetScheduler
from tests.inference.schedule.following import follow


def test_a_tight_budget_shrinks_the_plan(capsys):
    """A machine of 10 s a video at the top plan, 100 videos, 300 s: without a plan it would score 30."""
    now = [0.0]
    scheduler = BudgetScheduler(Planner(make_plans(32, 3), 100, 300.0, 5.0, 0.0, workers=1), now=lambda: now[0])
    scored = 0
    for path, frames in scheduler.jobs([Path(f"{i}.mp4") for i in range(100)]):
        plan = scheduler.plan_of(path)
        seconds = {"decode": 0.5, "detect": 4.0 * frames / 32, "judge": 5.5 * frames / 32 * plan.members}
        now[0] += sum(seconds.values())
        scheduler.finished(path, VideoResult(path.name, "ok", 0.5, seconds=seconds))
        scored += 1
    assert scored == 100
    assert now[0] <= 295
    assert now[0] > 200
    assert min(change.plan.frames for change in scheduler.history) < 32
    lines = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 5  # one a minute
    assert "videos to start" in lines[0]
    assert "time ends in 0:0" in lines[0]


def test_time_that_is_left_goes_to_the_videos_with_the_cheapest_plans():
    """Four times slower for the first half of its time: without second looks half of the videos stay at cheap plans."""
    now = [0.0]
    planner = Planner(make_plans(32, 3), 100, 1500.0, 5.0, 0.0, workers=1)
    scheduler = BudgetScheduler(planner, now=lambda: now[0], again=True)
    looks = follow(scheduler, now, 100, lambda at: 4.0 if at < 700 else 1.0)
    first, again = dict(looks[:100]), looks[100:]
    assert len(first) == 100
    assert 5 < len(again) < 100
    assert "8" not in dict(again), "what hung would hang again"
    assert now[0] <= 1495
    assert now[0] > 1400, "the time is used"
    assert again[0][0] == "7", "a look at few frames that found no face comes first"
    gains = [(first[name].value, plan.value) for name, plan in again]
    assert all(before < after for before, after in gains)
    assert [before for before, _ in gains[1:]] == sorted(before for before, _ in gains[1:])
    assert len({name for name, _ in again}) == len(again)
    first_again = [change.again for change in scheduler.history].index(True)
    assert first_again > 0
    assert str(scheduler.history[first_again]).startswith("second looks: 32 frames, all members")
    assert scheduler.history[-1].left == 0


def test_units_keep_what_is_left_of_their_time_for_the_units_after_them():
    now = [0.0]
    scheduler = BudgetScheduler(Planner(make_plans(32, 3), 100, 1500.0, 5.0, 0.0, workers=1), now=lambda: now[0])
    assert len(follow(scheduler, now, 100, lambda at: 4.0 if at < 700 else 1.0)) == 100


def test_nothing_but_hung_videos_is_told_and_does_not_end_the_run(capsys):
    now = [0.0]
    scheduler = BudgetScheduler(Planner(make_plans(32, 0), 5, 3600.0, 5.0, 0.0, workers=1), now=lambda: now[0])
    for path, _ in scheduler.jobs([Path(f"{i}.mp4") for i in range(5)]):
        now[0] += 61
        scheduler.finished(path, VideoResult(path.name, "timed_out", 0.5, seconds={"decode": 60.0}))
    assert "finish expected in a time not yet known" in capsys.readouterr().err
