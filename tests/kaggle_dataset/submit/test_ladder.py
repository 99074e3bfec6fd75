"""The guard against tuning on the public score."""

from dataclasses import replace

import numpy as np
import pytest

from kaggle_dataset.submit.ladder import advice, step
from tests.kaggle_dataset.submit.test_ledger import ENTRY

BEFORE = replace(ENTRY, status="complete", public_score=0.43)
NOW = replace(BEFORE, message="now", date="2026-11-24T05:51:16+00:00")


def test_a_lower_score_within_the_noise_is_not_called_better():
    said = advice(replace(NOW, public_score=0.425), [BEFORE, NOW])
    assert "inside the expected interval [0.3996, 0.4501]" in said
    assert "does not beat the best of 1 earlier ones, 0.4300, by more than chance gives (0.0129)" in said
    assert "the lowest of 2 public scores is low by luck" in said


def test_a_score_that_is_lower_by_more_than_the_step_is():
    assert "it beats the best of 1 earlier ones" in advice(replace(NOW, public_score=0.41), [BEFORE, NOW])


@pytest.mark.parametrize(("score", "side"), [(0.30, "below"), (0.69, "above")])
def test_a_score_outside_the_interval_speaks_of_other_videos(score, side):
    said = advice(replace(NOW, public_score=score), [])
    assert said.startswith(
        f"the public score lies {side} the expected interval [0.3996, 0.4501]: the hidden videos are"
    )


def test_later_ones_other_competitions_and_those_without_a_score_do_not_count():
    others = [replace(BEFORE, competition="other"), replace(NOW, message="later", date="2026-11-25T05:51:16+00:00")]
    assert "earlier" not in advice(NOW, [*others, replace(BEFORE, public_score=None), NOW])
    assert advice(replace(NOW, public_score=None), [BEFORE]) == ""


def test_without_an_interval_only_the_scores_are_compared():
    bare = replace(NOW, expected_low=None, expected_high=None)
    assert step(bare) == 0
    assert advice(bare, [BEFORE]).startswith("it does not beat the best of 1 earlier ones")


def test_of_many_equal_blends_few_are_called_better():
    """Thirty blends of one quality: the lowest public score is far below, and the guard calls hardly any better."""
    rng = np.random.default_rng(0)
    error = step(BEFORE)
    called = lucky = 0
    for _ in range(50):
        entries, best = [], np.inf
        for number, score in enumerate(0.43 + rng.normal(0, error / 2, 30)):  # blends share most of their errors
            entry = replace(BEFORE, message=f"{number}", date=f"2026-11-24T05:51:{number:02}+00:00", public_score=score)
            called += "it beats" in advice(entry, entries)
            lucky += number > 0 and score < best
            best = min(best, score)
            entries.append(entry)
    assert lucky > 2 * 50  # times a public score was the lowest so far
    assert called < lucky / 4
