import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.simulate_budget import draw, measure, shipped_plans
from benchmarks.simulated_machine import CUT, SCORED, SKIPPED, Machine, simulate
from ensemble.blend import FILE, Blend
from inference.schedule.planner import Planner, Spent
from inference.schedule.plans import CHEAP, TOLERANCE, Plan, make_plans
from models.checkpoint import WEIGHTS_DIR

PLANS = make_plans(32, 3, losses=(0.4244, 0.4234, 0.4358, 0.4831))
SMALL = Machine(videos=400, budget=3600, reserve=30, decode=2.0, detect=0.01, score=0.05, startup=30, gather=32)


def follow(machine, plans=PLANS, trace=False):
    """A run, checked for what must hold of every run."""
    outcome = simulate(machine, plans, trace)
    assert outcome.finish <= machine.budget
    assert len(outcome.status) == machine.videos and set(outcome.status) <= {SCORED, CUT, SKIPPED}
    return outcome


def steady(planner, plan, videos, decode, score, now=0.0, workers=2):
    """Tell of that many videos, finished at the pace of the busier side."""
    for _ in range(videos):
        now += max(decode / workers, score)
        planner.finished(now, Spent(plan, decode, 0.0, score))
    return now


def test_plans_start_with_all_and_get_cheaper_with_each_step():
    assert PLANS[:3] == tuple(
        Plan(32, 0, tolerance=each) for each in (0, TOLERANCE, CHEAP)
    )  # what hardly matters first
    assert PLANS[-1] == Plan(1, 3, thorough=False, tolerance=CHEAP)
    assert all(plan.thorough for plan in PLANS[:-1])
    assert all(plan.tolerance == CHEAP for plan in PLANS[2:])
    for a, b in pairwise(PLANS):
        assert (
            (b.frames, -b.fallback, b.thorough, -b.tolerance)
            <= (a.frames, -a.fallback, a.thorough, -a.tolerance)
            != (b.frames, -b.fallback, b.thorough, -b.tolerance)
        )
        assert b.frames <= a.frames and b.fallback >= a.fallback and b.members <= a.members and 0 < b.value < a.value
    assert PLANS.index(Plan(16, 0, tolerance=CHEAP)) < min(
        i for i, plan in enumerate(PLANS) if plan.fallback
    )  # half the frames first
    assert [plan.fallback for plan in PLANS if plan.frames == 1] == [1, 2, 3, 3]  # a costly drop of members comes late


def test_one_member_and_one_frame_make_two_plans():
    assert make_plans(1, 0, tolerance=0.1) == tuple(Plan(1, 0, thorough, 0.1) for thorough in (True, False))


@pytest.mark.parametrize(
    "arguments", [(0, 0), (8, -1), (8, 1, (1.0,)), (8, 1, (1, 1)), (8, 1, (), (0.4, 0.7)), (8, 1, (), (0.4,))]
)
def test_plans_that_cannot_be_are_refused(arguments):
    with pytest.raises(ValueError, match=r"start at 1|stay above 0"):
        make_plans(*arguments)


@pytest.mark.parametrize("wrong", [{"plans": ()}, {"budget": 0}, {"reserve": -1}, {"workers": 0}, {"videos": -1}])
def test_a_planner_refuses_impossible_numbers(wrong):
    known = {"plans": PLANS, "videos": 9, "budget": 60, "reserve": 5, "started": 0}
    with pytest.raises(ValueError, match="start at 0"):
        Planner(**{**known, **wrong})


def test_before_the_first_video_the_plan_is_modest_and_nothing_is_foretold():
    planner = Planner(PLANS, 1000, 3600, 60, started=100.0)
    assert planner.choose(130.0, 1000).frames == 8
    assert planner.forecast(130.0, 999).high == math.inf


def test_past_the_deadline_nothing_starts_even_if_nothing_is_known():
    planner = Planner(PLANS, 10, 3600, 60, started=100.0)
    assert planner.deadline == 3640.0
    assert planner.choose(3639.0, 10) is not None
    assert planner.choose(3640.0, 10) is None
    assert planner.choose(9999.0, 10) is None


def test_no_video_left_no_plan():
    assert Planner(PLANS, 0, 3600, 60, started=0.0).choose(1.0, 0) is None


def test_no_video_starts_that_cannot_be_done_in_time():
    planner = Planner(PLANS[:1], 100, 1000, 0, started=0.0)
    steady(planner, PLANS[0], 50, decode=2.0, score=8.0)
    assert planner.choose(980.0, 50) == PLANS[0]
    planner.finished(988.0, Spent(PLANS[0], 2.0, 0.0, 8.0))
    assert planner.choose(992.0, 49) is None


def test_where_decoding_is_the_wall_members_are_not_dropped_for_nothing():
    plans = (Plan(8, 0), Plan(8, 1, members=0.25, value=0.9), Plan(1, 1, members=0.25, value=0.8))
    planner = Planner(plans, 1000, 1020, 0, started=0.0)
    now = steady(planner, plans[0], 100, decode=2.0, score=0.4)  # a second each
    by_all, by_few, by_least = (planner.forecast(now, 900, plan).finish for plan in plans)
    assert by_few == pytest.approx(by_all, rel=0.05)
    assert by_least < 0.85 * by_all
    assert planner.choose(now, 900).fallback == 0 or planner.choose(now, 900).frames == 1


def test_where_members_are_the_wall_dropping_them_pays():
    plans = (Plan(8, 0), Plan(8, 1, members=0.25, value=0.9))
    planner = Planner(plans, 1000, 1020, 0, started=0.0)
    now = steady(planner, plans[0], 100, decode=0.2, score=1.5)
    by_all, by_few = (planner.forecast(now, 900, plan).finish - now for plan in plans)
    assert by_all == pytest.approx(1.5 * 900, rel=0.1)
    assert by_few == pytest.approx(0.25 * 1.5 * 900, rel=0.25)
    assert planner.choose(now, 900) == plans[1]


def test_a_slowdown_brings_a_cheaper_plan_and_its_end_the_best_one():
    planner, now, ranks = Planner(PLANS, 4000, 6000, 0, started=0.0), 0.0, []
    for left in range(4000, 1000, -1):
        slow = 3 if 2800 <= left < 3000 else 1
        plan = planner.choose(now, left)
        ranks.append(PLANS.index(plan))
        now = steady(planner, plan, 1, 0.4 * slow, plan.frames / 32 * plan.members * slow, now)
    assert ranks[950] == 0
    assert ranks[1199] >= 2
    assert ranks[1700] == 0


def test_noise_does_not_make_plans_flap():
    machine = replace(SMALL, videos=2000, budget=7200, score=0.15, spread=0.6, hard=0.0, drift=0.0)
    assert sum(follow(replace(machine, seed=seed)).changes for seed in range(4)) <= 40  # 68 without stickiness


def test_a_margin_stays_in_hand():
    for spare, plan in ((1.03, PLANS[1]), (1.25, PLANS[0])):
        planner = Planner(PLANS, 2000, 200 + 1800 * spare, 0, started=0.0)
        now = steady(planner, PLANS[0], 200, decode=0.2, score=1.0)
        assert planner.choose(now, 1800) == plan


def test_sides_that_wait_for_each_other_take_the_sum_of_both():
    plans = (Plan(8, 0), Plan(8, 1, members=0.25, value=0.9))
    planner, now = Planner(plans, 4000, 9000, 0, started=0.0), 0.0
    for _ in range(400):
        now += 2.0
        planner.finished(now, Spent(plans[0], 2.0, 0.0, 1.0))  # two decoders: a second on each side
    assert planner.forecast(now, 1000, plans[0]).finish - now == pytest.approx(2000, rel=0.1)
    assert planner.forecast(now, 1000, plans[1]).finish - now == pytest.approx(1280, rel=0.1)


def test_a_rare_long_video_counts_at_its_rate_and_no_more():
    planner, now = Planner(PLANS, 4000, 32400, 0, started=0.0), 0.0
    for _ in range(8):
        now = steady(planner, PLANS[0], 49, decode=0.2, score=1.0, now=now)
        before = planner.forecast(now, 1000).finish - now
        now = steady(planner, PLANS[0], 1, decode=0.2, score=30.0, now=now)
        assert planner.forecast(now, 1000).finish - now < 1.25 * before + 30
    by_top = planner.forecast(now, 1000, PLANS[0]).finish - now
    assert by_top == pytest.approx(1000 * 79 / 50, rel=0.25)


def test_hung_videos_are_expected_at_their_rate_whatever_the_plan():
    calm, hanging = (Planner(PLANS, 2000, 9000, 0, started=0.0) for _ in range(2))
    now = steady(calm, PLANS[0], 500, decode=2.0, score=0.5)
    then = 0.0
    for _ in range(5):
        then = steady(hanging, PLANS[0], 99, decode=2.0, score=0.5, now=then) + 30
        hanging.finished(then, Spent(PLANS[0], 60.0, cut=True))
    lost = hanging.forecast(then, 1000).finish - then - (calm.forecast(now, 1000).finish - now)
    assert lost == pytest.approx(10 * 60 / 2, rel=0.4)


@pytest.mark.parametrize("hung", [1, 5])
def test_first_videos_that_hang_are_no_reason_to_despair(hung):
    planner, now = Planner(PLANS, 4000, 4000 * (1.4 + 0.4 * hung), 0, started=0.0), 0.0
    for _ in range(hung):
        now += 30
        planner.finished(now, Spent(PLANS[0], 60.0, cut=True))
    assert planner.choose(now, 3999).frames == 8
    now = steady(planner, PLANS[0], 40, decode=2.0, score=0.5, now=now)
    assert planner.choose(now, 3960 - hung) == PLANS[0]


def test_first_files_that_are_damaged_but_not_told_so_are_forgotten():
    planner = Planner(PLANS, 4000, 32400, 300, started=0.0)
    for i in range(6):
        planner.finished(float(i), Spent(PLANS[0], 0.01))
    now = steady(planner, PLANS[0], 200, decode=4.0, score=0.5, now=6.0)
    assert planner.forecast(now, 3000, PLANS[0]).finish - now == pytest.approx(6000, rel=0.2)


@pytest.mark.parametrize("cut", [False, True])
def test_first_videos_with_nothing_to_score_teach_no_wrong_speed(cut):
    planner = Planner(PLANS, 4000, 32400, 300, started=0.0)
    for i in range(6):  # without a face, or unreadable
        planner.finished(float(i), Spent(PLANS[0], 0.01 if cut else 4.0, cut=cut))
    now = steady(planner, PLANS[0], 60, decode=4.0, score=3.0, now=6.0)
    assert planner.forecast(now, 3000, PLANS[0]).finish - now == pytest.approx(9000, rel=0.2)


def test_the_band_holds_the_end_of_a_steady_run():
    inside = 0
    for seed in range(20):
        trace = follow(replace(SMALL, videos=300, budget=30000, drift=0.03, seed=seed), PLANS[:1], trace=True).trace
        end = simulate(replace(SMALL, videos=300, budget=30000, drift=0.03, seed=seed), PLANS[:1])
        inside += trace[5][3] <= end.finish <= trace[5][4] + 15  # writing the file takes up to 15 s
    assert inside >= 16


def test_same_calls_same_answers():
    machine = draw("all at once", 7)
    machine = replace(machine, videos=500, budget=3000, reserve=60)
    assert follow(machine, trace=True) == follow(machine, trace=True)


def test_a_fast_machine_scores_all_by_the_top_plan_but_for_the_first():
    outcome = follow(replace(SMALL, decode=0.5, detect=0.001, score=0.001))
    assert outcome.status == [SCORED] * 400
    assert sum(plan != PLANS[0] for plan in outcome.plans) <= 12
    assert outcome.changes == 1


@pytest.mark.parametrize("videos", [0, 1, 5, 20])
def test_a_few_videos_are_all_scored(videos):
    assert follow(replace(SMALL, videos=videos)).status == [SCORED] * videos


def test_too_little_time_for_the_cheapest_plan_fills_the_budget_and_the_rows():
    outcome = follow(replace(SMALL, videos=6000))
    assert 0.1 < outcome.status.count(SCORED) / 6000 < 0.95
    assert outcome.stopped <= 1
    assert outcome.finish > 0.95 * 3600


def test_too_little_time_for_the_top_plan_uses_the_budget_and_skips_nothing():
    machine = replace(SMALL, videos=1000, score=0.15)
    row = measure(machine, follow(machine), PLANS)
    assert row.tight and row.skipped == 0
    assert row.use > 0.93


def test_a_second_look_is_better_or_there_is_none():
    planner = Planner(PLANS, 100, 1000.0, 0.0, 0.0)
    now = steady(planner, PLANS[0], 20, decode=4.0, score=4.0)
    assert planner.choose_again(now, PLANS[3].value) == PLANS[0]
    assert planner.choose_again(now, PLANS[0].value) is None
    late = planner.deadline - np.linspace(0.1, 30, 300)
    chosen = [planner.choose_again(float(at), PLANS[3].value) for at in late]
    assert None in chosen, "right before the end nothing fits"
    assert {PLANS.index(plan) for plan in chosen if plan} <= {0, 1, 2}
    assert Planner(PLANS, 100, 1000.0, 0.0, 0.0).choose_again(1.0, 0.0) is None, "of which nothing is known"


def test_a_machine_three_times_faster_late_uses_its_time_for_second_looks():
    machine = replace(SMALL, videos=1000, budget=3600, score=0.25, slow_at=0.5, slow=1 / 3)
    outcome = follow(machine)
    assert outcome.again > 50
    assert outcome.finish > 0.95 * machine.budget
    assert outcome.status.count(SCORED) == 1000


@pytest.mark.parametrize("slow_at", [0.5, 0.8])
def test_a_machine_three_times_slower_late_still_scores_every_video(slow_at):
    machine = replace(SMALL, videos=1000, budget=2 * 3600, score=0.25, slow_at=slow_at, slow=3.0)
    outcome = follow(machine)
    assert outcome.status == [SCORED] * 1000
    assert outcome.finish > 0.95 * machine.budget


def test_a_process_that_dies_twice_ends_inside_the_first_ones_budget():
    machine = replace(SMALL, videos=1000, budget=7200, score=0.25, restarts=(0.3, 0.6), lost=300)
    outcome = follow(machine)
    assert outcome.status == [SCORED] * 1000
    assert outcome.finish > 0.9 * 7200


def test_hangs_are_cut_and_everything_else_scored():
    outcome = follow(replace(SMALL, videos=600, hang=0.02, ordered=True))
    assert 0 < outcome.status.count(CUT) < 30
    assert outcome.status.count(SKIPPED) == 0


def test_the_shipped_blend_has_all_its_fallback_ensembles():
    plans = shipped_plans()
    last = len(Blend.read(WEIGHTS_DIR / FILE).members) - 1  # the last fallback ensemble has one member
    assert plans[0].frames == 32 and max(plan.fallback for plan in plans) == last > 0
