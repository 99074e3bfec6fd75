import numpy as np
import pytest

from ensemble import aggregate as module
from ensemble.aggregate import Aggregation, Layout, aggregate
from ensemble.rules import FRAME_RULES, PEOPLE_RULES, bind

RNG = np.random.default_rng(0)


def ragged(videos=40):
    """Videos with one to three people, each with one to nine faces."""
    video, person = [], []
    for v in range(videos):
        for p in range(RNG.integers(1, 4)):
            count = int(RNG.integers(1, 10))
            video += [v] * count
            person += [p] * count
    logit = RNG.normal(0, 2, (len(video), 3))
    return logit, np.array(video), np.array(person)


def one_by_one(logit, video, person, how):
    """The same, a video at a time."""
    frames, people = bind(FRAME_RULES, how.frames, how.parameter), bind(PEOPLE_RULES, how.people, None)
    out = []
    for v in np.unique(video):
        ids = np.unique(person[video == v])
        faces = [logit[(video == v) & (person == p)] for p in ids]
        seen = np.array([len(f) for f in faces], dtype=float)
        keep = seen >= how.min_share * seen.max()
        each = np.stack([frames(f[None])[0] for f, k in zip(faces, keep, strict=True) if k])
        out.append(people(each[None], seen[keep][None])[0])
    return np.stack(out)


@pytest.mark.parametrize("people", PEOPLE_RULES)
@pytest.mark.parametrize(("frames", "parameter"), [("mean", None), ("top_share", 0.4), ("power_mean", 2.0)])
@pytest.mark.parametrize("chunk", [20, 10**6])
def test_all_videos_at_once_is_each_by_itself(frames, parameter, people, chunk, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", chunk)
    logit, video, person = ragged()
    how = Aggregation(frames, parameter, people, min_share=0.5)
    got = aggregate(logit, Layout.of(video, person), how)
    assert got == pytest.approx(one_by_one(logit, video, person, how))


def test_the_most_fake_person_decides():
    logit = np.array([[-3.0], [-3.0], [2.0], [2.0]])
    layout = Layout.of(np.zeros(4, dtype=int), np.array([0, 0, 1, 1]))
    assert aggregate(logit, layout, Aggregation())[0, 0] == 2.0


def test_all_members_speak_of_the_person_that_they_take_together_for_most_fake():
    """Not each of the person that it takes for most fake itself: of several real people, somebody errs on each."""
    logit = np.array([[2.0, -2.0], [-3.0, 1.0], [-1.0, -2.0]])
    layout = Layout.of(np.zeros(3, dtype=int), np.arange(3))
    assert aggregate(logit, layout, Aggregation()).tolist() == [[2.0, -2.0]]


def test_a_passer_by_does_not_decide():
    logit = np.array([[-3.0]] * 10 + [[5.0]])
    layout = Layout.of(np.zeros(11, dtype=int), np.array([0] * 10 + [1]))
    assert aggregate(logit, layout, Aggregation())[0, 0] == -3.0
    assert aggregate(logit, layout, Aggregation(min_share=0.0))[0, 0] == 5.0


def test_no_faces_no_verdict():
    with pytest.raises(ValueError, match="without faces"):
        Layout.of(np.array([], dtype=int), np.array([], dtype=int))


def test_faces_out_of_order_are_refused():
    with pytest.raises(ValueError, match="sorted"):
        Layout.of(np.array([0, 1, 0]), np.zeros(3, dtype=int))


def test_an_aggregation_says_what_it_is():
    assert str(Aggregation("top_share", 0.4, "noisy_or")) == "top_share (share 0.4) over faces, noisy_or over people"
    with pytest.raises(ValueError, match="min_share"):
        Aggregation(min_share=2.0)
