import numpy as np
import pytest

from ensemble.clip import BOUNDS, FLOOR, PREMIUM, choose_clip, clip_curve, worst_fold
from ensemble.metrics import log_loss_balanced
from ensemble.truth import Truth

LABEL = np.tile([0.0, 1.0], 200)
FOLD = np.repeat(np.arange(4), 100)
TRUTH = Truth.of(LABEL)


def prob(errors, fold=0):
    """Right and sure of everything, but for `errors` reals of one fold of which it is surely wrong."""
    said = np.where(LABEL > 0.5, 0.999, 0.001)
    wrong = np.flatnonzero((fold == FOLD) & (LABEL < 0.5))[:errors]
    said[wrong] = 0.9999
    return said


def test_the_worst_fold_decides():
    assert worst_fold(TRUTH, prob(3, fold=2), FOLD) == 2
    low, high = choose_clip(TRUTH, prob(3, fold=2), FOLD)
    # 3 of its 50 reals: to say 0.94 is the best answer to a share of 3 in 53 called fake.
    assert 1 - high == pytest.approx(3 / 53, rel=0.15)
    assert low == FLOOR, "the table has no sure error on this side, and so cannot price one"


def test_a_mean_over_folds_would_choose_a_narrower_bound():
    said = prob(3)
    curve = clip_curve(TRUTH, said, FOLD)
    assert BOUNDS[int(np.argmin(curve.mean))] < BOUNDS[int(np.argmin(curve.worst))]


def test_the_curve_is_the_loss_and_the_price_of_an_error():
    said = prob(3)
    curve = clip_curve(TRUTH, said, FOLD)
    at = curve.bound.index(min(curve.bound, key=lambda b: abs(b - 0.01)))
    expected = [
        log_loss_balanced(LABEL[k == FOLD], np.clip(said[k == FOLD], curve.bound[at], 1 - curve.bound[at]))
        for k in range(4)
    ]
    assert curve.mean[at] == pytest.approx(np.mean(expected))
    assert curve.worst[at] == pytest.approx(expected[0])
    assert curve.one_error[at] == pytest.approx(4.6, abs=0.2)
    assert curve.one_error[0] == pytest.approx(9.2, abs=0.1)


def test_of_bounds_that_cost_the_same_the_widest_is_taken():
    said = np.where(LABEL > 0.5, 0.9, 0.1)
    low, high = choose_clip(TRUTH, said, FOLD)
    assert low == pytest.approx(0.1, abs=0.01)
    assert high == pytest.approx(0.9, abs=0.01)


def test_an_insurance_may_not_cost_all_folds_too_much():
    """A fold that is wrong three times in ten wants 0.2 at least; the others, which are right, would pay for it."""
    sure, right = np.where(FOLD == 1, 0.1, 0.03), np.arange(400) % 10 // 2 < 3.5
    said = np.where((LABEL > 0.5) == (right | (FOLD != 1)), 1 - sure, sure)
    assert choose_clip(TRUTH[FOLD == 1], said[FOLD == 1], FOLD[FOLD == 1])[0] == max(BOUNDS)
    low, _ = choose_clip(TRUTH, said, FOLD)
    assert 0.02 < low < 0.1
    free, clipped = log_loss_balanced(LABEL, said), log_loss_balanced(LABEL, np.clip(said, low, 1))
    assert clipped <= free + PREMIUM
