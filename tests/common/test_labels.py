import json

import numpy as np
import pytest

from common.labels import read_label_table, read_labels, text_of


def table(tmp_path, content, name="labels.csv", read=read_labels):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(path)


def test_targets_and_groups(tmp_path):
    read = table(tmp_path, "filename,label,original_group\na.mp4,FAKE,g\nb.mp4,real,\nc.mp4,UNKNOWN,h\n")
    assert read["target"].tolist()[:2] == [1.0, 0.0]
    assert np.isnan(read["target"].iloc[2])
    assert read["group"].tolist() == ["g", "b.mp4", "h"]


def test_without_a_group_every_row_is_its_own(tmp_path):
    assert table(tmp_path, "face,label\na.jpg,FAKE\n")["group"].tolist() == ["a.jpg"]


@pytest.mark.parametrize("header", ["filename,truth", "name,label"])
def test_a_missing_column_is_named(tmp_path, header):
    with pytest.raises(ValueError, match="needs a column 'label' and one of 'face', 'filename'"):
        table(tmp_path, f"{header}\na,b\n")


def test_the_key_that_is_asked_for_is_named(tmp_path):
    with pytest.raises(ValueError, match="needs a column 'label' and 'filename'; it has"):
        table(tmp_path, "face,label\na,FAKE\n", read=lambda path: read_label_table(path, "filename"))


@pytest.mark.parametrize(
    ("written", "label"),
    [("FAKE", "FAKE"), ("fake", "FAKE"), (" Fake ", "FAKE"), ("1", "FAKE"), ("1.0", "FAKE"), (" 1", "FAKE"),
     ("REAL", "REAL"), ("real ", "REAL"), ("0", "REAL"), ("0.0", "REAL"),
     ("maybe", "MAYBE"), ("0.5", "0.5"), ("", ""), ("nan", "")],
)  # fmt: skip
def test_every_way_to_write_a_label(tmp_path, written, label):
    read = table(tmp_path, f"filename, label \na.mp4,{written}\n")
    assert read["label"].tolist() == [label]
    assert read["target"].tolist() == pytest.approx([{"FAKE": 1, "REAL": 0}.get(label, np.nan)], nan_ok=True)


@pytest.mark.parametrize("nothing", ["", " ", "nan", "NAN", "None", "null"])
def test_what_stands_for_nothing_is_no_original_and_no_group(tmp_path, nothing):
    read = table(tmp_path, f"filename,label,original,group\na.mp4,FAKE,{nothing},{nothing}\n")
    assert (read["original"].tolist(), read["group"].tolist()) == ([""], ["a.mp4"])
    assert text_of(nothing) == text_of(None) == text_of(float("nan")) == ""


def test_metadata_json_where_a_table_is_expected(tmp_path):
    content = {"a.mp4": {"label": "FAKE", "original": "b.mp4", "split": "train"}, "b.mp4": {"label": "REAL"}}
    read = table(tmp_path, json.dumps(content), name="labels.csv")
    assert read[["filename", "label", "original", "split"]].to_numpy().tolist() == [
        ["a.mp4", "FAKE", "b.mp4", "train"],
        ["b.mp4", "REAL", "", ""],
    ]
    assert read["target"].tolist() == [1.0, 0.0]


def test_a_table_where_metadata_json_is_expected(tmp_path):
    read = table(tmp_path, "\ufefffilename,label\na.mp4,FAKE\n", name="metadata.json")
    assert read["filename"].tolist() == ["a.mp4"]


@pytest.mark.parametrize("key", ["face", "filename"])
def test_a_name_that_is_real_and_fake_is_refused_by_name(tmp_path, key):
    rows = "a,REAL\nb,0\nb,REAL\nc,?\nc,FAKE\n"
    assert len(table(tmp_path, f"{key},label\n{rows}")) == 5  # said twice, or not known once: no contradiction
    with pytest.raises(ValueError, match="says REAL and FAKE of 'b'"):
        table(tmp_path, f"{key},label\n{rows}b,1\n")


def test_unknown_labels_are_counted_and_said(tmp_path, capsys):
    read = table(tmp_path, "filename,label\na,FAKE\nb,\nc,?\nd,?\n")
    assert len(read) == 4
    said = capsys.readouterr().err
    assert said == f"{tmp_path / 'labels.csv'}: 3 of 4 labels are neither REAL nor FAKE: ? 2, empty 1\n"
    table(tmp_path, "filename,label\na,FAKE\n", name="known.csv")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("filename,label\na,FAKE\n".encode("utf-16"), "UTF-16, as Excel's 'Unicode Text' is"),
        ("filename,label\na,FAKE\n".encode("utf-16-le"), "UTF-16"),
        ("filename,label\na,FAKE\n".encode("utf-16-be"), "UTF-16"),
        (b"PAR1\0\0\0\x15\x04\0\0", "is not text"),
        ("filename,label\né,FAKE\n".encode("latin-1"), "is not UTF-8: .* at byte 15"),
        ("filename;label\na;FAKE\n", "has semicolons between its columns"),
        ("filename\tlabel\na\tFAKE\n", "has tabs between its columns"),
        ("filename,label\na,FAKE,\n", "more values in a row than names in its header 'filename,label'"),
        ("filename,label\na,FAKE\nb,FAKE,,,\n", "cannot be read as CSV"),
        ("", "cannot be read as CSV"),
        ('{"a.mp4": {"label"', "cannot be read as JSON"),
        ("[1]", "holds a list"),
        ('{"a.mp4": "FAKE"}', "'a.mp4' has no facts"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path, content, says):
    with pytest.raises(ValueError, match=says):
        table(tmp_path, content)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"none\.csv cannot be read: No such file"):
        read_labels(tmp_path / "none.csv")


@pytest.mark.parametrize("content", ["{}", '{"a.mp4": {"split": "train"}}', '{"a.mp4": {"label": null}}'])
def test_metadata_without_labels_is_a_table_without_targets(tmp_path, content):
    assert read_labels_count(tmp_path, content) == 0


def read_labels_count(tmp_path, content):
    return int(table(tmp_path, content, name="metadata.json")["target"].notna().sum())
