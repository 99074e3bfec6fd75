"""Drift between held-out videos and a test set: found where it was planted, and not where it was not."""

import dataclasses

import numpy as np
import pytest

from ensemble.drift import ALL, drift, render
from tests.ensemble.tables import noisy


@pytest.fixture(scope="module")
def held_out():
    return noisy(400, (0.6, 0.9, 1.2), seed=1)


@pytest.fixture(scope="module")
def test_set():
    return dataclasses.replace(noisy(300, (0.6, 0.9, 1.2), seed=2), truth=None)


@pytest.mark.slow
def test_a_test_set_of_the_same_kind_is_alike(held_out, test_set):
    found = drift(held_out, test_set)
    assert [one.member for one in found] == ["m0", "m1", "m2", ALL]
    assert not any(one.notable for one in found)
    assert render(found)[-1] == "the test set looks to the members like the held-out videos"


@pytest.mark.parametrize("change", [pytest.param(lambda z: z + 2.5, marks=pytest.mark.slow), lambda z: z * 3])
def test_the_member_that_moved_is_named(held_out, test_set, change):
    """A shift, and a spread that leaves the middle where it was."""
    logit = test_set.logit.copy()
    logit[:, 1] = change(logit[:, 1])
    found = {one.member: one for one in drift(held_out, dataclasses.replace(test_set, logit=logit))}
    assert [name for name, one in found.items() if one.notable] == ["m1", ALL]
    assert found["m1"].auc.low > 0.6 > found["m0"].auc.value
    said = render(list(found.values()))[-1]
    assert said.startswith("m1, all members see other videos than those that the blend was tuned on: do not expect")


def test_members_of_the_test_set_decide_and_a_missing_one_is_an_error(held_out, test_set):
    assert [one.member for one in drift(held_out, test_set.of(["m2"]))] == ["m2"]
    with pytest.raises(ValueError, match=r"no member 'm1'; it has m0"):
        drift(held_out.of(["m0"]), test_set)


def test_a_handful_of_videos_is_too_few(held_out):
    few = dataclasses.replace(noisy(4, (0.6, 0.9, 1.2)), truth=None)
    with pytest.raises(ValueError, match="4 groups are too few"):
        drift(held_out, few)


@pytest.mark.slow
def test_groups_are_not_split(held_out):
    """Copies of few videos tell the sets apart by heart, unless a group stays on one side."""
    made = noisy(10, (0.6, 0.9, 1.2), seed=3)
    copies = noisy(400, (0.6, 0.9, 1.2), seed=3)
    rows = np.arange(400) % 10
    truth = dataclasses.replace(copies.truth, group=np.array([f"g{i}" for i in rows], dtype=object))
    again = dataclasses.replace(copies, logit=made.logit[rows], truth=truth)
    assert drift(again, dataclasses.replace(held_out, truth=None))[0].auc.low < 0.5
