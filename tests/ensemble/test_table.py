import numpy as np
import pandas as pd
import pytest

from common.labels import read_labels
from ensemble.table import read_faces, refuse_leaks


def rows(member="a", videos=("x.mp4", "y.mp4"), frames=2, **more):
    made = [
        {"filename": v, "member": member, "frame": f, "person": 0, "logit": i + f / 10 + len(member), "status": "ok"}
        for i, v in enumerate(videos)
        for f in range(frames)
    ]
    return pd.DataFrame(made).assign(**more)


def write(path, table):
    table.to_csv(path, index=False)
    return path


def labelled(table):
    truth = {"x.mp4": ("FAKE", "g1"), "y.mp4": ("REAL", "g2")}
    return table.assign(
        label=[truth.get(n, ("", ""))[0] for n in table["filename"]],
        group=[truth.get(n, ("", ""))[1] for n in table["filename"]],
    )


def test_members_of_one_table_are_joined_whatever_the_order_of_rows(tmp_path):
    table = labelled(pd.concat([rows("bb"), rows("a")])).sample(frac=1, random_state=0)
    faces = read_faces([write(tmp_path / "t.csv", table)])
    assert faces.members == ("a", "bb")
    assert faces.logit == pytest.approx(np.array([[1.0, 2.0], [1.1, 2.1], [2.0, 3.0], [2.1, 3.1]]))
    assert faces.filename.tolist() == ["x.mp4", "y.mp4"]
    assert faces.known().label.tolist() == [1, 0]
    assert faces.known().group.tolist() == ["g1", "g2"]
    assert faces.lost == ()
    assert "2 videos, 2 people, 4 faces" in repr(faces)


def test_tables_of_members_are_joined_and_what_is_lost_is_told(tmp_path):
    first = write(tmp_path / "1.csv", labelled(rows("a", videos=("x.mp4", "y.mp4", "z.mp4"))))
    second = write(tmp_path / "2.csv", labelled(rows("b", frames=1)))
    faces = read_faces([first, second], most_lost=0.5)
    assert len(faces.logit) == 2
    text = "; ".join(faces.lost)
    assert "1 of 3 videos have no label, the first is 'z.mp4'" in text
    assert "2 of 4 faces scored by a were not scored by all members" in text


def test_a_video_that_only_one_member_scored_is_named(tmp_path):
    first = write(tmp_path / "1.csv", rows("a"))
    faces = read_faces([first, write(tmp_path / "2.csv", rows("b", videos=("y.mp4",)))], most_lost=0.5)
    assert "1 of 2 videos have no face that all members scored, the first is 'x.mp4'" in faces.lost


def test_people_and_frames_lie_in_order(tmp_path):
    table = pd.DataFrame(
        {"filename": "x", "member": "a", "frame": [5, 1, 3], "person": [0, 1, 0], "logit": [0.5, 0.1, 0.3]}
    )
    faces = read_faces([write(tmp_path / "t.csv", table)])
    assert faces.frame.tolist() == [3, 5, 1]
    assert faces.logit[:, 0].tolist() == pytest.approx([0.3, 0.5, 0.1])
    assert faces.layout.person_starts.tolist() == [0, 2, 3]


def test_labels_may_come_from_elsewhere(tmp_path):
    write(tmp_path / "l.csv", pd.DataFrame({"filename": ["x.mp4"], "label": ["FAKE"], "group": ["g"]}))
    faces = read_faces([write(tmp_path / "t.csv", rows())], read_labels(tmp_path / "l.csv"))
    assert faces.known().label.tolist() == [1]
    assert "1 of 2 videos have no label" in faces.lost[0]


def test_without_labels_there_is_no_truth(tmp_path):
    faces = read_faces([write(tmp_path / "t.csv", rows())])
    with pytest.raises(ValueError, match="--labels"):
        faces.known()


def test_videos_without_a_face_are_kept_by_name(tmp_path):
    table = pd.concat([rows(), pd.DataFrame([{"filename": "n.mp4", "status": "no_face"}])])
    faces = read_faces([write(tmp_path / "t.csv", table)])
    assert faces.unscored == {"n.mp4": "no_face"}
    assert "n.mp4" not in faces.filename


def test_fewer_frames_are_evenly_spread(tmp_path):
    faces = read_faces([write(tmp_path / "t.csv", rows(frames=8))])
    assert faces.with_frames(2).frame.tolist() == [3, 7] * 2
    assert faces.with_frames(3).frame.tolist() == [2, 5, 7] * 2
    assert faces.with_frames(99).frame.tolist() == faces.frame.tolist()


def test_leaks_are_refused(tmp_path):
    faces = read_faces([write(tmp_path / "t.csv", labelled(rows()))])
    refuse_leaks(faces, {"a": {"elsewhere"}, "not tuned here": {"g1"}})
    with pytest.raises(ValueError, match=r"member 'a' was trained on 1 of the 2 groups .* the first is 'g2'"):
        refuse_leaks(faces, {"a": {"g2", "elsewhere"}})


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (rows().drop(columns="logit"), "lacks the columns logit"),
        (pd.concat([rows(), rows()]), "scored one face twice .'x.mp4', frame 0"),
        (rows(logit=[1.0, np.inf, 2.0, 3.0]), "member 'a' has the logit inf for 'x.mp4'"),
        (rows(logit=[1.0, "high", 2.0, 3.0]), "has the logit high"),
        (labelled(rows(logit=1.0)), "says the same of every face"),
        (rows(frame=-1), "has the frame -1"),
        (rows(label="FAKE", group=["g1", "g2", "g3", "g3"]), "'x.mp4' has two labels or groups"),
        (rows(label="?", group="g"), "label REAL or FAKE"),
    ],
)
def test_bad_tables_are_refused(table, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        read_faces([write(tmp_path / "t.csv", table)])


def test_an_empty_logit_of_a_member_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has the logit nan"):
        read_faces([write(tmp_path / "t.csv", rows(logit=[1.0, None, 2.0, 3.0]))])


def test_tables_of_different_videos_are_refused(tmp_path):
    first, second = write(tmp_path / "1.csv", rows("a")), write(tmp_path / "2.csv", rows("b", videos=("z.mp4",)))
    with pytest.raises(ValueError, match="no face was scored by all of a, b"):
        read_faces([first, second])


def test_members_are_chosen_by_name(tmp_path):
    path = write(tmp_path / "t.csv", pd.concat([rows("a"), rows("bb"), rows("c", frames=1)]))
    assert read_faces([path], members=("bb", "a")).logit[0].tolist() == [2.0, 1.0]
    with pytest.raises(ValueError, match=r"no rows of member 'd'; they have a, bb, c"):
        read_faces([path], members=("a", "d"))


def test_the_hash_follows_the_bytes(tmp_path):
    path = write(tmp_path / "t.csv", rows())
    first = read_faces([path]).sha256
    assert read_faces([path]).sha256 == first
    assert read_faces([write(tmp_path / "t.csv", rows(logit=[1, 2, 3, 4]))]).sha256 != first


def test_a_blank_group_is_the_videos_own_and_leaves_the_others_whole(tmp_path):
    table = labelled(rows("a"))
    table["group"] = ["a-long-name-of-a-group", "a-long-name-of-a-group", "", ""]
    faces = read_faces([write(tmp_path / "t.csv", table)])
    assert faces.known().group.tolist() == ["a-long-name-of-a-group", "y.mp4"]
    assert "1 videos have no group and count as one of their own each, the first is 'y.mp4'" in faces.lost
    with pytest.raises(ValueError, match="trained on 1 of the 2 groups"):
        refuse_leaks(faces, {"a": {"a-long-name-of-a-group"}})


@pytest.mark.parametrize(("fake", "real"), [("1", "0"), ("1.0", "0.0"), (" fake", "Real ")])
def test_labels_are_read_however_they_are_written(tmp_path, fake, real):
    table = labelled(rows("a")).replace({"label": {"FAKE": fake, "REAL": real}})
    assert read_faces([write(tmp_path / "t.csv", table)]).known().label.tolist() == [1, 0]


def test_a_group_called_na_is_a_group(tmp_path):
    table = labelled(rows("a"))
    table["group"] = ["NA", "NA", "null", "null"]
    assert read_faces([write(tmp_path / "t.csv", table)]).known().group.tolist() == ["NA", "null"]


def test_large_numbers_of_frames_and_people_do_not_meet(tmp_path):
    """A frame counted in nanoseconds times a person numbered by a hash is more than 64 bits hold."""
    made = [
        {"filename": v, "member": "a", "frame": f * 10**9, "person": p, "logit": i + f + p / 10**12, "status": "ok"}
        for i, v in enumerate(("x.mp4", "y.mp4"))
        for p in (3, 2**40)
        for f in (1, 9_000_000)
    ]
    faces = read_faces([write(tmp_path / "t.csv", labelled(pd.DataFrame(made)))])
    assert len(faces.logit) == 8
    assert np.diff(faces.layout.video_starts).tolist() == [2, 2]
    assert faces.frame.tolist() == [10**9, 9 * 10**15] * 4


def test_members_of_other_videos_are_a_mistake_unless_allowed(tmp_path):
    first = write(tmp_path / "1.csv", labelled(rows("a")))
    second = write(tmp_path / "2.csv", labelled(rows("b", videos=("y.mp4",))))
    with pytest.raises(ValueError, match=r"1 of 2 videos have no face.*\(videos by member: a 2, b 1\).*--most-lost"):
        read_faces([first, second])
    assert read_faces([first, second], most_lost=1.0).filename.tolist() == ["y.mp4"]


def test_a_table_that_is_not_utf_8_is_named(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(labelled(rows("a")).to_csv(index=False).encode("utf-16"))
    with pytest.raises(ValueError, match=r"t\.csv is not UTF-8 text"):
        read_faces([path])


def test_the_width_of_a_videos_faces_is_their_median_and_may_be_unknown(tmp_path):
    table = pd.concat([rows("a", frames=3), rows("b", frames=3)])
    table["face_pixels"] = [10.0, 30.0, 20.0, None, None, None] * 2
    faces = read_faces([write(tmp_path / "t.csv", labelled(table))])
    assert faces.face_pixels[0] == 20
    assert np.isnan(faces.face_pixels[1])
    assert faces.known().face_pixels[0] == 20
    assert read_faces([write(tmp_path / "n.csv", labelled(rows("a")))]).known().face_pixels is None
