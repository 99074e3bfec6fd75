from itertools import combinations

import numpy as np
import pytest

from ensemble import select as module
from ensemble.select import Cost, Limits, Search, best_subset, frame_counts
from tests.ensemble.tables import noisy

FACES = noisy(400, (0.6, 0.8, 1.5, 2.5))
COSTS = {"m0": Cost(400, 0.04), "m1": Cost(100, 0.01), "m2": Cost(200, 0.01), "m3": Cost(100, 0.005)}


def search(limits=Limits(), faces=FACES, costs=COSTS, values=None):  # noqa: B008
    truth = faces.known()
    return Search(values or {10: faces.logit}, truth, faces.members, limits, costs, 0.001, 0)


def test_every_line_up_is_tried_and_the_best_allowed_is_chosen():
    limits = Limits(bytes=450, seconds=0.5, frames=10, fixed=0.1, per_frame=0.002)
    found = search(limits).run()
    assert found.exact
    assert {c.members for c in found.candidates} == {
        tuple(chosen) for size in range(1, 5) for chosen in combinations(FACES.members, size)
    }
    allowed = [c for c in found.candidates if c.bytes <= 450 and c.seconds <= 0.5]
    assert found.best == min(allowed, key=lambda c: c.log_loss)
    assert found.best.members == ("m1", "m2", "m3")
    assert found.best.seconds == pytest.approx(0.1 + 10 * (0.002 + 0.025))
    assert [c.log_loss for c in found.candidates] == sorted(c.log_loss for c in found.candidates)


@pytest.mark.parametrize(("over", "fits"), [(0, True), (1, False)])
def test_a_limit_is_kept_to_the_byte(over, fits):
    assert search(Limits(bytes=800 - over)).fits(range(4), 10) is fits


def test_where_all_fit_all_are_taken():
    assert best_subset(search()).members == FACES.members


@pytest.mark.slow
def test_a_limit_that_binds_chooses_the_line_up():
    limited = search(Limits(bytes=450, seconds=0.3))
    assert best_subset(limited) == limited.run().best
    assert best_subset(limited).members == ("m1", "m2", "m3")


def test_no_member_fits():
    with pytest.raises(ValueError, match=r"no member fits: 'm3' alone takes 100 bytes .* raise --limit-bytes"):
        _ = search(Limits(bytes=50)).run().best


def test_fewer_frames_make_room_for_members():
    few = noisy(400, (0.6, 0.8, 1.5, 2.5))
    found = search(Limits(seconds=0.4), values={5: few.logit, 10: few.logit}).run()
    assert found.best.frames == 5
    assert len(found.candidates) == 30


def test_greedy_finds_what_all_line_ups_show_and_bounds_what_it_may_miss(monkeypatch):
    exact = search(Limits(bytes=450)).run()
    monkeypatch.setattr(module, "EXACT", 2)
    greedy = search(Limits(bytes=450)).run()
    assert not greedy.exact
    assert greedy.best.members == exact.best.members
    assert len(greedy.candidates) < len(exact.candidates)
    assert 0 < greedy.gap < 0.1


def test_the_frontier_only_improves():
    found = search().run()
    line = found.frontier(lambda c: c.seconds)
    assert np.all(np.diff([c.seconds for c in line]) > 0)
    assert np.all(np.diff([c.log_loss for c in line]) < 0)
    assert line[-1].log_loss == found.candidates[0].log_loss


def test_a_cost_that_is_not_known():
    with pytest.raises(ValueError, match="cost of member 'm3' is not known"):
        search(costs={name: cost for name, cost in COSTS.items() if name != "m3"})


def test_frames_to_try():
    assert frame_counts(32, 32) == [4, 8, 16, 32]
    assert frame_counts(32, 10) == [1, 2, 5, 10]
    assert frame_counts(1, 32) == [32]


def test_limits_that_make_no_sense():
    with pytest.raises(ValueError, match="seconds=0"):
        Limits(seconds=0)
