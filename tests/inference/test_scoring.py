"""Faces that would hardly matter are left out, and nothing else changes by it."""

import dataclasses
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ensemble.aggregate import Aggregation
from ensemble.blend import Blend
from ensemble.convex import Mix
from faces.crop import CropSpec
from inference.pictures import choose_thumbnails
from inference.result import ScoredFace, Thumbnail
from inference.schedule.plans import Plan
from inference.scoring import LEAST, score_faces, spread
from inference.work import VideoWork

SPEC = CropSpec("whole", size=8, margin=0.0)
BLEND = Blend(("one",), Mix.equal(1), clip=(0.01, 0.99))


@dataclasses.dataclass(frozen=True)
class Card:
    name: str
    crop: CropSpec = SPEC


class Member:
    """Reads the logit of a face off its crop, and counts the crops that it was shown."""

    def __init__(self, name="one"):
        self.card, self.shown = Card(name), []

    def logits(self, crops):
        self.shown.append(len(crops))
        return np.array([float(crop) for crop in crops])


def video(logits, person=None, name="a.mp4"):
    work = VideoWork(Path(name), "", {}, {}, "ok", Plan(len(logits), 0))
    person = [0] * len(logits) if person is None else person
    box = np.array([0, 0, 90, 90], dtype=np.float32)
    work.faces = [ScoredFace(i, i / 10, who, box, 0.9, "back", {}, 0.5) for i, who in enumerate(person)]
    work.crops = {SPEC: list(logits)}
    return work


def calm(n, level, seed=0):
    return level + np.random.default_rng(seed).normal(0, 0.02, n)


def test_a_clear_video_is_done_after_a_quarter():
    member, logits = Member(), calm(32, -1.0)
    (scored,) = score_faces([video(logits)], [member], BLEND, 0.02)
    assert scored.faces.tolist() == list(range(0, 32, 4))
    assert scored.logits["one"].tolist() == logits[::4].tolist()
    assert member.shown == [8]


def test_a_video_whose_faces_differ_is_scored_whole():
    member, logits = Member(), np.random.default_rng(0).normal(0, 2.0, 32)
    (scored,) = score_faces([video(logits)], [member], BLEND, 0.02)
    assert scored.faces.tolist() == list(range(32))
    assert scored.logits["one"].tolist() == logits.tolist()
    assert member.shown == [8, 8, 16]


def test_what_lies_beyond_the_clip_needs_no_second_look():
    logits, narrow = np.random.default_rng(0).normal(2.5, 1.0, 32), dataclasses.replace(BLEND, clip=(0.2, 0.8))
    faces = {
        blend.clip: len(score_faces([video(logits)], [Member()], blend, 0.02)[0].faces) for blend in (BLEND, narrow)
    }
    assert faces == {BLEND.clip: 16, narrow.clip: 8}


def test_without_a_tolerance_all_faces_are_scored_at_once():
    member = Member()
    (scored,) = score_faces([video(calm(32, 3.0))], [member], BLEND, 0.0)
    assert len(scored.faces) == 32 and member.shown == [32]


@pytest.mark.parametrize(
    "change",
    [
        {"aggregation": Aggregation(frames="trimmed_mean", parameter=0.1)},
        {"space": "probability"},
        {"mirror": True},
    ],
    ids=str,
)
def test_blends_whose_error_is_not_that_of_a_mean_get_all_faces(change):
    (scored,) = score_faces([video(calm(32, 3.0))], [Member()], dataclasses.replace(BLEND, **change), 0.02)
    assert len(scored.faces) == 32


def test_few_faces_are_all_scored():
    (scored,) = score_faces([video(calm(LEAST - 1, 3.0))], [Member()], BLEND, 0.02)
    assert len(scored.faces) == LEAST - 1


def test_videos_share_batches_and_each_ends_for_itself():
    member = Member()
    wild = np.random.default_rng(1).normal(0, 2.0, 32)
    works = [video(calm(32, 1.0)), video([]), video(wild), video(calm(7, 0.5))]
    scored = score_faces(works, [member], BLEND, 0.02)
    assert [len(mine.faces) for mine in scored] == [8, 0, 32, 7]
    assert member.shown == [8 + 8 + 7, 8, 16]
    alone = [score_faces([work], [Member()], BLEND, 0.02)[0] for work in works]
    for mine, other in zip(scored, alone, strict=True):
        assert mine.faces.tolist() == other.faces.tolist()
        assert mine.logits["one"].tolist() == other.logits["one"].tolist()


def test_the_person_who_is_in_doubt_keeps_the_video_going():
    """Of two people in all frames one is clear, and the one whose faces differ may decide."""
    logits, person = np.empty(64), np.tile([0, 1], 32)
    logits[person == 0], logits[person == 1] = calm(32, -2.0), np.random.default_rng(2).normal(0, 2.0, 32)
    (scored,) = score_faces([video(logits, person)], [Member()], BLEND, 0.02)
    assert len(scored.faces) == 64


@example([32, 7], 4, 0.25, Random(0))
@given(
    st.lists(st.integers(1, 70), min_size=1, max_size=6),
    st.sampled_from([4, 2, 1]),
    st.sampled_from([0.25, 0.2, 1 / 3, 0.5]),
    st.randoms(use_true_random=False),
)
def test_who_counts_by_all_faces_counts_by_the_chosen_ones(counts, stride, min_share, random):
    person = np.array([who for who, count in enumerate(counts) for _ in range(count)])
    random.shuffle(person)
    chosen = spread(person, stride, Aggregation(min_share=min_share))
    every, some = np.bincount(person), np.bincount(person[chosen], minlength=len(counts))
    assert (some > 0).all()
    if np.ceil(every.max() / stride) * min_share > 1:  # what score_faces asks for before it leaves anybody out
        assert ((every >= min_share * every.max()) == (some >= min_share * some.max())).all()


def test_the_error_is_as_large_as_the_tolerance_says():
    """Of 400 videos whose faces wander as in real ones."""
    random = np.random.default_rng(5)
    off, faces = [], []
    for _ in range(400):
        steps = random.normal(0, 0.25, 32)
        logits = random.normal(0, 1.5) + np.cumsum(steps) * 0.5 + random.normal(0, 0.2, 32)
        (scored,) = score_faces([video(logits)], [Member()], BLEND, 0.02)
        part, whole = (
            BLEND.predict({"one": v}, np.zeros(len(v), int)).prob_fake for v in (logits[scored.faces], logits)
        )
        off.append(abs(part - whole))
        faces.append(len(scored.faces))
    assert 0.005 < np.sqrt(np.mean(np.square(off))) <= 0.02
    assert np.mean(faces) < 20


def shown(count, *scored):
    thumbnails = [Thumbnail(frame, frame / 3, b"", 1.0) for frame in range(0, 320, 10)]
    return [one.frame // 10 for one in choose_thumbnails(thumbnails, count, [10 * frame for frame in scored])]


def test_a_report_shows_frames_with_scored_faces_where_some_are_near():
    assert shown(8) == [0, 4, 9, 13, 18, 22, 27, 31]
    assert shown(8, *range(32)) == shown(8)
    assert shown(8, *range(0, 32, 4)) == [0, 4, 8, 12, 16, 20, 28, 31]
    assert shown(3, 2) == [2, 16, 31]
    assert shown(0, 2) == []
