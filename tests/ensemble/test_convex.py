import dataclasses

import numpy as np
import pytest

from ensemble.convex import Mix, best_mix, best_weights, mix_logit, objective, optimum, penalty
from ensemble.metrics import class_weights, log_loss_balanced, sigmoid
from ensemble.truth import Truth
from tests.ensemble.tables import noisy, planted


@pytest.mark.parametrize("members", [2, 4, 7])
def test_a_planted_optimum_is_found(members):
    faces, weights = planted(members, seed=members)
    found = optimum(faces.logit, faces.known(), 0.0)
    assert np.abs(found.weights - weights).max() < 1e-6
    assert (found.temperature, found.shift) == (pytest.approx(1, abs=1e-5), pytest.approx(0, abs=1e-5))
    alone = best_weights(faces.logit, faces.known(), "logit", 0.0, Mix.equal(members))
    assert np.abs(alone.weights - weights).max() < 1e-6


@pytest.mark.parametrize("space", ["logit", "probability"])
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_no_neighbour_is_better(space, ridge):
    faces = noisy(400, (0.5, 1.0, 2.0, 3.0))
    truth, at = faces.known(), Mix(np.full(4, 0.25), 0.7, 0.2)
    best = best_weights(faces.logit, truth, space, ridge, at)
    least = objective(faces.logit, truth, best, space, ridge)
    rng = np.random.default_rng(0)
    for _ in range(200):
        step = np.clip(best.weights + rng.normal(0, 0.05, 4), 0, None)
        other = Mix(step / step.sum(), 0.7, 0.2)
        assert objective(faces.logit, truth, other, space, ridge) >= least - 1e-12


def test_a_useless_member_gets_nothing():
    rng = np.random.default_rng(0)
    faces = noisy(4000, (1.0, 1.0, 1.0))
    values = np.column_stack([faces.logit, rng.normal(0, 2, 4000)])
    assert optimum(values, faces.known(), 0.0).weights[3] < 0.02


def test_strong_shrinkage_is_equal_weights():
    faces = noisy(400, (0.3, 1.0, 3.0))
    assert optimum(faces.logit, faces.known(), 1e4).weights == pytest.approx(np.full(3, 1 / 3), abs=1e-4)


def test_members_that_know_nothing_are_not_believed():
    rng = np.random.default_rng(0)
    label = np.arange(200) % 2
    found = optimum(rng.normal(0, 3, (200, 5)) * 0 + rng.choice([-1.0, 1.0], (200, 1)), Truth.of(label), 0.0)
    assert found.temperature > 2
    assert found.weights.sum() == pytest.approx(1)


def test_objective_is_the_balanced_log_loss_and_the_penalty():
    faces = noisy(300, (1.0, 2.0))
    truth, mix = faces.known(), Mix(np.array([0.7, 0.3]), 0.8, 0.1)
    prob = sigmoid(mix_logit(faces.logit, mix, "logit"))
    pull = 0.5 / 75 * ((1 / 0.8 - 1) ** 2 + 0.1**2)  # 75 groups
    assert objective(faces.logit, truth, mix, "logit", 0.0) == pytest.approx(
        log_loss_balanced(truth.label, prob) + pull
    )
    assert penalty(mix, 0.5) == pytest.approx(0.5 * 2 * (0.2 / 0.8) ** 2)
    assert penalty(Mix.equal(2), 0.5) == 0


def test_the_two_spaces():
    values = np.array([[-1.0, 3.0]])
    mix = Mix(np.array([0.5, 0.5]), 2.0, 0.5)
    assert mix_logit(values, mix, "logit") == pytest.approx([(0.0 + 2.0) / 2])
    assert sigmoid(mix_logit(values, mix, "probability")) == pytest.approx([(0.5 + sigmoid(np.array(2.0))) / 2])


@pytest.mark.parametrize("space", ["logit", "probability"])
def test_temperature_and_shift_are_solved_too(space):
    faces = noisy(600, (0.8, 1.0, 1.5))
    truth = faces.known()
    best = best_mix(faces.logit, truth, space, 0.01)
    least = objective(faces.logit, truth, best, space, 0.01)
    for factor, step in ((0.97, 0.0), (1.03, 0.0), (1.0, 0.03), (1.0, -0.03)):
        other = Mix(best.weights, best.temperature * factor, best.shift + step)
        assert objective(faces.logit, truth, other, space, 0.01) > least
    assert best_weights(faces.logit, truth, space, 0.01, best).weights == pytest.approx(best.weights, abs=1e-4)


@pytest.mark.parametrize("space", ["logit", "probability"])
def test_extreme_logits_give_finite_losses(space):
    values = np.array([[900.0, 900.0], [-900.0, 900.0], [-900.0, -900.0]])
    assert np.isfinite(objective(values, Truth.of(np.array([0.0, 1.0, 1.0])), Mix.equal(2), space, 0.1))


def test_classes_weigh_half_each():
    assert class_weights(np.array([1.0, 1, 1, 0])).tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    with pytest.raises(ValueError, match="one class"):
        class_weights(np.ones(3))


def test_few_videos_do_not_make_a_blend_sure():
    """Members that are calibrated, 30 videos: what the penalty saves on fresh videos, over 40 tables."""
    rng, losses = np.random.default_rng(0), {"with": [], "without": []}

    def table(videos):
        label = np.arange(videos) % 2.0
        return 2 * (2 * label - 1)[:, None] + rng.normal(0, 2, (videos, 1)), Truth.of(label)

    fresh, truth = table(20_000)
    for _ in range(40):
        values, known = table(30)
        free = dataclasses.replace(known, group=known.group)
        free.__dict__["groups"] = 10**9  # a penalty that is nothing
        for name, few in (("with", known), ("without", free)):
            losses[name].append(truth.loss(sigmoid(mix_logit(fresh, optimum(values, few, 0.0), "logit"))))
    assert np.mean(losses["with"]) < np.mean(losses["without"]) - 0.005
    assert max(losses["with"]) < max(losses["without"])
