"""How often verdicts are wrong: counted on held-out videos, with intervals that cover."""

import numpy as np
import pytest
from scipy.stats import binomtest

from ensemble.rates import Rates, Share, measure_rates
from ensemble.truth import Truth


def test_at_most_a_tenth_of_the_reals_of_every_source_reach_the_threshold():
    rng = np.random.default_rng(0)
    source = np.array(["a"] * 400 + ["b"] * 200, dtype=object)
    label = np.tile([0.0, 1.0], 300)
    prob = np.where(label == 1, rng.beta(5, 2, 600), np.where(source == "b", rng.beta(4, 4, 600), rng.beta(2, 5, 600)))
    truth = Truth(label, np.arange(600).astype(str).astype(object), source=source)
    rates = measure_rates(truth, prob)
    for name in ("a", "b"):
        reals, fakes = (prob[(source == name) & (label == kind)] for kind in (0, 1))
        assert rates.sources[name].false_alarms.value == pytest.approx((reals >= rates.fake_from).mean(), abs=1e-4)
        assert rates.sources[name].misses.value == pytest.approx((fakes < rates.fake_from).mean(), abs=1e-4)
        assert rates.sources[name].false_alarms.value <= 0.1
    below = rates.fake_from - 0.01  # the source that is hard decides, and a lower threshold would be too low for it
    assert (prob[(source == "b") & (label == 0)] >= below).mean() > 0.1
    assert rates.worst_alarms[0] == "b"
    assert Rates.from_dict(rates.to_dict()) == rates


def test_a_probability_that_many_share_is_not_called_fake():
    """All confident errors of a clipped blend lie on one number."""
    label, prob = np.array([0.0] * 10 + [1.0] * 10), np.array([0.1] * 7 + [0.99] * 3 + [0.99] * 10)
    rates = measure_rates(Truth.of(label), prob)
    assert rates.fake_from == 1.0
    assert (rates.sources[""].false_alarms.value, rates.sources[""].misses.value) == (0.0, 1.0)


def test_the_threshold_is_never_below_a_half():
    label, prob = np.array([0.0] * 10 + [1.0] * 10), np.array([0.1] * 10 + [0.4] * 10)
    assert measure_rates(Truth.of(label), prob).fake_from == 0.5


@pytest.mark.parametrize(("hits", "of"), [(0, 11), (3, 40), (11, 11)])
def test_the_interval_is_that_of_clopper_and_pearson(hits, of):
    share = Share.of(np.arange(of) < hits, np.arange(of))
    exact = binomtest(hits, of).proportion_ci(method="exact")
    assert (share.low, share.high) == pytest.approx((exact.low, exact.high), abs=1e-4)


def test_videos_of_one_group_count_once():
    hits = np.arange(40) < 10
    alone, paired = Share.of(hits, np.arange(40)), Share.of(np.repeat(hits, 2), np.repeat(np.arange(40), 2))
    assert (alone.low, alone.high) == (paired.low, paired.high)
    assert paired.videos == 80
