import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss

from ensemble.metrics import (
    accuracy,
    accuracy_balanced,
    auc,
    bootstrap,
    calibration_error,
    calibration_error_balanced,
    log_loss,
    log_loss_balanced,
    sigmoid,
)


def labels_and_probabilities(count, seed=0):
    rng = np.random.default_rng(seed)
    label = (rng.random(count) < 0.8).astype(float)
    return label, np.clip(0.3 * label + rng.random(count) * 0.7, 0.01, 0.99)


def test_log_loss_is_the_scorers():
    label, prob = labels_and_probabilities(200)
    assert log_loss(label, prob) == pytest.approx(sklearn_log_loss(label, prob))


def test_a_certain_error_costs_what_kaggle_takes():
    assert log_loss(np.array([0.0]), np.array([1.0])) == pytest.approx(34.5, abs=0.1)
    assert log_loss(np.array([0.0]), np.array([0.99])) == pytest.approx(4.6, abs=0.01)


def test_balanced_log_loss_weights_the_classes_half_each():
    label = np.array([1.0, 1, 1, 0])
    prob = np.array([0.5, 0.5, 0.5, 0.2])
    assert log_loss_balanced(label, prob) == pytest.approx((np.log(2) - np.log(0.8)) / 2)


def test_balanced_log_loss_of_the_prior_is_log_two():
    label, _ = labels_and_probabilities(50)
    assert log_loss_balanced(label, np.full(50, 0.5)) == pytest.approx(np.log(2))


@pytest.mark.parametrize("metric", [log_loss_balanced, auc, accuracy_balanced, calibration_error_balanced])
def test_undefined_with_one_class(metric):
    assert np.isnan(metric(np.ones(4), np.array([0.1, 0.2, 0.3, 0.4])))


def test_auc_counts_ties_half():
    assert auc(np.array([0.0, 1]), np.array([0.5, 0.5])) == 0.5


def test_accuracy():
    assert accuracy(np.array([0.0, 1, 1]), np.array([0.4, 0.6, 0.2])) == pytest.approx(2 / 3)


def test_calibration_error_of_a_calibrated_and_a_bold_forecaster():
    label = np.array([1.0, 1, 1, 0] * 25)
    assert calibration_error(label, np.full(100, 0.75)) == pytest.approx(0)
    assert calibration_error(label, np.full(100, 0.95)) == pytest.approx(0.2)


def test_both_classes_count_half_in_accuracy_and_calibration():
    """84 % fakes, as in DFDC's training set: what is right for half and half is not 35 % off."""
    rng = np.random.default_rng(0)
    label = (rng.random(20_000) < 0.84).astype(float)
    prob = sigmoid(2 * (2 * label - 1) + rng.normal(0, 2, 20_000))  # calibrated for half and half
    assert calibration_error(label, prob) > 0.05
    assert calibration_error_balanced(label, prob) < 0.02
    assert accuracy_balanced(np.array([0.0, 1, 1, 1]), np.array([0.9, 0.9, 0.9, 0.9])) == 0.5


@given(st.floats(-1e6, 1e6))
def test_sigmoid_neither_overflows_nor_leaves_its_range(x):
    with np.errstate(all="raise", under="ignore"):
        assert 0 <= float(sigmoid(np.array(x))) <= 1


def test_bootstrap_is_repeatable_and_covers_the_value():
    label, prob = labels_and_probabilities(300)
    group = np.array([str(i // 3) for i in range(300)])
    first, second = bootstrap(label, prob, group, 100), bootstrap(label, prob, group, 100)
    assert first == second
    assert all(e.low <= e.value <= e.high for name, e in first.items() if name != "calibration_error")


def test_bootstrap_by_group_is_wider_than_by_row():
    """Rows of one group are copies here: as rows they look like ten times the data."""
    label, prob = (np.repeat(a, 10) for a in labels_and_probabilities(60))
    grouped = bootstrap(label, prob, np.repeat(np.arange(60), 10).astype(str), 200)["log_loss"]
    by_row = bootstrap(label, prob, np.arange(600).astype(str), 200)["log_loss"]
    assert grouped.high - grouped.low > 2 * (by_row.high - by_row.low)
