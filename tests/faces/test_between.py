"""A frame between two that show the same faces in the same places is not searched."""

import numpy as np
import pytest
import torch

from faces.between import FEWEST, LONGEST, NAME, faces_between, frames_between
from faces.cascade import Cascade
from faces.detect import NO_FACES, SURE, FrameFaces
from inference.pipeline import PredictOptions, make_pipeline
from tests.faces.test_cascade import Fake

STILL = [(100, 100, 200, 200), (400, 80, 480, 160)]


def faces(boxes, score=0.95, detector="back_letterbox"):
    corners = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    points = np.repeat(corners[:, None, :2], 5, axis=1) + 10
    return FrameFaces(corners, np.full(len(corners), score, np.float32), points, detector)


def test_every_other_frame_of_a_shot_may_be_left_out():
    seconds, cuts = np.arange(8) * 0.3, np.zeros(8, dtype=bool)
    assert frames_between(seconds, cuts).tolist() == [False, True, False, True, False, True, False, False]
    cuts[4] = True  # between the third and the fourth
    assert frames_between(seconds, cuts).tolist() == [False, True, False, False, False, True, False, False]


@pytest.mark.parametrize(("gap", "left_out"), [(0.49 * LONGEST, 4), (0.51 * LONGEST, 0)])
def test_only_close_neighbours_tell(gap, left_out):
    assert frames_between(np.arange(9) * gap, np.zeros(9, dtype=bool)).sum() == left_out


@pytest.mark.parametrize("count", [0, 1, 2, FEWEST - 1])
def test_of_few_frames_all_are_searched(count):
    assert not frames_between(np.arange(count) * 0.1, np.zeros(count, dtype=bool)).any()


def test_a_face_is_halfway_between_its_places_whatever_the_order():
    before, after = faces(STILL), faces([(404, 82, 484, 162), (100, 104, 200, 204)], score=0.9)
    taken = faces_between(before, after)
    assert taken.boxes_xyxy.tolist() == [[100, 102, 200, 202], [402, 81, 482, 161]]
    assert taken.points_xy[0, 0].tolist() == [110, 112]
    assert taken.scores.tolist() == pytest.approx([0.9, 0.9])
    assert taken.detector == NAME


@pytest.mark.parametrize(
    "after",
    [
        NO_FACES,
        faces(STILL[:1]),
        faces([*STILL, (600, 0, 700, 100)]),
        faces([(130, 100, 230, 200), STILL[1]]),  # moved by a third of its width
        faces(STILL, score=SURE - 0.01),
        faces([STILL[0], STILL[0]]),
    ],
    ids=["gone", "one left", "one came", "moved", "unsure", "another one"],
)
def test_neighbours_that_differ_ask_for_a_look(after):
    assert faces_between(faces(STILL), after) is None
    assert faces_between(after, faces(STILL)) is None


def test_the_cascade_looks_at_the_ends_and_where_they_differ():
    """Eight frames; the face jumps after the third, so that the fourth one's neighbours differ."""
    places = [STILL[0]] * 3 + [(300, 300, 400, 400)] * 5
    first = Fake("first", dict.fromkeys(range(8), 0.95))
    first.faces_of = lambda number, *_, **__: faces([places[number]], detector="first")
    cascade = Cascade(torch.device("cpu"), engine="torch")
    cascade._first = first
    images = [np.full((8, 8, 3), number, np.uint8) for number in range(8)]
    found = cascade(images, between=frames_between(np.arange(8) * 0.3, np.zeros(8, dtype=bool)))
    assert first.asked == [0, 2, 4, 6, 7, 3]
    assert [each.detector for each in found] == ["first", NAME, "first", "first", "first", NAME, "first", "first"]
    assert [each.boxes_xyxy[0].tolist() for each in found] == [list(place) for place in places]


@pytest.mark.parametrize(
    ("frames", "tolerance", "searched"), [(20, 0.0, 20), (20, 1e-9, 11), (FEWEST - 1, 1e-9, FEWEST - 1)]
)
def test_prediction_leaves_frames_out_with_a_tolerance_and_of_many_only(members, media, frames, tolerance, searched):
    """The face of this clip hardly moves."""
    pipeline = make_pipeline(PredictOptions(frames=frames, tolerance=tolerance), torch.device("cpu"), members)
    (result,) = pipeline.run([media / "single_face.mp4"])
    found_by = [face.detector for face in result.faces]
    assert len(found_by) == frames == result.evidence["frames_with_face"]
    assert len(found_by) - found_by.count(NAME) == searched
