import numpy as np
import pytest

from ensemble.inputs import check, convert
from ensemble.metrics import sigmoid
from tests.ensemble.tables import faces_of, noisy

FACES = noisy(400, (0.5, 1.0))


def with_values(values):
    return faces_of(values, FACES.known().label, group=FACES.known().group)


def test_logits_of_fake_pass_and_so_does_noise():
    check(FACES)
    rng = np.random.default_rng(0)
    for _ in range(40):
        check(with_values(np.column_stack([FACES.logit[:, 0], rng.normal(0, 1, 400)])))


@pytest.mark.parametrize(
    ("as_given", "option", "says"),
    [
        (np.negative, {"invert": ["m1"]}, r"member 'm1' has an AUC of 0\.\d+.*--invert m1"),
        (sigmoid, {"probabilities": ["m1"]}, r"member 'm1' lie within 0 and 1.*--probabilities m1"),
    ],
    ids=["P(real)", "probabilities"],
)
def test_a_member_that_says_something_else_is_named_with_the_option_that_converts_it(as_given, option, says):
    given = with_values(np.column_stack([FACES.logit[:, 0], as_given(FACES.logit[:, 1])]))
    with pytest.raises(ValueError, match=says):
        check(given)
    converted = convert(given, **option)
    check(converted)
    assert converted.logit == pytest.approx(FACES.logit, abs=1e-3)


def test_all_members_may_say_real():
    turned = with_values(-FACES.logit)
    with pytest.raises(ValueError, match="member 'm0'"):
        check(turned)
    assert convert(turned, invert=["all"]).logit == pytest.approx(FACES.logit, abs=1e-6)


def test_sure_probabilities_stay_finite():
    said = with_values(np.tile([[0.0, 1.0]], (400, 1)))
    assert np.isfinite(convert(said, probabilities=["all"]).logit).all()


def test_what_is_no_probability_is_not_converted():
    with pytest.raises(ValueError, match=r"member 'm0' has values from -.*no probabilities"):
        convert(FACES, probabilities=["m0"])
    with pytest.raises(ValueError, match="no member 'm7'; they have m0, m1"):
        convert(FACES, invert=["m7"])
