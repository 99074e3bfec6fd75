import numpy as np
import pytest

from ensemble.aggregate import clip, judge_video, mean_logit
from ensemble.metrics import sigmoid


def test_mean_of_logits_per_person():
    verdict = judge_video(np.array([1.0, 3.0]), np.array([0, 0]))
    assert verdict.prob_fake == pytest.approx(float(sigmoid(np.array(2.0))))


def test_the_most_fake_person_decides():
    logit = np.array([-3.0, -3.0, 2.0, 2.0])
    verdict = judge_video(logit, np.array([0, 0, 1, 1]))
    assert verdict.prob_fake == pytest.approx(float(sigmoid(np.array(2.0))))
    assert [(person, seen) for person, seen, _ in verdict.people] == [(0, 2), (1, 2)]


def test_a_passer_by_is_listed_and_does_not_decide():
    verdict = judge_video(np.array([-3.0] * 10 + [5.0]), np.array([0] * 10 + [1]))
    assert verdict.prob_fake < 0.05
    assert len(verdict.people) == 2


def test_no_faces_no_verdict():
    with pytest.raises(ValueError, match="without faces"):
        judge_video(np.array([]), np.array([], dtype=np.intp))


def test_members_weigh_the_same():
    assert mean_logit({"a": np.array([0.0, 2.0]), "b": np.array([1.0, 4.0])}).tolist() == [0.5, 3.0]
    with pytest.raises(ValueError, match="no member"):
        mean_logit({})


@pytest.mark.parametrize(("value", "expected"), [(0.0, 0.01), (0.5, 0.5), (1.0, 0.99)])
def test_clip(value, expected):
    assert clip(value) == expected
