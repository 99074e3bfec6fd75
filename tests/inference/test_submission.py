import os

import pandas as pd
import pytest

from common.errors import DfdcError
from inference.submission import read_sample, read_submission, validate_submission, write_submission

CLIP = (0.01, 0.99)


def test_order_is_kept_and_the_file_is_what_the_scorer_reads(tmp_path):
    path = tmp_path / "submission.csv"
    write_submission(path, {"a.mp4": 0.25, "b.mp4": 0.99}, ["b.mp4", "a.mp4"], CLIP)
    assert path.read_text() == "filename,label\nb.mp4,0.990000\na.mp4,0.250000\n"


@pytest.mark.parametrize("value", [float("nan"), 0.0, 1.0, 0.995, None])
def test_a_bad_probability_leaves_the_old_file(tmp_path, value):
    path = tmp_path / "submission.csv"
    path.write_text("old")
    values = {} if value is None else {"a.mp4": value}
    with pytest.raises(DfdcError, match=r"'a\.mp4' has the probability"):
        write_submission(path, values, ["a.mp4"], CLIP)
    assert [p.name for p in tmp_path.iterdir()] == ["submission.csv"]
    assert path.read_text() == "old"


def test_a_video_outside_the_order_is_an_error(tmp_path):
    with pytest.raises(DfdcError, match=r"1 videos are not in its order, the first is 'b\.mp4'"):
        write_submission(tmp_path / "s.csv", {"a.mp4": 0.5, "b.mp4": 0.5}, ["a.mp4"], CLIP)


def test_what_is_written_is_checked_before_it_is_put_in_place(tmp_path, monkeypatch):
    def spoilt(self, **_):
        return "filename,label\na.mp4,7\n"

    monkeypatch.setattr(pd.DataFrame, "to_csv", spoilt)
    with pytest.raises(DfdcError, match="has the probability 7"):
        write_submission(tmp_path / "s.csv", {"a.mp4": 0.5}, ["a.mp4"], CLIP)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", ["name,label\na.mp4,0.5\n", "filename,label\nb.mp4,0.5\n", "filename,label\na.mp4,\n", "filename,label\n"]
)
def test_a_wrong_submission_does_not_pass(tmp_path, text):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(DfdcError, match=r"s\.csv"):
        validate_submission(tmp_path / "s.csv", ["a.mp4"])


def test_names_that_look_like_numbers_stay_names(tmp_path):
    write_submission(tmp_path / "s.csv", {"007": 0.5, "1e3": 0.5, "NA": 0.5}, ["007", "1e3", "NA"], CLIP)
    (tmp_path / "sample.csv").write_text("filename,label\n007,0.5\nNA,0.5\n")
    assert read_sample(tmp_path / "sample.csv") == ["007", "NA"]


@pytest.mark.parametrize("text", ["id,label\na,0\n", "filename,label\na,0\na,0\n"])
def test_a_bad_sample_is_refused(tmp_path, text):
    (tmp_path / "sample.csv").write_text(text)
    with pytest.raises(ValueError, match=r"sample\.csv"):
        read_sample(tmp_path / "sample.csv")


def test_a_name_that_is_no_utf_8_goes_through_as_it_is(tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    write_submission(tmp_path / "s.csv", {name: 0.5}, [name], CLIP)
    assert (tmp_path / "s.csv").read_bytes() == b"filename,label\ncaf\xe9.mp4,0.500000\n"
    assert read_sample(tmp_path / "s.csv") == [name]


@pytest.mark.parametrize("name", ["car\rret.mp4", "line\nfeed.mp4", 'a "word", and one.mp4'])
def test_a_name_of_odd_letters_goes_through_as_it_is(tmp_path, name):
    write_submission(tmp_path / "s.csv", {name: 0.5, "b.mp4": 0.25}, [name, "b.mp4"], CLIP)
    assert read_sample(tmp_path / "s.csv") == [name, "b.mp4"]
    assert read_submission(tmp_path / "s.csv") == {name: 0.5, "b.mp4": 0.25}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "sample.csv is not a sample submission"),
        ("filename,label\n", "names no video"),
        ("filename,label\na.mp4,0.5,\n", "a row has more than 2 fields; is there a comma at the end"),
        ("filename,label\na.mp4,0.5\nb.mp4,0.5,\n", "is not a sample submission"),
        ("filename,label\na.mp4,0.5\na.mp4,0.5\n", "more than once"),
    ],
)
def test_a_sample_that_is_none_is_refused(tmp_path, text, reason):
    (tmp_path / "sample.csv").write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_sample(tmp_path / "sample.csv")
