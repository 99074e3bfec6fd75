"""What is said of a video, and that it says no more than is known."""

import dataclasses

import numpy as np
import pytest

from ensemble.blend import Blend
from ensemble.facts import Facts
from ensemble.rates import Rates, Share, SourceRates
from ensemble.usual import Usual
from inference.answer import answer_again
from inference.pictures import closeups_of
from inference.result import PersonResult, ScoredFace, VideoResult
from inference.verdict import clock, legend_of, telling_faces, verdict_of

RATES = Rates(
    0.8,
    {
        "dfdc": SourceRates(Share(0.04, 0.03, 0.05, 600), Share(0.3, 0.28, 0.33, 1500)),
        "ffpp": SourceRates(Share(0.09, 0.01, 0.35, 11), Share(0.6, 0.4, 0.8, 21)),
    },
)
BLEND = dataclasses.replace(Blend.equal(["a", "b"]), facts=Facts(rates=RATES, usual=Usual(1.0, 60.0)))


def video(prob_fake, faces, looked=32, status="ok", reason=""):
    """One video; faces: person -> the P(fake) of each of its faces, a second apart."""
    made = tuple(
        ScoredFace(i, float(i), who, np.array([0, 0, 100, 120], np.float32), 0.9, "back", {"a": 0.5, "b": 0.4}, p)
        for who, values in faces.items()
        for i, p in enumerate(values)
    )
    people = tuple(PersonResult(who, len(values), float(np.mean(values))) for who, values in faces.items())
    return VideoResult("x.mp4", status, prob_fake, reason, looked=looked, faces=made, people=people)


def test_a_fake_is_named_with_who_and_when():
    found = verdict_of(video(0.93, {0: [0.1] * 32, 1: [0.2] * 4 + [0.99] * 8 + [0.7] * 16}), BLEND)
    assert found.kind == "likely fake"
    assert found.grounds == "P(fake) 0.93, the face of person 2 in 28 of 32 frames, most clearly at 0:04-0:10"
    assert found.caution == "Of the real videos that were held out (ffpp), 9 of 100 [1, 35] get such a number"
    assert found.sentence.startswith("Likely fake: P(fake) 0.93, the face of person 2")
    assert found.sentence.endswith("get such a number.")


def test_no_sign_is_no_proof_and_says_how_many_fakes_are_missed():
    found = verdict_of(video(0.08, {0: [0.1] * 30}), BLEND)
    assert found.kind == "no sign found"
    assert "which is no proof" in found.grounds
    assert "in 30 of 32 frames" in found.grounds
    assert found.caution == "Of the fakes that were held out (ffpp), 60 of 100 [40, 80] are not called likely fake"


@pytest.mark.parametrize(
    ("result", "grounds"),
    [
        (video(0.5, {}, status="no_face", reason="no face in 32 frames"), "no face in 32 frames"),
        (video(0.5, {}, status="crashed"), "crashed"),
        (
            video(0.7, {0: [0.7] * 4}),
            "P(fake) 0.70 lies between 0.50 and 0.80, where real videos and fakes are both found",
        ),
    ],
)
def test_what_cannot_be_said_is_not_said(result, grounds):
    assert (verdict_of(result, BLEND).kind, verdict_of(result, BLEND).grounds) == ("cannot say", grounds)


def test_the_threshold_is_the_first_that_counts():
    assert verdict_of(video(0.8, {0: [0.8]}), BLEND).kind == "likely fake"
    assert verdict_of(video(0.7999, {0: [0.8]}), BLEND).kind == "cannot say"
    assert verdict_of(video(0.4999, {0: [0.8]}), BLEND).kind == "no sign found"


def test_a_video_unlike_the_tests_says_so():
    assert verdict_of(video(0.93, {0: [0.9] * 4}), BLEND).unlike == ""
    small = dataclasses.replace(BLEND, facts=dataclasses.replace(BLEND.facts, usual=Usual(1.0, 140.0)))
    assert (
        "its faces are 100 pixels wide, and those of the tests 140 or more"
        in verdict_of(video(0.93, {0: [0.9] * 4}), small).sentence
    )


def test_a_blend_that_nobody_measured_says_so():
    found = verdict_of(video(0.93, {0: [0.9]}), Blend.equal(["a", "b"]))
    assert found.kind == "likely fake"
    assert "Nobody has measured how often" in found.sentence
    assert "not known" in legend_of(Blend.equal(["a"]))


def test_the_share_of_fakes_changes_the_number_and_not_the_verdict():
    """How often a verdict is wrong was measured at half and half."""
    plain = dataclasses.replace(Blend.equal(["a", "b"]), facts=Facts(rates=RATES), clip=(0.05, 0.95))
    for logit, kind in ((3.0, "likely fake"), (0.5, "cannot say"), (-1.0, "no sign found"), (9.0, "likely fake")):
        made = video(0.0, {0: [0.5] * 4})
        faces = tuple(dataclasses.replace(face, logits={"a": logit, "b": logit}) for face in made.faces)
        result = answer_again(dataclasses.replace(made, faces=faces), plain)
        assert verdict_of(result, plain).kind == kind
        for share in (0.001, 0.2, 0.84, 0.999):
            other = dataclasses.replace(plain, prior=share)
            moved = answer_again(result, other)
            assert moved.prob_fake == pytest.approx(other.prob_fake(np.full((1, 2), logit))[0])
            assert verdict_of(moved, other).kind == kind
            number = f"P(fake) {result.prob_fake:.2f} if half of the videos were fake"
            assert verdict_of(moved, other).grounds.startswith(number)


def test_moments_are_read_as_on_a_player():
    assert [clock(s) for s in (0.0, 9.99, 75, 3671.5)] == ["0:00", "0:09", "1:15", "1:01:11"]


def test_the_most_telling_faces_come_first_and_are_those_of_one_person():
    result = video(0.9, {0: [0.1] * 8, 1: [0.3, 0.9, 0.8, 0.3]})
    assert [face.prob_fake for face in telling_faces(result)] == [0.9]
    pictures = [b"%d" % i for i in range(12)]
    assert [one.jpeg for one in closeups_of(result, pictures)] == [b"9"]
    assert closeups_of(result, []) == ()
    assert telling_faces(video(0.5, {})) == []
