"""A calibration that follows the width of the faces."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.metrics import sigmoid
from ensemble.truth import Truth
from ensemble.width import WidthCalibration, fit_width

MADE = WidthCalibration((20.0, 80.0, 200.0), (0.4, 0.9, 1.2), (-0.3, 0.1, 0.2))
WIDTHS = st.floats(0.5, 4000)


def planted(videos, seed=0, dependent=True):
    """Logits that are right of wide faces, and three times too bold of those of 30 pixels and less."""
    rng = np.random.default_rng(seed)
    label = np.arange(videos) % 2.0
    width = 2 ** rng.uniform(np.log2(20), np.log2(300), videos)
    side = np.interp(np.log2(width), np.log2([30, 120]), [1 / 3, 1.0]) if dependent else np.ones(videos)
    logit = (2 * (2 * label - 1) * np.sqrt(side) + rng.normal(0, 2, videos)) / np.sqrt(side)
    group = np.array([f"g{i // 2}" for i in range(videos)], dtype=object)
    return logit, dataclasses.replace(Truth.of(label, group), face_pixels=width)


def test_a_planted_dependence_is_found_and_lowers_the_loss_of_fresh_videos():
    found = fit_width(*planted(4000))
    assert 0.25 < found.scale[0] < 0.5
    assert 0.9 < found.scale[-1] < 1.3
    logit, truth = planted(20_000, seed=1)
    gain = truth.loss(sigmoid(logit)) - truth.loss(sigmoid(found.apply(logit, truth.face_pixels)))
    assert gain > 0.05


def test_where_there_is_no_dependence_next_to_nothing_changes():
    found = fit_width(*planted(4000, dependent=False))
    logit, truth = planted(20_000, seed=1, dependent=False)
    assert truth.loss(sigmoid(found.apply(logit, truth.face_pixels))) - truth.loss(sigmoid(logit)) < 0.002


@given(WIDTHS, st.floats(-20, 20))
def test_it_has_no_step(width, logit):
    here, there = MADE.apply(np.array([logit, logit]), np.array([width, width * 1.001]))
    assert abs(here - there) < 0.001 * (1 + abs(logit))


@given(WIDTHS, st.floats(-20, 20), st.floats(0.001, 20))
def test_of_two_videos_with_faces_of_one_width_the_order_stays(width, logit, more):
    lower, higher = MADE.apply(np.array([logit, logit + more]), np.array([width, width]))
    assert lower < higher


def test_beyond_the_knots_it_stays_as_it_is_there():
    assert MADE.apply(np.ones(4), np.array([1.0, 20.0, 200.0, 9000.0])).tolist() == pytest.approx([0.1, 0.1, 1.4, 1.4])


def test_a_video_whose_faces_nobody_measured_takes_the_common_calibration():
    assert MADE.apply(np.array([1.0, 1.0]), np.array([np.nan, 80.0])).tolist() == pytest.approx([1.0, 1.0])
    assert MADE.apply(np.array([2.0, 2.0]), np.array([np.nan, 80.0])).tolist() == pytest.approx([2.0, 1.9])


def test_few_groups_are_pulled_towards_the_common_calibration():
    logit, truth = planted(40)
    one = dataclasses.replace(truth, group=np.where(truth.label > 0, "a", "b").astype(object))
    far, near = (np.abs(np.subtract(fit_width(logit, t).scale, 1)).sum() for t in (truth, one))
    assert near < far


def test_the_same_videos_give_the_same_calibration_in_any_order():
    logit, truth = planted(500)
    turned = np.random.default_rng(0).permutation(500)
    first, second, other = fit_width(logit, truth), fit_width(logit, truth), fit_width(logit[turned], truth[turned])
    assert first == second
    assert other.scale == pytest.approx(first.scale, abs=1e-6)


def test_without_widths_that_differ_there_is_none():
    logit, truth = planted(100)
    for width in (None, np.full(100, np.nan), np.full(100, 80.0)):
        assert fit_width(logit, dataclasses.replace(truth, face_pixels=width)) is None


def test_videos_without_a_width_do_not_count():
    logit, truth = planted(400)
    half = np.arange(400) % 4 < 2
    blank = dataclasses.replace(truth, face_pixels=np.where(half, truth.face_pixels, np.nan))
    noise = np.where(half, logit, -5 * logit)
    assert fit_width(noise, blank) == fit_width(logit, blank)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (((20.0,), (1.0,), (0.0,)), "1 knots"),
        (((80.0, 20.0), (1.0, 1.0), (0.0, 0.0)), "not growing"),
        (((0.0, 20.0), (1.0, 1.0), (0.0, 0.0)), "not growing"),
        (((20.0, 80.0), (1.0, 0.0), (0.0, 0.0)), "above 0"),
        (((20.0, 80.0), (1.0, 1.0), (0.0, float("nan"))), "finite"),
        (((20.0, 80.0), (1.0, 1.0, 1.0), (0.0, 0.0)), "2 knots"),
    ],
)
def test_what_is_no_calibration_is_refused(values, says):
    with pytest.raises(ValueError, match=says):
        WidthCalibration(*values)
