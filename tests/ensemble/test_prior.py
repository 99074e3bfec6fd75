import numpy as np
import pytest

from ensemble.metrics import log_loss, sigmoid
from ensemble.prior import Prior, estimate_prior, read_prior, with_prior


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


@pytest.mark.parametrize(("share", "low", "high"), [(0.2, 0.15, 0.23), (0.5, 0.46, 0.54), (0.84, 0.80, 0.88)])
def test_a_folder_that_is_not_half_and_half(share, low, high):
    """Over twenty folders of 500 videos: the mean of the estimates, how often intervals hold, what following saves."""
    found = []
    for seed in range(20):
        label, prob = videos(share, 500, seed)
        prior = Prior.of("em", prob)
        moved = log_loss(label, with_prior(prob, prior.share))
        held = prior.low <= share <= prior.high
        found.append((prior.estimate, held, log_loss(label, prob) - moved))
    mean, coverage, saved = np.mean(found, axis=0)
    assert low < mean < high
    assert coverage >= 0.85
    assert saved > 0.04 if share != 0.5 else saved > -0.002


def test_few_videos_tell_little_and_the_interval_says_so():
    few, many = (Prior.of("em", videos(0.2, count, 1)[1]) for count in (5, 2000))
    assert few.high - few.low > 0.3
    assert many.high - many.low < 0.06
    assert few.share == 0.5, "so little that half stays"
    assert "of these videos does not differ clearly from half" in few.sentence()
    assert many.share == many.estimate
    nothing = Prior.of("em", np.full(10, 0.5))
    assert (nothing.low, nothing.high) == pytest.approx((0.001, 0.999)), "members that know nothing tell nothing"
    real = Prior.of("em", np.full(6, 0.05))
    assert (real.low, real.share) == pytest.approx((0.001, 0.001))
    assert 0.2 < real.high < 0.5, "six sure videos do not make it certain"


def test_what_a_user_may_ask_for():
    assert read_prior(None) is None
    assert read_prior("em") == "em"
    assert read_prior("0.2") == 0.2
    assert Prior.of(None, np.array([])).sentence() == ""
    assert Prior.of(0.2, np.array([])).sentence() == "probabilities assume a share of fakes of 0.200, as given"
    assert "[0." in Prior.of("em", videos(0.2)[1]).sentence()
    assert Prior.of(0.5, np.array([])) == Prior()
    assert Prior.of(0.2, np.array([])).to_dict() == {"share": 0.2, "how": "given"}
    with pytest.raises(ValueError, match="--prior is 'lots'; give a share of fakes between 0 and 1, or em"):
        read_prior("lots")
    for text in ("0", "1", "20", "-1", "nan"):
        with pytest.raises(ValueError, match=f"--prior is {text}; a share of fakes lies between 0 and 1"):
            read_prior(text)


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
