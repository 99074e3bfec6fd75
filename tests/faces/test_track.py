from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faces.detect import LIKELY, SURE, FrameFaces
from faces.track import STRAY, lone_faces, track

STEP = 1 / 3  # seconds between scored frames
Face = tuple[float, float, float, float]  # centre x, centre y, side, score


def frame(*faces: Face) -> FrameFaces:
    boxes = [(x - side / 2, y - side / 2, x + side / 2, y + side / 2) for x, y, side, _ in faces]
    scores = np.array([score for *_, score in faces], np.float32)
    points = np.zeros((len(faces), 5, 2), np.float32)
    return FrameFaces(np.array(boxes, np.float32).reshape(-1, 4), scores, points, "fake")


def people(frames: Sequence[FrameFaces], step: float = STEP, patience: float = 3.0) -> list[list[int]]:
    return [p.tolist() for p in track(frames, [i * step for i in range(len(frames))], patience)]


STILL = (100.0, 100.0, 80.0, 0.95)
OTHER = (600.0, 100.0, 80.0, 0.95)


@pytest.mark.parametrize("speed", [0, 10, 60, 100])  # pixels per frame of a face 80 wide
def test_a_moving_person_is_one_person(speed: int) -> None:
    """A walker comes into view, so that the first steps are slow; later boxes may miss each other."""
    x = np.cumsum(np.minimum(np.arange(12) * 25, speed))
    assert people([frame((100.0 + v, 100, 80, 0.9)) for v in x]) == [[0]] * 12


def test_a_person_who_comes_nearer_is_one_person() -> None:
    assert people([frame((300.0, 200.0, 40.0 * 1.2**i, 0.9)) for i in range(10)]) == [[0]] * 10


@pytest.mark.parametrize("reverse", [False, True], ids=["in order", "faces listed the other way round"])
def test_two_people_who_cross_keep_their_ids(reverse: bool) -> None:
    frames = []
    for i in range(12):
        left, right = (50.0 + 30 * i, 200, 90, 0.9), (400.0 - 30 * i, 220, 80, 0.9)
        frames.append(frame(*((right, left) if reverse and i % 2 else (left, right))))
    found = people(frames)
    for i, ids in enumerate(found):
        assert ids == ([1, 0] if reverse and i % 2 else [0, 1]), f"frame {i}"


def test_two_still_people_are_two() -> None:
    assert people([frame(STILL, OTHER), frame(OTHER, STILL), frame(STILL, OTHER), frame(STILL, OTHER)]) == [
        [0, 1],
        [1, 0],
        [0, 1],
        [0, 1],
    ]


@pytest.mark.parametrize(("gap", "same"), [(1, True), (2, True), (3, True), (4, False), (8, False)])
def test_somebody_who_comes_back(gap: int, same: bool) -> None:
    """One second between frames and three of patience: after `gap` empty frames it is gap + 1 seconds."""
    found = people([frame(STILL)] * 3 + [frame()] * gap + [frame(STILL)] * 2, step=1.0, patience=4.0)
    assert found == [[0]] * 3 + [[]] * gap + [[0 if same else 1]] * 2


def test_somebody_elsewhere_is_somebody_else() -> None:
    assert people([frame(STILL)] * 3 + [frame(OTHER)] * 2) == [[0]] * 3 + [[1]] * 2


def test_a_box_of_quite_another_size_is_somebody_else() -> None:
    small, large = (100.0, 100.0, 30.0, 0.9), (100.0, 100.0, 90.0, 0.9)
    assert people([frame(small)] * 3 + [frame(large)] * 2) == [[0]] * 3 + [[1]] * 2


def test_a_single_box_is_a_stray() -> None:
    assert people([frame(STILL), frame(STILL, OTHER), frame(STILL), frame(STILL)]) == [[0], [0, STRAY], [0], [0]]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_single_box_stays_in_a_video_of_few_frames(count: int) -> None:
    found = people([frame(STILL, OTHER)] + [frame(STILL)] * (count - 1))
    assert found == [[0, 1]] + [[0]] * (count - 1)


@pytest.mark.parametrize(("best", "person"), [(SURE + 0.01, 0), (SURE - 0.01, STRAY), (LIKELY, STRAY)])
def test_a_person_needs_one_sure_box(best: float, person: int) -> None:
    weak = (*STILL[:3], LIKELY)
    assert people([frame(weak)] * 3 + [frame((*STILL[:3], best))] + [frame(weak)]) == [[person]] * 5


def test_numbered_by_frames_first() -> None:
    rare_and_large, common_and_small = (600.0, 200.0, 200.0, 0.9), (100.0, 100.0, 40.0, 0.9)
    both = frame(rare_and_large, common_and_small)
    assert people([both, both, both, frame(common_and_small)]) == [[1, 0]] * 3 + [[0]]


def test_numbered_by_area_where_frames_are_equal() -> None:
    both = frame((100.0, 100.0, 40.0, 0.99), (600.0, 200.0, 200.0, 0.9))
    assert people([both] * 5) == [[1, 0]] * 5


def test_equal_people_are_numbered_by_appearance() -> None:
    assert people([frame(OTHER, STILL)] * 5) == [[0, 1]] * 5


def test_frames_without_faces() -> None:
    assert people([]) == []
    assert people([frame()] * 5) == [[]] * 5
    assert people([frame(), frame(STILL), frame(), frame(STILL), frame()]) == [[], [0], [], [0], []]


def test_as_many_times_as_frames() -> None:
    with pytest.raises(ValueError):
        track([frame(STILL)] * 2, [0.0])


def test_two_frames_at_the_same_time() -> None:
    assert [p.tolist() for p in track([frame(STILL)] * 4, [0.0] * 4)] == [[0]] * 4


faces = st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(10, 150), st.floats(LIKELY, 1.0))
videos = st.lists(st.lists(faces, max_size=5).map(lambda f: frame(*f)), max_size=8)


@settings(max_examples=80, deadline=None)
@given(video=videos, step=st.floats(0, 2))
def test_any_video(video: list[FrameFaces], step: float) -> None:
    seconds = [i * step for i in range(len(video))]
    found = track(video, seconds)
    assert [len(p) for p in found] == [len(f) for f in video]
    assert all(p.dtype == np.intp for p in found)

    sightings: dict[int, list[float]] = {}  # person -> scores
    for persons, shown in zip(found, video, strict=True):
        named = persons[persons != STRAY]
        assert len(set(named.tolist())) == len(named), "two faces of one frame are one person"
        for person, score in zip(persons.tolist(), shown.scores.tolist(), strict=True):
            if person != STRAY:
                sightings.setdefault(person, []).append(score)
    assert sorted(sightings) == list(range(len(sightings)))
    counts = [len(sightings[p]) for p in range(len(sightings))]
    assert counts == sorted(counts, reverse=True)
    assert all(max(scores) >= np.float32(SURE) for scores in sightings.values())
    assert len(video) < 4 or all(c > 1 for c in counts)

    again = track(video, seconds)
    assert all((a == b).all() for a, b in zip(found, again, strict=True))


@pytest.mark.parametrize("step", [4.0, 60.0])
def test_frames_seconds_apart_still_show_the_same_person(step: float) -> None:
    """Eight frames of half a minute: the next frame is further away than the patience."""
    assert people([frame(STILL)] * 8, step) == [[0]] * 8


def cut_people(frames: Sequence[FrameFaces], cuts: Sequence[bool], step: float = STEP) -> list[list[int]]:
    return [p.tolist() for p in track(frames, [i * step for i in range(len(frames))], cuts=cuts)]


def test_a_cut_ends_everybody() -> None:
    """Shots of half a second, as fast edits have: another person at the same place is another person."""
    frames = [frame(STILL)] * 6
    assert cut_people(frames, [False] * 6) == [[0]] * 6
    assert cut_people(frames, [False, False, True, False, True, False]) == [[0], [0], [1], [1], [2], [2]]


def test_a_sure_box_between_two_cuts_is_somebody() -> None:
    frames = [frame(STILL), frame(OTHER), frame(STILL), frame(OTHER), frame(STILL)]
    assert cut_people(frames, [False, True, True, True, True]) == [[0], [1], [2], [3], [4]]
    # Within a shot the next frame would have shown the person again.
    assert cut_people(frames, [False, True, False, True, False]) == [[0], *[[STRAY]] * 4]
    weak = (*STILL[:3], LIKELY)
    assert cut_people([frame(weak)] * 4, [False, True, True, True]) == [[STRAY]] * 4


def test_a_sure_box_far_from_all_other_frames_is_somebody() -> None:
    """Frames of a long video: nobody can be asked to be in the same place 19 seconds later."""
    places = [(100.0 + 300 * (i % 2), 100.0 + 200 * (i % 3), 80.0, 0.9) for i in range(6)]
    assert people([frame(place) for place in places], 19.0) == [[i] for i in range(6)]
    assert people([frame(place) for place in places], 1.0) == [[STRAY]] * 6


def test_lone_faces_are_the_sure_ones_that_nobody_owns() -> None:
    frames = [frame(STILL), frame(STILL, OTHER), frame(STILL), frame((300.0, 400.0, 80.0, LIKELY))]
    assert lone_faces(frames, track(frames, [0.0, 0.3, 0.6, 0.9])) == [(1, 1)]
