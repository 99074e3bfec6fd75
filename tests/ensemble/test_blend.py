import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.errors import DfdcError
from ensemble.aggregate import Aggregation
from ensemble.blend import ANY_FILE, FILE, Blend, FallbackEnsemble
from ensemble.convex import Mix
from ensemble.facts import ExpectedLoss, Facts
from ensemble.metrics import sigmoid
from ensemble.prior import with_prior
from ensemble.width import WidthCalibration
from tests.ensemble.tables import noisy

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "weights" / "blend.json"
BLEND = Blend(
    ("a", "b"),
    Mix(np.array([0.75, 0.25]), 0.8, 0.1),
    aggregation=Aggregation("top_share", 0.4, "noisy_or"),
    clip=(0.02, 0.97),
    frames=16,
    sha256={"a": "1" * 64},
    fallbacks=(FallbackEnsemble(("b",), Mix(np.array([1.0]), 1.1, 0.0), 0.4),),
    facts=Facts(chosen="tuned", expected_log_loss=ExpectedLoss(0.3)),
)

WIDTH = WidthCalibration((20.0, 100.0), (0.5, 1.5), (-0.2, 0.1))
BY_WIDTH = replace(
    BLEND,
    mix=replace(BLEND.mix, width=WIDTH),
    fallbacks=(FallbackEnsemble(("b",), replace(BLEND.fallbacks[0].mix, width=WIDTH), 0.4),),
)


def write(path, **changes):
    values = json.loads(BLEND.to_json())
    path.write_text(json.dumps({k: v for k, v in {**values, **changes}.items() if v is not None}))
    return path


def test_written_and_read_it_is_the_same(tmp_path):
    BLEND.write(tmp_path / "blend.json")
    again = Blend.read(tmp_path / "blend.json")
    assert again.to_json() == BLEND.to_json()
    assert (again.aggregation, again.clip, again.frames, again.facts) == (
        BLEND.aggregation,
        BLEND.clip,
        16,
        BLEND.facts,
    )
    assert again.fallbacks[0].members == ("b",)


@pytest.mark.parametrize("name", [FILE, ANY_FILE])
def test_the_shipped_files_are_written_as_they_were_read(name):
    path = SHIPPED.with_name(name)
    assert Blend.read(path).to_json() == path.read_text(encoding="utf-8")


def test_a_file_that_says_nothing_of_its_tuning_and_keys_of_another_version(tmp_path):
    path = write(tmp_path / "blend.json", chosen=None, expected_log_loss=None, later={"a": [1]})
    blend = Blend.read(path)
    assert (blend.facts.chosen, blend.expected_log_loss) == (None, None)
    assert json.loads(blend.to_json())["later"] == {"a": [1]}


def test_a_blend_that_follows_the_width_of_the_faces_is_kept_with_its_fallbacks(tmp_path):
    BY_WIDTH.write(tmp_path / "blend.json")
    again = Blend.read(tmp_path / "blend.json")
    assert again.to_json() == BY_WIDTH.to_json()
    assert again.mix.width == WIDTH
    assert again.fallback(1).mix.width == WIDTH
    assert again.needed().mix.width == WIDTH
    assert "face_pixels" not in BLEND.to_json(), "what needs no width is written as before"


def test_a_reader_that_does_not_know_what_a_blend_needs_refuses_it(tmp_path):
    """Older readers keep keys that they do not know, and would predict without the widths: they know no such space."""
    values = json.loads(BY_WIDTH.to_json())
    assert values["space"] not in ("logit", "probability")
    for changes in ({"space": "logit"}, {"face_pixels": None}, {"space": "logit by bit rate"}):
        path = tmp_path / "blend.json"
        path.write_text(json.dumps({k: v for k, v in {**values, **changes}.items() if v is not None}))
        with pytest.raises(DfdcError, match="space is 'logit"):
            Blend.read(path)


def test_the_width_of_the_faces_moves_the_video_its_people_and_its_faces():
    logits, person = {"a": np.array([1.0, 1.0]), "b": np.array([1.0, 1.0])}, np.array([0, 0])
    narrow, wide, unknown = (BY_WIDTH.predict(logits, person, width) for width in (10.0, 500.0, np.nan))
    assert narrow.prob_fake < unknown.prob_fake < wide.prob_fake
    assert unknown.prob_fake == BLEND.predict(logits, person, 10.0).prob_fake, "as if there were no widths"
    for verdict in (narrow, wide):
        assert verdict.prob_fake == pytest.approx(verdict.people[0][2]) == pytest.approx(verdict.faces[0])
    several = BY_WIDTH.prob_fake(np.ones((3, 2)), np.array([10.0, 500.0, np.nan]))
    assert several.tolist() == [narrow.prob_fake, wide.prob_fake, unknown.prob_fake]


def test_equal_weights_are_the_mean_of_logits():
    verdict = Blend.equal(["a", "b"]).predict({"a": np.array([1.0, 3.0]), "b": np.array([0.0, 0.0])}, np.array([0, 0]))
    assert verdict.prob_fake == pytest.approx(float(sigmoid(np.array(1.0))))


def test_a_video_is_as_fake_as_the_person_most_fake():
    rng = np.random.default_rng(0)
    for _ in range(50):
        logits = {name: rng.normal(0, 2, 12) for name in "abc"}
        verdict = Blend.equal(["a", "b", "c"]).predict(logits, np.arange(12) % 4)
        assert verdict.prob_fake == pytest.approx(max(prob for _, _, prob in verdict.people))


def test_people_are_listed_the_most_seen_first_and_faces_keep_their_order():
    logit = np.array([2.0, -3.0, 2.0, -3.0, -1.0])
    verdict = Blend.equal(["a"]).predict({"a": logit}, np.array([1, 0, 1, 0, 0]))
    assert [(who, seen) for who, seen, _ in verdict.people] == [(0, 3), (1, 2)]
    assert verdict.prob_fake == pytest.approx(float(sigmoid(np.array(2.0))))
    assert verdict.faces == pytest.approx(sigmoid(logit))


def test_one_video_is_predicted_as_a_table_of_them():
    faces = noisy(20, (1.0, 2.0), per_video=5)
    together = BLEND.predict_all(faces.logit, faces.layout)
    for v in range(20):
        mine = faces.logit[5 * v : 5 * v + 5]
        alone = BLEND.predict({"a": mine[:, 0], "b": mine[:, 1]}, np.zeros(5, dtype=int))
        assert alone.prob_fake == pytest.approx(together[v])


def test_probabilities_stay_inside_the_clip():
    assert BLEND.prob_fake(np.array([[-50.0, -50.0], [50.0, 50.0]])).tolist() == [0.02, 0.97]


def test_another_share_of_fakes_moves_the_odds_before_the_clip():
    moved = replace(BLEND, prior=0.84)
    values = np.array([[-1.0, 0.5], [1.0, 2.0], [5.0, 5.0]])
    free = BLEND.free(values)
    assert moved.free(values) == pytest.approx(with_prior(free, 0.84))
    assert moved.prob_fake(values) == pytest.approx(np.clip(with_prior(free, 0.84), 0.02, 0.97))
    # Moved after the clip, this one would end at 0.1.
    low = np.array([[-8.0, -8.0]])
    assert moved.prob_fake(low)[0] == 0.02
    assert with_prior(BLEND.prob_fake(low), 0.84)[0] > 0.09
    by_width = replace(BY_WIDTH, prior=0.84)
    pixels = np.full(3, 50.0)
    assert by_width.free(values, pixels) == pytest.approx(with_prior(BY_WIDTH.free(values, pixels), 0.84))
    in_probability = replace(BLEND, space="probability")
    expected = with_prior(in_probability.free(values), 0.84)
    assert replace(in_probability, prior=0.84).free(values) == pytest.approx(expected)
    assert moved.fallback(1).prior == moved.needed().prior == 0.84


def test_what_cannot_be_scored_has_the_prior_inside_the_clip():
    assert [replace(BLEND, prior=p).unseen for p in (0.001, 0.3, 0.5, 0.999)] == [0.02, 0.3, 0.5, 0.97]
    with pytest.raises(ValueError, match=r"prior is 1\.0; a share of fakes lies between 0 and 1"):
        replace(BLEND, prior=1.0)


def test_the_share_of_fakes_is_kept_in_the_file(tmp_path):
    replace(BLEND, prior=0.84).write(tmp_path / "blend.json")
    assert json.loads((tmp_path / "blend.json").read_text())["prior"]["to"] == 0.84
    assert Blend.read(tmp_path / "blend.json").prior == 0.84
    assert Blend.read(SHIPPED).prior == Blend.read(SHIPPED.with_name(ANY_FILE)).prior == 0.5


@pytest.mark.parametrize(
    ("temperature", "shift", "expects"), [(1.0, 0.0, 0.5), (0.5, 2.0, 0.2689), (2.0, -0.8292, 0.84)]
)
def test_the_file_tells_the_shift_as_the_share_that_members_expect(temperature, shift, expects):
    """A member that is right for a share p says logits that are higher by its log odds, and is divided by T after."""
    prior = json.loads(replace(BLEND, mix=Mix(np.array([0.5, 0.5]), temperature, shift)).to_json())["prior"]
    assert prior["from"] == pytest.approx(expects, abs=1e-4)
    at_the_share = np.log(expects / (1 - expects)) * np.ones((1, 2))
    assert replace(BLEND, mix=Mix(np.array([0.5, 0.5]), temperature, shift)).free(at_the_share)[0] == pytest.approx(
        0.5, abs=1e-3
    )


def test_a_member_of_weight_zero_need_not_run():
    blend = Blend(("a", "b"), Mix(np.array([0.0, 1.0])))
    assert blend.needed().members == ("b",)
    assert blend.needed().prob_fake(np.array([[1.0]])) == blend.prob_fake(np.array([[9.0, 1.0]]))


def test_a_rung_has_its_own_members_and_calibration():
    assert BLEND.fallback(0) is BLEND
    fewer = BLEND.fallback(1)
    assert (fewer.members, fewer.mix.temperature, fewer.clip) == (("b",), 1.1, BLEND.clip)
    assert fewer.aggregation == BLEND.aggregation
    with pytest.raises(ValueError, match="fallbacks 0 to 1, not 2"):
        BLEND.fallback(2)


def test_members_that_are_missing_or_others_are_refused():
    BLEND.check({"a": "1" * 64, "b": "anything", "c": ""})
    with pytest.raises(DfdcError, match="needs member 'b'; there are a"):
        BLEND.check({"a": "1" * 64})
    with pytest.raises(DfdcError, match="member 'a' has other weights"):
        BLEND.check({"a": "2" * 64, "b": ""})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"members": None}, "lacks 'members'"),
        ({"members": {"a": {"weight": 0.7}, "b": {"weight": 0.7}}}, "sum to 1.4"),
        ({"members": {"a": {"weight": 1.5}, "b": {"weight": -0.5}}}, "0 or more"),
        ({"members": ["a", "b"]}, "not a blend"),
        ({"temperature": 0}, "temperature 0"),
        ({"temperature": "hot"}, "not a blend"),
        ({"prior": {"shift": float("nan")}}, "shift nan"),
        ({"clip": [0.6, 0.9]}, "clip"),
        ({"space": "log"}, "space is 'log'"),
        ({"frames": 0}, "frames is 0"),
        ({"tuned_on": {"videos": 3}}, "not a blend: .*table_sha256"),
        ({"aggregation": {"frames": "median"}}, "no rule 'median'"),
    ],
)
def test_a_file_that_is_no_blend_is_refused(changes, says, tmp_path):
    with pytest.raises(DfdcError, match=says):
        Blend.read(write(tmp_path / "blend.json", **changes))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DfdcError, match=r"blend.json is not a blend.*dfdc tune"):
        Blend.read(tmp_path / "blend.json")
