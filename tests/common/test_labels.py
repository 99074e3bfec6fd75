import numpy as np
import pytest

from common.labels import read_labels


def table(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return read_labels(path)


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
