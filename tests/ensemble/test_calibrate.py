import numpy as np
import pytest

from ensemble.calibrate import cross_fit, fit_calibration
from ensemble.metrics import log_loss_balanced, sigmoid


def overconfident(count, seed=0, factor=2.5):
    """Logits that are `factor` times the true log odds of a half-and-half world; 80 % of the rows are fakes."""
    rng = np.random.default_rng(seed)
    label = (rng.random(count) < 0.8).astype(float)
    # Gaussians one apart with variance one: their log odds are exactly the value itself.
    honest = rng.normal(np.where(label > 0.5, 0.5, -0.5), 1.0)
    return honest * factor + 0.7, label, np.arange(count).astype(str)


def test_a_planted_scale_and_shift_are_found():
    logit, label, _ = overconfident(100_000)
    fitted = fit_calibration(logit, label)
    assert fitted.scale == pytest.approx(1 / 2.5, abs=0.01)
    assert fitted.shift == pytest.approx(-0.7 / 2.5, abs=0.02)


def test_calibration_lowers_the_balanced_loss_of_new_rows():
    logit, label, _ = overconfident(2000)
    fitted = fit_calibration(logit, label)
    fresh, truth, _ = overconfident(20_000, seed=1)
    before, after = (log_loss_balanced(truth, sigmoid(v)) for v in (fresh, fitted.apply(fresh)))
    assert after < before - 0.05


def test_cross_fitting_never_uses_a_rows_own_group():
    """The label of a group is changed: the calibrated logits of that group stay, those of others move."""
    logit, label, _ = overconfident(500)
    group = (np.arange(500) // 5).astype(str)
    before = cross_fit(logit, label, group)
    mine = group == "7"
    after = cross_fit(logit, np.where(mine, 1 - label, label), group)
    np.testing.assert_array_equal(before[mine], after[mine])
    assert (before[~mine] != after[~mine]).any()


def test_rows_that_separate_perfectly_keep_a_finite_scale():
    fitted = fit_calibration(np.array([-1.0, -1.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0, 1.0]))
    assert 1 < fitted.scale < 20


def test_one_class_cannot_be_calibrated():
    with pytest.raises(ValueError, match="real and fake rows"):
        fit_calibration(np.array([1.0, 2.0]), np.ones(2))
