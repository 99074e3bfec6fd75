import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ensemble.metrics import sigmoid
from ensemble.rules import FRAME_RULES, PEOPLE_RULES, bind

RNG = np.random.default_rng(0)
EVERY = [(name, value) for name, rule in FRAME_RULES.items() for value in (rule.values or (None,))]


def block(*logits):
    return np.array(logits, dtype=np.float64)[None, :, None]


def logit(prob):
    return float(np.log(prob / (1 - prob)))


@pytest.mark.parametrize(("name", "parameter"), EVERY)
def test_faces_that_agree_are_believed(name, parameter):
    rule = bind(FRAME_RULES, name, parameter)
    assert rule(np.full((3, 7, 2), 1.3)) == pytest.approx(np.full((3, 2), 1.3))
    assert rule(block(-2.0)) == pytest.approx(-2.0)


@pytest.mark.parametrize(("name", "parameter"), EVERY)
@given(values=hnp.arrays(np.float64, (2, 5, 1), elements=st.floats(-500, 500)))
def test_rules_stay_between_the_faces_and_rise_with_them(name, parameter, values):
    rule = bind(FRAME_RULES, name, parameter)
    with np.errstate(all="raise", under="ignore"):
        out = rule(values)
    bounded = np.clip(values, -30, 30) if name == "power_mean" else values
    assert (out >= bounded.min(axis=1) - 1e-6).all()
    assert (out <= bounded.max(axis=1) + 1e-6).all()
    higher = values.copy()
    higher[:, 2] += 1
    assert (rule(higher) >= out - 1e-9).all()


def test_trimmed_mean_forgets_the_ends():
    assert bind(FRAME_RULES, "trimmed_mean", 0.25)(block(-100, 1, 2, 100)) == pytest.approx(1.5)
    # A quarter of five faces is one and a quarter: the rest of the second counts for three quarters.
    expected = (0.75 * 1 + 2 + 0.75 * 6) / 2.5
    assert bind(FRAME_RULES, "trimmed_mean", 0.25)(block(-9, 1, 2, 6, 9)) == pytest.approx(expected)


def test_top_share_is_the_mean_of_the_highest():
    assert bind(FRAME_RULES, "top_share", 0.5)(block(-9, 3, -9, 1)) == pytest.approx(2.0)
    assert bind(FRAME_RULES, "top_share", 0.1)(block(-9, 3, -9, 1)) == pytest.approx(3.0)


def test_top_share_has_no_cliff():
    """The winner's rule jumps from 0.39 to 0.95 with the thirteenth confident face of 32; here each adds the like."""
    confident, other = logit(0.95), logit(0.05)
    rule = bind(FRAME_RULES, "top_share", 0.4)
    out = [float(rule(block(*[confident] * n, *[other] * (32 - n)))[0, 0]) for n in range(9, 15)]
    assert max(np.diff(out)) < 1.01 * (confident - other) / (0.4 * 32)


def test_power_mean_from_mean_to_maximum():
    faces = block(logit(0.2), logit(0.8))
    assert float(sigmoid(bind(FRAME_RULES, "power_mean", 1.0)(faces))[0, 0]) == pytest.approx(0.5)
    assert float(sigmoid(bind(FRAME_RULES, "power_mean", 200.0)(faces))[0, 0]) == pytest.approx(0.8, abs=0.01)


def test_people():
    people, frames = block(logit(0.2), logit(0.5)), np.array([[30.0, 10.0]])
    assert float(sigmoid(PEOPLE_RULES["most_fake"].function(people, frames))[0, 0]) == pytest.approx(0.5)
    assert float(sigmoid(PEOPLE_RULES["noisy_or"].function(people, frames))[0, 0]) == pytest.approx(1 - 0.8 * 0.5)
    assert PEOPLE_RULES["by_length"].function(people, frames) == pytest.approx(0.75 * logit(0.2))


@pytest.mark.parametrize("name", PEOPLE_RULES)
def test_one_person_is_the_video(name):
    value = RNG.normal(0, 3, (4, 1, 2))
    assert PEOPLE_RULES[name].function(value, np.full((4, 1), 5.0)) == pytest.approx(value[:, 0])


@pytest.mark.parametrize(
    ("name", "parameter", "says"),
    [
        ("median", None, "no rule 'median'"),
        ("mean", 0.3, "no parameter"),
        ("top_share", None, "has share"),
        ("top_share", 1.2, "cannot take"),
        ("trimmed_mean", 0.5, "cannot take"),
        ("power_mean", 0.0, "cannot take"),
    ],
)
def test_a_wrong_rule_is_named(name, parameter, says):
    with pytest.raises(ValueError, match=says):
        bind(FRAME_RULES, name, parameter)
