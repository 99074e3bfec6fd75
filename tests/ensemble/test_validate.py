import numpy as np
import pytest

from ensemble.convex import mix_logit, optimum
from ensemble.folds import best_of, choose_ridge, cross_fitted, group_folds
from ensemble.metrics import bootstrap, log_loss_balanced, sigmoid
from ensemble.problem import Aggregates
from ensemble.truth import Truth
from ensemble.tune import StudyOptions
from ensemble.validate import (
    EQUAL,
    PLAIN,
    SINGLE,
    TUNED,
    Task,
    compare,
    effective_groups,
    equal_mix,
    fit,
    nested,
    single_mix,
)
from tests.ensemble.tables import faces_of, noisy

FACES = noisy(400, (0.5, 1.0, 2.0))
TRUTH = FACES.known()


def task(faces, **options):
    return Task({32: Aggregates(faces)}, StudyOptions(**{"trials": 60, **options}))


def test_folds_keep_groups_whole_and_hold_everything_once():
    folds = group_folds(TRUTH, 5, 0)
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(400))
    for train, held in folds:
        assert not set(TRUTH.group[train]) & set(TRUTH.group[held])
        assert 0.4 < TRUTH.label[held].mean() < 0.6


def test_too_few_groups():
    with pytest.raises(ValueError, match="5 groups of either class at least, and one class has 1"):
        group_folds(Truth.of(np.array([1.0, 1, 0])), 5, 0)


def test_cross_fitted_predictions_are_of_blends_without_the_fold():
    folds = group_folds(TRUTH, 5, 0)
    out = cross_fitted(FACES.logit, TRUTH, best_of(0.0), folds)
    train, held = folds[2]
    mix = optimum(FACES.logit[train], TRUTH[train], 0.0)
    assert out[held] == pytest.approx(mix_logit(FACES.logit[held], mix, "logit"))


def test_noise_is_shrunk_and_a_difference_is_not():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (200, 20)) + (2 * TRUTH.label[:200] - 1)[:, None] * 0.1
    assert choose_ridge(noise, TRUTH[np.arange(200)], 0) >= 1
    unlike = noisy(2000, (0.3, 3.0), shared=0.2)
    assert choose_ridge(unlike.logit, unlike.known(), 0) < 1


@pytest.mark.slow
def test_predictions_do_not_see_their_own_fold():
    """Turn the labels of one fold over: what is said of its videos must stay, what is said of others must not."""
    options = {"trials": 30}
    before = nested(task(FACES, **options))
    turned = faces_of(FACES.logit, np.where(before.fold == 2, 1 - TRUTH.label, TRUTH.label), group=TRUTH.group)
    after = nested(task(turned, **options))
    assert (after.fold == before.fold).all()
    here = before.fold == 2
    for name in (TUNED, EQUAL, SINGLE):
        assert after.logit[name][here] == pytest.approx(before.logit[name][here])
        assert np.abs(after.logit[name][~here] - before.logit[name][~here]).max() > 0.1


@pytest.mark.slow
def test_what_a_tuned_blend_is_compared_with():
    mix = equal_mix(FACES.logit, TRUTH)
    assert mix.temperature < 1  # members that agree in part only are too timid together
    assert mix.weights[0] > mix.weights[1] > mix.weights[2], "members have equal votes after each was calibrated"
    loud = FACES.logit * np.array([1, 8, 1])
    assert equal_mix(loud, TRUTH).weights * [1, 8, 1] / mix.weights == pytest.approx(np.full(3, 1.0), rel=0.7)
    said, heard = (mix_logit(x, equal_mix(x, TRUTH), "logit") for x in (FACES.logit, loud))
    assert TRUTH.loss(sigmoid(heard)) == pytest.approx(TRUTH.loss(sigmoid(said)), abs=0.003)
    assert single_mix(FACES.logit, TRUTH).weights.tolist() == [1, 0, 0]
    found = nested(task(FACES))
    assert found.logit[PLAIN] == pytest.approx(FACES.logit.mean(axis=1))


@pytest.mark.slow
def test_a_storage_keeps_the_studies_of_every_fold(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    counts = []
    few = noisy(80, (0.5, 1.0))
    first = nested(task(few, trials=4, storage=url), counts.append)
    assert sum(counts) == 20
    again = nested(task(few, trials=4, storage=url), counts.append)
    assert sum(counts) == 20, "nothing was left to do"
    assert again.logit[TUNED] == pytest.approx(first.logit[TUNED])
    with pytest.raises(ValueError, match=r"'seed': 0.*'seed': 1"):
        nested(task(few, trials=4, storage=url, seed=1))


def test_compare_is_the_bootstrap_of_the_metrics():
    prob = {"a": sigmoid(FACES.logit[:, 0]), "b": sigmoid(FACES.logit[:, 2])}
    losses = compare(TRUTH, prob, [("a", "b")])
    slow = bootstrap(TRUTH.label, prob["a"], TRUTH.group, 500)["log_loss_balanced"]
    assert losses.of["a"].value == pytest.approx(log_loss_balanced(TRUTH.label, prob["a"]))
    assert losses.of["a"].low == pytest.approx(slow.low, abs=0.01)
    assert losses.of["a"].high == pytest.approx(slow.high, abs=0.01)
    assert losses.difference["a", "b"].value == pytest.approx(losses.of["a"].value - losses.of["b"].value)


def test_intervals_know_that_one_group_of_half_of_the_videos_is_one_group():
    """Of 200 intervals of the difference, 95 % each, those of the bootstrap alone held the truth 180 times."""

    def table(sizes, seed):
        rng = np.random.default_rng(seed)
        group = np.repeat(np.arange(len(sizes)), sizes)
        label = np.arange(len(group)) % 2.0
        of_group = rng.normal(0, 2, (len(sizes), 2))[group]
        logit = (2 * label - 1)[:, None] * (1.2, 1.0) + of_group + rng.normal(0, 1, (len(group), 2))
        truth = Truth.of(label, np.array([f"g{g:05}" for g in group], dtype=object))
        return truth, {"a": sigmoid(logit[:, 0]), "b": sigmoid(logit[:, 1])}

    truth, prob = table([4] * 20_000, 0)
    true, inside = truth.loss(prob["a"]) - truth.loss(prob["b"]), 0
    for seed in range(1, 201):
        found = compare(*table([100] + [4] * 25, seed), [("a", "b")], repeats=200).difference["a", "b"]
        inside += found.low <= true <= found.high
    assert 186 <= inside <= 199


def test_as_many_groups_as_there_effectively_are():
    even, one = (np.repeat([f"g{i:02}" for i in range(len(s))], s).astype(object) for s in ([4] * 25, [100] + [4] * 25))
    assert effective_groups(Truth.of(np.arange(100) % 2, even)) == pytest.approx(25)
    assert effective_groups(Truth.of(np.arange(200) % 2, one)) == pytest.approx(1 / (0.25 + 25 * 0.02**2))


def test_differences_are_paired():
    """Two blends that are nearly one differ by much less than either is uncertain."""
    prob = {"a": sigmoid(FACES.logit[:, 0]), "b": sigmoid(FACES.logit[:, 0] * 1.05)}
    losses = compare(TRUTH, prob, [("a", "b")])
    width = losses.of["a"].high - losses.of["a"].low
    assert losses.difference["a", "b"].high - losses.difference["a", "b"].low < width / 5


@pytest.mark.slow
def test_the_estimate_holds_on_fresh_videos_of_a_trap():
    """Forty members of noise: tuned on 200 videos they look good on those, and are worth nothing."""
    rng = np.random.default_rng(3)
    label, group = np.arange(200) % 2, np.array([f"g{i // 4}" for i in range(200)])
    trap = task(faces_of(rng.normal(0, 1, (200, 40)), label, group=group), seed=3)
    mix = fit(trap, np.arange(200)).tuned.mix
    fresh, truth = rng.normal(0, 1, (20_000, 40)), np.arange(20_000) % 2
    kept = log_loss_balanced(truth, sigmoid(mix_logit(fresh, mix, "logit")))
    said = {"nested": sigmoid(nested(trap).logit[TUNED]), "naive": sigmoid(mix_logit(trap.faces.logit, mix, "logit"))}
    losses = compare(Truth.of(label, group), said, [])
    assert losses.of["nested"].low < kept < losses.of["nested"].high
    assert losses.of["naive"].high < kept
