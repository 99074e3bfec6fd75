"""Tables with a known answer through the whole of tuning."""

import dataclasses

import numpy as np
import pytest

from ensemble.decide import _after_clip, choose, tune_blend
from ensemble.metrics import Estimate, log_loss_balanced, sigmoid
from ensemble.select import Cost, Limits
from ensemble.tune import StudyOptions
from ensemble.validate import EQUAL, EQUAL_BY_WIDTH, PLAIN, SINGLE, TUNED, TUNED_BY_WIDTH, Losses, Nested
from tests.ensemble.tables import faces_of, noisy

OPTIONS = StudyOptions(trials=80)


@pytest.fixture(scope="module")
def unlike():
    """Members of very different worth, the last of none."""
    rng = np.random.default_rng(1)
    faces = noisy(1500, (0.5, 1.0, 3.0))
    return faces_of(
        np.column_stack([faces.logit, rng.normal(0, 2, 1500)]), faces.known().label, group=faces.known().group
    )


@pytest.fixture(scope="module")
def outcome(unlike):
    costs = {name: Cost(100, 0.01 * (i + 1)) for i, name in enumerate(unlike.members)}
    return tune_blend(unlike, OPTIONS, Limits(), costs, {"m0": "f" * 64})


@pytest.mark.slow
def test_members_that_are_equal_get_equal_weights():
    found = tune_blend(noisy(800, (1.0, 1.0, 1.0, 1.0)), OPTIONS)
    assert found.blend.mix.weights == pytest.approx([0.25] * 4, abs=0.02)


@pytest.mark.slow
def test_a_useless_member_gets_next_to_nothing(outcome):
    assert outcome.chosen == TUNED
    assert outcome.blend.mix.weights[3] < 0.02
    assert np.argmax(outcome.blend.mix.weights) == 0
    assert outcome.losses.difference[TUNED, EQUAL].high < 0


def test_the_lowest_loss_ships_unless_it_is_worse_on_the_worst_source():
    def losses(by_source):
        values = {TUNED: 0.30, EQUAL: 0.31, PLAIN: 0.32}
        of = {name: Estimate(value, value - 0.1, value + 0.1) for name, value in values.items()}
        return Losses(of, {(TUNED, EQUAL): Estimate(-0.01, -0.03, 0.01)}, by_source)

    assert choose(losses({}), "lowest")[0] == TUNED, "the score is the loss, not its significance"
    assert choose(losses({}), "cautious")[0] == EQUAL
    better = {"a": {TUNED: 0.2, EQUAL: 0.2, PLAIN: 0.2}, "b": {TUNED: 0.4, EQUAL: 0.42, PLAIN: 0.44}}
    assert choose(losses(better), "lowest")[0] == TUNED
    worse = {"a": {TUNED: 0.1, EQUAL: 0.2, PLAIN: 0.2}, "b": {TUNED: 0.5, EQUAL: 0.42, PLAIN: 0.44}}
    assert choose(losses(worse), "lowest")[0] == EQUAL


def test_no_calibration_is_a_candidate_like_any_other():
    values = {TUNED: 0.33, EQUAL: 0.31, PLAIN: 0.30}
    of = {name: Estimate(value, value - 0.1, value + 0.1) for name, value in values.items()}
    chosen, why = choose(Losses(of, {(TUNED, EQUAL): Estimate(0.02, 0.01, 0.03)}), "lowest")
    assert chosen == PLAIN
    assert "without a calibration" in why


def test_a_blend_that_is_worse_than_a_coin_is_refused():
    of = {name: Estimate(0.70, 0.6, 0.8) for name in (TUNED, EQUAL, PLAIN)}
    losses = Losses(of, {(TUNED, EQUAL): Estimate(0.0, -0.1, 0.1)})
    with pytest.raises(ValueError, match=r"no blend of these members is better than saying 0\.5.*0\.6931.*--force"):
        choose(losses, "lowest")
    assert choose(losses, "tuned")[0] == TUNED


@pytest.mark.slow
def test_force_ships_what_is_no_better():
    found = tune_blend(noisy(400, (1.0, 1.0)), OPTIONS, rule="tuned")
    assert found.chosen == TUNED
    assert found.why.startswith("--force")


@pytest.mark.slow
def test_a_parameter_at_its_bound_is_named():
    """Members that are hundred times too loud, or all moved by ten logits: something is wrong with the table."""
    faces = noisy(400, (0.5, 0.7))
    few = dataclasses.replace(OPTIONS, trials=10)
    loud, moved = (dataclasses.replace(faces, logit=logit) for logit in (faces.logit * 100, faces.logit + 10))
    for table, says in ((loud, "the temperature 10 of "), (moved, "the shift -4 of ")):
        notes = [note for note in tune_blend(table, few, rule="tuned").notes if "lies at its bound" in note]
        assert any(note.startswith(says) for note in notes), notes
    assert not any("at its bound" in note for note in tune_blend(faces, few).notes)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_file():
    faces, few = noisy(200, (0.5, 1.0, 3.0)), dataclasses.replace(OPTIONS, trials=10)
    assert tune_blend(faces, few).blend.to_json() == tune_blend(faces, few).blend.to_json()


@pytest.mark.slow
def test_limits_leave_members_out_and_say_so(unlike):
    costs = {name: Cost(100, 0.01) for name in unlike.members}
    found = tune_blend(unlike, dataclasses.replace(OPTIONS, trials=20), Limits(bytes=250), costs)
    assert set(found.blend.members) == {"m0", "m1"}
    assert any("left out by the limits: m2, m3" in note for note in found.notes)


def test_what_blend_json_says(outcome):
    facts = outcome.blend.facts
    assert facts.expected_log_loss.low < facts.expected_log_loss.value < facts.expected_log_loss.high
    assert set(facts.compared) == {TUNED, EQUAL, SINGLE, PLAIN}
    assert facts.tuned_on.table_sha256 == "0" * 64
    assert outcome.blend.sha256 == {"m0": "f" * 64}
    assert [len(fallback.members) for fallback in outcome.blend.fallbacks] == [3, 2, 1]
    assert outcome.blend.fallbacks[0].members == ("m0", "m1", "m2")  # who is worth nothing goes first
    assert outcome.blend.fallbacks[-1].members == ("m0",)


@pytest.mark.slow
def test_progress_counts_every_trial():
    counts, stages = [], []
    tune_blend(
        noisy(300, (0.5, 1.0, 3.0)),
        dataclasses.replace(OPTIONS, trials=10),
        progress=counts.append,
        stage=stages.append,
    )
    assert sum(counts) == 60
    assert stages[0] == "tuning without each fold"


def test_worth(outcome, unlike):
    contributions = outcome.contributions
    assert contributions.singles["m0"].auc > contributions.singles["m2"].auc > 0.5
    assert contributions.singles["m3"].missed.low < 0.001 < contributions.singles["m0"].missed.low
    assert contributions.correlation[0, 1] > 0.5 > contributions.correlation[0, 3]
    assert contributions.after.error < contributions.before.error
    assert sum(contributions.after.size) == 1500
    first = contributions.disagreements[0]
    assert max(first.of.values()) - min(first.of.values()) > 0.5
    assert first.filename in unlike.filename
    assert contributions.slices == ()


@pytest.mark.slow
def test_degradations_are_told_apart():
    clean = noisy(400, (0.5, 0.7))
    kind = np.where(np.arange(400) // 4 % 2 == 0, "clean", "blurred")
    logit = np.where((kind == "blurred")[:, None], clean.logit * 0.1, clean.logit)
    truth = clean.known()
    found = tune_blend(faces_of(logit, truth.label, group=truth.group, degradation=kind), OPTIONS)
    slices = {part.name: part for part in found.contributions.slices}
    assert slices["blurred"].log_loss > slices["clean"].log_loss
    assert slices["clean"].videos == slices["blurred"].videos == 200
    wrong = slices["clean"].missed + slices["clean"].accused
    assert wrong == pytest.approx((1 - slices["clean"].accuracy) * 200)


@pytest.mark.slow
def test_one_member_is_calibrated_and_clipped():
    found = tune_blend(noisy(300, (1.0,)), dataclasses.replace(OPTIONS, trials=20))
    assert found.blend.members == ("m0",)
    assert found.blend.fallbacks == ()
    assert found.contributions.singles["m0"].missed is None


@pytest.mark.parametrize(("high", "ships"), [(-0.001, TUNED), (0.001, EQUAL)])
def test_the_cautious_rule_wants_a_gain_that_is_clear_of_its_interval(high, ships):
    losses = Losses({}, {(TUNED, EQUAL): Estimate(-0.01, -0.02, high)})
    assert choose(losses, "cautious")[0] == ships
    assert choose(losses, "tuned")[0] == TUNED


def test_the_clip_of_a_fold_has_not_seen_it():
    """One fold with sure errors: it must pay for them, as the others would not have warned of it."""
    faces, rng = noisy(400, (1.0,)), np.random.default_rng(0)
    truth, fold = faces.known(), np.repeat(np.arange(5), 80)
    logit = np.where(truth.label > 0.5, 3.0, -3.0) + rng.normal(0, 0.5, 400)
    logit[np.flatnonzero((fold == 0) & (truth.label < 0.5))[:4]] = 9.0
    clip, losses = _after_clip(faces, Nested(fold, dict.fromkeys((TUNED, EQUAL, SINGLE, PLAIN), logit), ()))
    own = log_loss_balanced(truth.label, np.clip(sigmoid(logit), *clip[EQUAL]))
    assert losses.of[EQUAL].value > own + 0.005


def by_width(videos, seed, dependent):
    """Equal members that are right of wide faces, and three times too bold of narrow ones."""
    rng = np.random.default_rng(seed)
    label = np.arange(videos) % 2.0
    width = 2 ** rng.uniform(np.log2(20), np.log2(300), videos)
    trust = np.interp(np.log2(width), np.log2([30, 120]), [1 / 3, 1.0])[:, None] ** (0.5 * dependent)
    logit = (1.5 * (2 * label - 1)[:, None] * trust + rng.normal(0, 2, (videos, 2))) / trust
    faces = faces_of(logit, label, group=np.array([f"g{i // 8}" for i in range(videos)], dtype=object))
    return dataclasses.replace(faces, face_pixels=width)


@pytest.mark.slow
def test_a_calibration_by_face_width_ships_where_it_has_the_lowest_loss():
    found = tune_blend(by_width(800, 0, dependent=True), StudyOptions(trials=10))
    assert found.chosen in (TUNED_BY_WIDTH, EQUAL_BY_WIDTH)
    assert found.losses.difference[TUNED_BY_WIDTH, TUNED].high < 0
    assert "follows the width of the faces" in found.why
    width = found.blend.mix.width
    assert width.scale[0] < width.scale[-1] - 0.3
    assert all(fallback.mix.width is not None for fallback in found.blend.fallbacks)
    fresh = by_width(4000, 1, dependent=True)
    said = found.blend.predict_all(fresh.logit, fresh.layout, fresh.face_pixels)
    without = found.blend.predict_all(fresh.logit, fresh.layout)
    assert fresh.known().loss(said) < fresh.known().loss(without) - 0.005


def test_without_widths_no_blend_follows_them(outcome):
    assert set(outcome.losses.of) == {TUNED, EQUAL, SINGLE, PLAIN}
    assert outcome.blend.mix.width is None


def test_the_common_calibration_ships_unless_another_has_a_lower_loss():
    def losses(by_width):
        values = {TUNED: 0.30, EQUAL: 0.31, PLAIN: 0.32, TUNED_BY_WIDTH: by_width, EQUAL_BY_WIDTH: 0.33}
        of = {name: Estimate(value, value - 0.1, value + 0.1) for name, value in values.items()}
        return Losses(of, {(TUNED, EQUAL): Estimate(-0.01, -0.03, 0.01)})

    assert choose(losses(0.30), "lowest")[0] == TUNED
    assert choose(losses(0.29), "lowest")[0] == TUNED_BY_WIDTH
    assert choose(losses(0.29), "tuned")[0] == TUNED
