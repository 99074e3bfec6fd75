"""Which faces a run trains on, and which it validates on."""

import pytest

from tests.train.data.test_dataset import make_faces
from train.data.load import load_data


def test_a_leak_between_training_and_validation_is_refused(tmp_path):
    table = make_faces(tmp_path / "crops")
    table.loc[0, "original_group"] = table["original_group"].iloc[-1]
    table.to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(ValueError, match="1 groups are in training and in validation"):
        load_data([tmp_path / "crops"], tmp_path / "labels.csv")


def folded(tmp_path, **columns):
    table = make_faces(tmp_path / "crops", count=48).drop(columns="split")
    table.assign(**columns).to_csv(tmp_path / "labels.csv", index=False)
    return [tmp_path / "crops"], tmp_path / "labels.csv"


def test_a_fold_is_validated_on_and_the_holdout_left_alone(tmp_path):
    crops, labels = folded(tmp_path, fold=[i // 3 % 4 - 1 for i in range(48)])
    data = load_data(crops, labels, fold=1)
    assert set(data.val["fold"]) == {"1"}
    assert set(data.train["fold"]) == {"0", "2"}
    assert data.fold == 1
    with pytest.raises(ValueError, match="0 validation faces"):
        load_data(crops, labels, fold=7)


def test_a_share_of_the_groups_is_validated_on_where_nothing_else_is_said(tmp_path):
    crops, labels = folded(tmp_path)
    data = load_data(crops, labels, val_share=0.25)
    assert data.val["group"].nunique() == 4
    assert not set(data.val["group"]) & set(data.train["group"])
    assert load_data(crops, labels, val_share=0.25).val["face"].tolist() == data.val["face"].tolist()
    for options, message in (({}, "needs a column 'split'"), ({"fold": 0}, "no column 'fold'")):
        with pytest.raises(ValueError, match=message):
            load_data(crops, labels, **options)


def test_data_without_validation_is_refused(tmp_path):
    make_faces(tmp_path / "crops").assign(split="train").to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(ValueError, match="24 training and 0 validation faces"):
        load_data([tmp_path / "crops"], tmp_path / "labels.csv")


def test_rows_without_a_label_or_a_crop_are_counted_and_refused_above_a_share(tmp_path):
    table = make_faces(tmp_path / "crops", count=48)
    table.loc[:1, "label"] = ["", "maybe"]
    table.loc[2, "face"] = "gone.png"
    table.to_csv(tmp_path / "labels.csv", index=False)
    told = (
        r"45 of 48 rows kept; dropped: 2 with a label that is not REAL or FAKE, the first is ''; 1 whose crop is in "
        r"none of the sources, the first is 'gone.png'"
    )
    data = load_data([tmp_path / "crops"], tmp_path / "labels.csv")
    assert str(data.dropped) == told
    assert len(data.train) + len(data.val) == 45
    with pytest.raises(ValueError, match=f"labels.csv: {told}. That is more than a share of 0.05: .*--max-dropped"):
        load_data([tmp_path / "crops"], tmp_path / "labels.csv", max_dropped=0.05)
