"""The vote over detectors, on boxes whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from explore.detectors import BOX_COLUMNS, LOOKED_COLUMNS
from explore.votes import NOBODY, agreement, false_boxes, matched, missed_faces, summary, vote

FACE, OTHER = (100, 100, 200, 200), (400, 100, 460, 160)


def table(*rows):
    """Rows of (frame, detector, box): a box is (x0, y0, x1, y1)."""
    full = [("a.mp4", frame, frame / 10, name, *map(float, box), 0.9) for frame, name, box in rows]
    return pd.DataFrame(full, columns=list(BOX_COLUMNS))


def looked_at(*frames):
    return pd.DataFrame([("a.mp4", frame, frame / 10, 640, 360) for frame in frames], columns=list(LOOKED_COLUMNS))


def shifted(box, by):
    return tuple(value + by for value in box)


LOOKED = looked_at(0, 10, 20)
BOXES = table(
    # Frame 0: three see the face, one of them twice; Haar sees a shirt.
    (0, "haar", FACE),
    (0, "haar", (300, 300, 340, 340)),
    (0, "mtcnn", shifted(FACE, 10)),
    (0, "blazeface_back", shifted(FACE, 5)),
    (0, "blazeface_back_tiles", shifted(FACE, 5)),
    (0, "blazeface_back_tiles", shifted(FACE, 8)),
    # Frame 10: one network over two kinds of tiles, and the cascade that hands on its box: no second voice.
    (10, "blazeface_back", OTHER),
    (10, "blazeface_back_tiles", OTHER),
    (10, "cascade", OTHER),
    # Frame 20 has no box.
)
TIMING = pd.DataFrame(
    [("haar", 3, 0.3, 100.0), ("blazeface_back_tiles", 3, 0.03, 10.0), ("dlib_hog", 3, 0.6, 200.0)],
    columns=["detector", "frames", "seconds", "ms_per_frame"],
)


def test_a_face_is_what_two_families_agree_on():
    faces = vote(BOXES, LOOKED)
    assert len(faces) == 1
    face = faces.iloc[0]
    assert (face.filename, face.frame, face.face, face.votes) == ("a.mp4", 0, 0, 3)
    assert face.detectors == "blazeface_back blazeface_back_tiles haar mtcnn"
    assert tuple(face[["x0", "y0", "x1", "y1"]]) == shifted(FACE, 5)  # the one that overlaps the others most


@pytest.mark.parametrize(("least", "count"), [(1, 3), (3, 1), (4, 0)])
def test_how_many_must_agree(least, count):
    assert len(vote(BOXES, LOOKED, least=least)) == count


def test_boxes_below_the_overlap_do_not_support_each_other():
    apart = table((0, "haar", FACE), (0, "mtcnn", shifted(FACE, 30)))  # iou = 70 * 70 / (20000 - 4900) = 0.3245
    assert len(vote(apart, LOOKED, iou=0.3)) == 1
    assert vote(apart, LOOKED, iou=0.33).empty


def test_two_faces_of_a_frame_are_two():
    both = table(*[(0, name, box) for name in ("haar", "mtcnn") for box in (FACE, OTHER)])
    faces = vote(both, LOOKED)
    assert faces["face"].tolist() == [0, 1]
    assert sorted(faces["x0"]) == [100, 400]


def test_the_order_of_rows_does_not_matter():
    expected = vote(BOXES, LOOKED)
    for seed in range(5):
        pd.testing.assert_frame_equal(vote(BOXES.sample(frac=1, random_state=seed), LOOKED), expected)


def test_each_box_is_of_a_face_or_false():
    of = matched(BOXES, vote(BOXES, LOOKED))
    assert of.tolist() == [0, NOBODY, 0, 0, 0, NOBODY, NOBODY, NOBODY, NOBODY]


def test_false_boxes_are_sorted_into_kinds():
    inside, around, beside = (140, 140, 170, 170), (50, 50, 260, 260), (180, 180, 260, 260)
    more = table(*[(0, "dlib_hog", box) for box in (inside, around, beside, (500, 300, 520, 320))])
    boxes = pd.concat([BOXES, more], ignore_index=True)
    false = false_boxes(boxes, vote(boxes, LOOKED))
    kinds = false.set_index(["detector", "x0"])["kind"]
    assert kinds[("dlib_hog", 140)] == "inside a face"
    assert kinds[("dlib_hog", 50)] == "around a face"
    assert kinds[("dlib_hog", 180)] == "beside a face"
    assert kinds[("dlib_hog", 500)] == "elsewhere"
    assert kinds[("blazeface_back_tiles", 108)] == "double"
    assert kinds[("haar", 300)] == "elsewhere"
    assert kinds[("cascade", 400)] == "elsewhere"  # no face in that frame at all


def test_the_summary_counts():
    faces = vote(BOXES, LOOKED)
    rows = summary(BOXES, LOOKED, TIMING, faces).set_index("detector")
    haar, tiles, absent = rows.loc["haar"], rows.loc["blazeface_back_tiles"], rows.loc["dlib_hog"]
    assert rows.index.tolist() == ["haar", "blazeface_back_tiles", "dlib_hog"]
    assert (haar.frames, haar.boxes, haar.found, haar.missed, haar["false"]) == (3, 2, 1, 0, 1)
    assert (haar.precision, haar.recall, haar.ms_per_frame, haar.median_side) == (0.5, 1, 100, 70)
    assert (tiles.frames_with_face, tiles.videos_with_face, tiles.found, tiles["false"]) == (2, 1, 1, 2)
    assert (tiles.faces_per_frame, tiles.faces_per_video, tiles.median_score) == (1, 3, 0.9)
    assert (absent.boxes, absent.found, absent.missed, absent.recall) == (0, 0, 1, 0)
    assert np.isnan(absent.precision)
    assert np.isnan(absent.median_side)


def test_the_largest_face_of_a_frame_counts_apart():
    both = table(*[(0, name, box) for name in ("mtcnn", "dlib_hog") for box in (FACE, OTHER)], (0, "haar", OTHER))
    rows = summary(both, LOOKED, TIMING, vote(both, LOOKED)).set_index("detector")
    assert rows["missed"].to_dict() == {"haar": 1, "blazeface_back_tiles": 2, "dlib_hog": 0}
    assert rows["missed_largest"].to_dict() == {"haar": 1, "blazeface_back_tiles": 1, "dlib_hog": 0}
    small = table(*[(0, name, box) for name in ("mtcnn", "dlib_hog") for box in (FACE, OTHER)], (0, "haar", FACE))
    rows = summary(small, LOOKED, TIMING, vote(small, LOOKED)).set_index("detector")
    assert (rows.loc["haar", "missed"], rows.loc["haar", "missed_largest"]) == (1, 0)


def test_missed_faces_name_who_missed_them():
    missed = missed_faces(BOXES, vote(BOXES, LOOKED), ["haar", "mtcnn", "dlib_hog", "cascade"])
    assert missed["missed_by"].tolist() == ["dlib_hog", "cascade"]


def test_agreement_counts_partners_one_to_one():
    share, mean = agreement(BOXES, ["haar", "blazeface_back_tiles", "dlib_hog"])
    assert share.loc["haar", "blazeface_back_tiles"] == 1 / 2
    assert share.loc["blazeface_back_tiles", "haar"] == 1 / 3
    assert share.loc["haar", "haar"] == mean.loc["haar", "haar"] == 1
    assert mean.loc["haar", "blazeface_back_tiles"] == pytest.approx(95 * 95 / (20000 - 95 * 95))
    assert share.loc["haar", "dlib_hog"] == 0
    assert np.isnan(share.loc["dlib_hog", "haar"])
    assert np.isnan(mean.loc["haar", "dlib_hog"])


def test_no_boxes_at_all():
    none = BOXES.iloc[:0]
    faces = vote(none, LOOKED)
    assert faces.empty
    assert false_boxes(none, faces).empty
    assert missed_faces(none, faces, ["haar"]).empty
    rows = summary(none, LOOKED, TIMING, faces)
    assert rows["boxes"].sum() == 0
    assert rows["recall"].isna().all()


@pytest.mark.parametrize(("options", "words"), [({"least": 0}, "vote of 0"), ({"iou": 0}, "iou 0"), ({"iou": 2}, "2")])
def test_impossible_votes_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        vote(BOXES, LOOKED, **options)


def test_a_box_in_a_frame_nobody_looked_at_is_refused():
    with pytest.raises(ValueError, match=r"a\.mp4 frame 10"):
        vote(BOXES, looked_at(0))
