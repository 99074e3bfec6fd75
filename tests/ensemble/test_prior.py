import numpy as np
import pytest

from ensemble.metrics import log_loss, sigmoid
from ensemble.prior import estimate_prior, with_prior


def videos(share, count=4000, seed=0):
    """Labels, and P(fake) of a calibrated blend that assumes half and half: logits N(+-2, 4) have the odds exp(x)."""
    rng = np.random.default_rng(seed)
    label = (rng.random(count) < share).astype(float)
    return label, sigmoid(2 * (2 * label - 1) + rng.normal(0, 2, count))


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.84])
def test_the_share_is_found_and_following_it_lowers_the_loss(share):
    label, prob = videos(share)
    found = estimate_prior(prob)
    assert found == pytest.approx(label.mean(), abs=0.03)
    moved = log_loss(label, with_prior(prob, found))
    assert moved <= log_loss(label, prob) + 1e-3
    if share != 0.5:
        assert moved < log_loss(label, prob) - 0.01


def test_moving_there_and_back_changes_nothing():
    _, prob = videos(0.5, 100)
    assert with_prior(with_prior(prob, 0.84), 0.5, assumed=0.84) == pytest.approx(prob)
    assert with_prior(prob, 0.5) == pytest.approx(prob)
    assert with_prior(np.array([0.5]), 0.84) == pytest.approx([0.84])


def test_certain_answers_stay_finite():
    assert estimate_prior(np.array([0.0, 0.0])) == 0.001
    assert np.isfinite(with_prior(np.array([0.0, 1.0]), 0.84)).all()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 84.0])
def test_what_is_no_share_is_refused(share):
    with pytest.raises(ValueError, match="a share of fakes lies between 0 and 1"):
        with_prior(np.array([0.5]), share)


def test_no_videos():
    with pytest.raises(ValueError, match="of no video"):
        estimate_prior(np.array([]))
