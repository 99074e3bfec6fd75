import json
from pathlib import Path

import pytest

from train.data.metadata import part_name, read_videos


def make_part(folder: Path, entries: dict, files: list[str]) -> Path:
    folder.mkdir(parents=True)
    (folder / "metadata.json").write_text(json.dumps(entries))
    for name in files:
        (folder / name).write_bytes(b"x")
    return folder


REAL = {"label": "REAL", "split": "train"}


@pytest.mark.parametrize("none", [REAL, {**REAL, "original": None}, {**REAL, "original": "NAN"},
                                  {**REAL, "original": ""}, {**REAL, "original": float("nan")}])  # fmt: skip
def test_every_way_to_say_that_there_is_no_original(tmp_path, none):
    part = make_part(tmp_path / "dfdc_train_part_07", {"a.mp4": none}, ["a.mp4"])
    (video,) = read_videos([part])
    assert (video.original, video.group, video.label, video.part, video.split) == ("", "a.mp4", "REAL", "7", "train")


def test_parts_in_the_order_of_their_numbers_and_what_is_missing(tmp_path):
    fake = {"label": "fake", "split": "train", "original": "r.mp4"}
    make_part(tmp_path / "dfdc_train_part_10", {"r.mp4": REAL, "gone.mp4": REAL}, ["r.mp4"])
    make_part(tmp_path / "dfdc_train_part_2", {"z.mp4": fake}, ["z.mp4", "extra.mp4", "notes.txt"])
    make_part(tmp_path / "more", {"m.mp4": REAL}, ["m.mp4"])
    found = read_videos([tmp_path])
    assert [(v.part, v.filename) for v in found] == [
        ("2", "extra.mp4"), ("2", "z.mp4"), ("10", "gone.mp4"), ("10", "r.mp4"), ("more", "m.mp4"),
    ]  # fmt: skip
    by_name = {v.filename: v for v in found}
    assert by_name["gone.mp4"].path is None and by_name["gone.mp4"].known
    assert by_name["extra.mp4"].path is not None and not by_name["extra.mp4"].known
    assert (by_name["z.mp4"].label, by_name["z.mp4"].group) == ("FAKE", "r.mp4")


@pytest.mark.parametrize(
    ("folder", "part"),
    [("dfdc_train_part_07", "7"), ("dfdc_train_part_0", "0"), ("49", "49"), ("clips", "clips"), ("v2b", "v2b")],
)
def test_part_names(folder, part):
    assert part_name(folder) == part


def test_a_csv_instead(tmp_path):
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (tmp_path / name).write_bytes(b"x")
    labels = tmp_path / "labels.csv"
    labels.write_text("filename,label,original,part,group\na.mp4,FAKE,b.mp4,05,\nb.mp4,real,,,pair\nd.mp4,FAKE,,,\n")
    found = {v.filename: v for v in read_videos([tmp_path], labels)}
    assert (found["a.mp4"].original, found["a.mp4"].group, found["a.mp4"].part) == ("b.mp4", "b.mp4", "5")
    assert (found["b.mp4"].label, found["b.mp4"].group) == ("REAL", "pair")
    assert found["d.mp4"].path is None and not found["c.mp4"].known


def test_metadata_json_by_its_path_and_labels_of_0_and_1(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"x")
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({"a.mp4": {"label": 1, "original": "b.mp4"}, "b.mp4": {"label": 0}}))
    found = [(v.filename, v.label, v.group) for v in read_videos([tmp_path], labels)]
    assert found == [("a.mp4", "FAKE", "b.mp4"), ("b.mp4", "REAL", "b.mp4")]


def test_a_video_without_a_label_is_counted_and_the_others_are_read(tmp_path, capsys):
    part = make_part(tmp_path / "p_1", {"a.mp4": REAL, "b.mp4": {"split": "train"}}, ["a.mp4", "b.mp4"])
    assert [(v.filename, v.known) for v in read_videos([part])] == [("a.mp4", True), ("b.mp4", False)]
    assert "1 of 2 labels are neither REAL nor FAKE: empty 1" in capsys.readouterr().err


def test_a_table_of_faces_says_one_thing_per_video(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    labels = tmp_path / "labels.csv"
    labels.write_text("face,filename,label\na_1.jpg,a.mp4,REAL\na_2.jpg,a.mp4,REAL\n")
    assert [v.group for v in read_videos([tmp_path], labels)] == ["a.mp4"]
    labels.write_text("face,filename,label,split\na_1.jpg,a.mp4,REAL,val\na_2.jpg,a.mp4,REAL,train\n")
    with pytest.raises(ValueError, match=r"different things of 'a.mp4'"):
        read_videos([tmp_path], labels)
    labels.write_text("face,filename,label\na_1.jpg,a.mp4,REAL\na_2.jpg,a.mp4,FAKE\n")
    with pytest.raises(ValueError, match=r"REAL and FAKE of 'a.mp4'"):
        read_videos([tmp_path], labels)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "holds a list"),
        ('{"a.mp4": {"split": "train"}}', "nothing is known of the 1 videos"),
        ('{"a.mp4": "FAKE"}', "'a.mp4' has no facts"),
        ("{}", "nothing is known of the 1 videos"),
    ],
)
def test_metadata_that_cannot_be_used(tmp_path, entries, message):
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "metadata.json").write_text(entries)
    with pytest.raises(ValueError, match=message):
        read_videos([tmp_path])


def test_inputs_that_cannot_be_used(tmp_path):
    with pytest.raises(ValueError, match="nowhere does not exist"):
        read_videos([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match="holds no video"):
        read_videos([tmp_path])
    make_part(tmp_path / "a", {"x.mp4": REAL}, ["x.mp4"])
    make_part(tmp_path / "b", {"y.mp4": REAL}, ["x.mp4"])
    with pytest.raises(ValueError, match="have one name"):
        read_videos([tmp_path])


def test_one_name_in_two_parts_or_with_two_endings(tmp_path):
    make_part(tmp_path / "p_1", {"x.mp4": REAL}, ["x.mp4"])
    make_part(tmp_path / "p_2", {"x.mp4": REAL}, [])
    with pytest.raises(ValueError, match=r"'x.mp4', which is in part '1' too"):
        read_videos([tmp_path])
    part = make_part(tmp_path / "other" / "p_3", {"x.mp4": REAL, "x.mov": REAL}, ["x.mp4"])
    with pytest.raises(ValueError, match="would have faces of one name"):
        read_videos([part])
