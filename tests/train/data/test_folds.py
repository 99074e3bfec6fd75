from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.errors import DfdcError
from train.data.audit import audit_folds
from train.data.families import components
from train.data.folds import FoldOptions, make_folds, read_tables, video_table


def dataset(parts: int = 50, families: int = 4, fakes: int = 3) -> pd.DataFrame:
    """In each part some families of a real and its fakes, two faces per video."""
    rows = []
    for part in range(parts):
        for family in range(families):
            real = f"r{part:02d}{family}.mp4"
            names = [(real, "REAL", "")] + [(f"f{part:02d}{family}{k}.mp4", "FAKE", real) for k in range(fakes)]
            for name, label, original in names:
                row = {"filename": name, "label": label, "original": original, "part": str(part)}
                row |= {"md5": f"md5 of {name}", "person": f"person of {real}"}
                rows += [{"face": f"{name}_{face}", **row} for face in range(2)]
    return pd.DataFrame(rows)


def deal(table: pd.DataFrame, folder: Path, **options) -> tuple[pd.DataFrame, str]:
    table.to_csv(folder / "index.csv", index=False)
    told = make_folds([folder / "index.csv"], folder / "folds.csv", FoldOptions(**options))
    return pd.read_csv(folder / "folds.csv", keep_default_na=False), told


def fold_of(rows: pd.DataFrame, name: str) -> int:
    (fold,) = set(rows.loc[rows["filename"] == name, "fold"])
    return fold


def test_blocks_of_parts_with_the_public_ones_held_out(tmp_path):
    table = dataset()
    rows, told = deal(table, tmp_path)
    assert rows[list(table.columns)].astype(str).equals(table)
    spans = {fold: (mine["part"].min(), mine["part"].max()) for fold, mine in rows.groupby("fold")}
    assert spans == {-1: (0, 2), 0: (3, 12), 1: (13, 22), 2: (23, 31), 3: (32, 40), 4: (41, 49)}
    assert "holdout" in told and "0-2" in told and "0.750" in told
    audit_folds(tmp_path / "folds.csv", "person")


def test_a_family_across_blocks_goes_where_most_of_it_lies_and_with_held_out_parts_out(tmp_path):
    table = dataset()
    table.loc[table["filename"] == "f2000.mp4", "part"] = "45"
    table.loc[table["filename"] == "f3000.mp4", "part"] = "1"
    table.loc[table["filename"].isin(["f4000.mp4", "f4001.mp4", "f4002.mp4"]), "part"] = "5"
    rows, _ = deal(table, tmp_path)
    assert fold_of(rows, "f2000.mp4") == fold_of(rows, "r200.mp4") == 1
    assert fold_of(rows, "f3000.mp4") == fold_of(rows, "r300.mp4") == -1
    assert fold_of(rows, "r400.mp4") == 0


def test_copies_and_people_stay_together_also_by_way_of_others(tmp_path):
    table = dataset()
    table.loc[table["filename"].isin(["r100.mp4", "f4000.mp4"]), "md5"] = "same"
    table.loc[table["filename"].isin(["r400.mp4", "r200.mp4"]), "person"] = "same"
    rows, _ = deal(table, tmp_path, cluster="person")
    assert len({fold_of(rows, name) for name in ("f1000.mp4", "f4001.mp4", "r200.mp4")}) == 1
    rows, _ = deal(table, tmp_path)
    assert fold_of(rows, "f1000.mp4") == fold_of(rows, "f4001.mp4") != fold_of(rows, "r200.mp4")
    group = rows.set_index("filename")["group"]
    assert set(group["f1000.mp4"]) == set(group["r400.mp4"]) != set(group["r200.mp4"])


def test_groups_are_balanced_and_depend_on_the_seed_alone(tmp_path):
    table = dataset(parts=3, families=20)
    rows, _ = deal(table, tmp_path, by="groups", holdout_parts="none")
    reals = rows[rows["label"] == "REAL"].groupby("fold")["filename"].nunique()
    assert reals.tolist() == [12] * 5
    again, _ = deal(table.sample(frac=1, random_state=1), tmp_path, by="groups", holdout_parts="none")
    other, _ = deal(table, tmp_path, by="groups", holdout_parts="none", seed=1)
    first = rows.set_index("face")["fold"]
    assert (again.set_index("face")["fold"].loc[first.index] == first).all()
    assert (other.set_index("face")["fold"].loc[first.index] != first).any()


def test_few_parts_or_none_are_dealt_by_groups(tmp_path):
    rows, _ = deal(dataset(parts=6).drop(columns="part"), tmp_path, folds=3)
    assert set(rows["fold"]) == {0, 1, 2}
    rows, _ = deal(dataset(parts=6), tmp_path, folds=3)
    assert set(rows["fold"]) == {-1, 0, 1, 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 1}, "folds 1"),
        ({"by": "label"}, "by is 'label'"),
        ({"holdout_parts": "2-0"}, "'2-0' cannot be read"),
        ({"holdout_parts": "a"}, "'a' cannot be read"),
        ({"holdout_parts": "0-50"}, "fold 0 of 5 is empty"),
        ({"by": "parts", "folds": 48}, "47 numbered parts do not make 48 folds"),
        ({"cluster": "actor"}, "no column 'actor'"),
    ],
)
def test_mistakes(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        deal(dataset(), tmp_path, **options)


def test_more_mistakes(tmp_path):
    with pytest.raises(ValueError, match="0-2: no video has the number"):
        deal(dataset(5).drop(columns="part"), tmp_path, holdout_parts="0-2")
    with pytest.raises(ValueError, match="'fold' already"):
        deal(dataset(5).assign(fold=1), tmp_path)
    with pytest.raises(ValueError, match="'filename'"):
        deal(dataset(5).drop(columns="filename"), tmp_path)


def test_a_fold_of_one_class_is_told(tmp_path):
    table = dataset(parts=10, families=2, fakes=0)
    table.loc[table["part"].astype(int) > 4, "label"] = "FAKE"
    _, told = deal(table, tmp_path, folds=2, by="parts", holdout_parts="none")
    assert "warning: fold 0 has 10 reals and 0 fakes" in told


# --- audit


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"f2000.mp4": {"fold": 4}}, r"siblings \(original r200.mp4\) in 2 folds: fold 1: .*; fold 4: f2000.mp4"),
        ({"r200.mp4": {"md5": "m"}, "f4500.mp4": {"md5": "m"}}, r"copies \(md5 m\) in 2 folds: .*r200.mp4.*f4500.mp4"),
        ({"r200.mp4": {"person": "p"}, "r450.mp4": {"person": "p"}}, r"person \(person p\) in 2 folds"),
        ({"f1000.mp4": {"fold": 3}}, r"siblings \(original r100.mp4\)"),
    ],
    ids=["sibling", "duplicate", "cluster", "another sibling"],
)
def test_the_audit_names_what_crosses(tmp_path, change, told):
    rows, _ = deal(dataset(), tmp_path)
    for name, values in change.items():
        for column, value in values.items():
            rows.loc[rows["filename"] == name, column] = value
    rows.to_csv(tmp_path / "folds.csv", index=False)
    with pytest.raises(DfdcError, match=told):
        audit_folds(tmp_path / "folds.csv", "person")


def test_the_audit_finds_one_video_in_two_folds(tmp_path):
    rows, _ = deal(dataset(), tmp_path)
    rows.loc[rows["face"] == "r200.mp4_1", "fold"] = 3
    rows.drop(columns=["original", "group"]).to_csv(tmp_path / "folds.csv", index=False)
    with pytest.raises(DfdcError, match=r"video \(filename r200.mp4\) in 2 folds"):
        audit_folds(tmp_path / "folds.csv")


def test_the_audit_says_what_it_could_not_check(tmp_path):
    rows, _ = deal(dataset(), tmp_path)
    rows.drop(columns="md5").to_csv(tmp_path / "folds.csv", index=False)
    told = audit_folds(tmp_path / "folds.csv", "actor")
    assert "not checked: copies (no column 'md5')" in told and "not checked: person (no column 'actor')" in told
    assert "nothing crosses" in told and "checked: siblings (original): 200 values" in told


def test_a_table_without_folds_cannot_be_audited(tmp_path):
    dataset(5).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ValueError, match="'fold'"):
        audit_folds(tmp_path / "t.csv")


# --- components


def test_components_against_repeated_merging():
    rng = np.random.default_rng(0)
    for _ in range(50):
        ties = [{("t", str(v)) for v in rng.integers(0, 25, rng.integers(0, 3))} for _ in range(20)]
        expected = list(range(20))
        for _ in range(20):
            for i in range(20):
                for j in range(20):
                    if ties[i] & ties[j]:
                        expected[i] = expected[j] = min(expected[i], expected[j])
        found = components(ties).tolist()
        assert found == [sorted(set(expected)).index(e) for e in expected]
    assert components([]).tolist() == []


def test_labels_of_0_and_1_with_spaces_are_counted_as_reals_and_fakes(tmp_path):
    table = tmp_path / "index.csv"
    table.write_text("filename,label,part\na.mp4, 1,3\nb.mp4,real,4\n")
    videos = video_table(read_tables([table]))
    assert videos[["fake", "real"]].to_numpy().tolist() == [[True, False], [False, True]]


def test_the_table_of_folds_names_parts_only_where_they_have_numbers(tmp_path):
    table = dataset(parts=12)
    table.loc[table["part"] == "11", "part"] = "own clips"
    lines = deal(table, tmp_path, folds=3)[1].splitlines()
    assert lines[0].endswith("fake share  DFDC's parts")
    assert lines[1].endswith("0.750  0-2")
    assert sum("1 folder without a number" in line for line in lines) == 1
    plain = deal(table.assign(part="own clips"), tmp_path, folds=3)[1].splitlines()
    assert plain[0].endswith("fake share") and plain[1].endswith("0.750")
