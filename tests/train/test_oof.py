"""Held-out tables, scored by OpenVINO where it is installed, while training keeps to torch."""

import dataclasses

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from common.errors import DfdcError
from common.files import write_text
from dfdc import app
from faces.crop import CropSpec, box_inside_crop, cut
from faces.store import CropStore
from models.backend import LoadedMember
from models.checkpoint import Card, load_member, read_card, save_member
from models.network import build_backbone
from models.registry import TIGHT
from train.data.table import group_digests, groups_sha256
from train.holdout import HoldoutRequest, score_holdout, write_holdout
from train.oof import score_oof
from train.scored_table import COLUMNS, Source, check_ending, write_table

CPU = torch.device("cpu")
SMALL = CropSpec("small", size=64, margin=-0.1, pad="edge")


def make_member(folder, name, seed=0):
    """A small network that is not constant: timm's own for tests, which compiles in a moment."""
    torch.manual_seed(seed)
    network = build_backbone("test_efficientnet")
    torch.nn.init.normal_(network.classifier.weight, std=3.0)
    return save_member(folder, Card(name, "test_efficientnet", SMALL, "", 0, 0, ""), network)


@pytest.fixture(scope="module")
def table():
    """Five folds (the last is left out of everything) of two groups, a real and two fakes each."""
    return pd.DataFrame(
        {
            "face": f"f{i:02}.png",
            "filename": f"v{i:02}.mp4",
            "label": "FAKE" if i % 3 else "REAL",
            "original_group": f"g{i // 3}",
            "split": "val" if i >= 18 else "train",
            "fold": -1 if i >= 24 else i // 6,
        }
        for i in range(30)
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory, table):
    folder = tmp_path_factory.mktemp("oof")
    (folder / "crops").mkdir()
    rng = np.random.default_rng(0)
    for name in table["face"]:
        image = cv2.resize(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), (80, 80), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / "crops" / name), image)
    table.to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def runs(place, table):
    """A run for each fold but the last, as `dfdc train --fold K` would leave it, untrained."""
    folders = []
    for fold in range(4):
        trained = table.assign(group=table["original_group"])[~table["fold"].isin((fold, -1))]
        folder = place / f"run{fold}"
        said(folder, make_member(folder, "one", seed=fold), fold=fold, groups_sha256=groups_sha256(trained))
        folders.append(folder)
    return folders


def said(folder, card, **training):
    """Write a card again with something else under `training`."""
    changed = dataclasses.replace(card, training=card.training | training)
    write_text(folder / f"{card.name}.json", changed.to_json())
    return changed


def source(place, labels=None):
    return Source.read([place / "crops"], labels or place / "labels.csv")


def by_hand(place, folder, name, faces, mirror=False):
    """Logits in torch, cut as prediction cuts."""
    card = read_card(folder / f"{name}.json")
    scorer, store = load_member(card, folder), CropStore([place / "crops"])
    images = [store.read(face) for face in faces]
    crops = np.stack([cut(i, box_inside_crop(TIGHT, i.shape[1], i.shape[0]), card.crop) for i in images])
    with torch.inference_mode():
        return scorer(torch.from_numpy(np.ascontiguousarray(crops[:, :, ::-1] if mirror else crops))).numpy()


def test_each_face_is_scored_by_the_run_that_left_it_out(place, table, runs):
    rows = score_oof(list(reversed(runs)), source(place), CPU, flip=False, engine="torch").rows
    assert tuple(rows.columns) == COLUMNS
    assert rows["face"].tolist() == table["face"].tolist()[:24]  # every fold once, the left-out one never
    assert set(rows["member"]) == {"one"}
    assert set(rows["status"]) == {"ok"}
    assert rows["group"].tolist() == table["original_group"].tolist()[:24]
    assert rows["label"].tolist() == table["label"].tolist()[:24]
    for fold in range(4):
        mine = rows[rows["fold"] == str(fold)]
        assert mine["face"].tolist() == table["face"][table["fold"] == fold].tolist()
        np.testing.assert_allclose(mine["logit"], by_hand(place, runs[fold], "one", mine["face"]), atol=1e-4)
    assert rows["logit"].std() > 0.05


def test_flip_averages_a_face_and_its_mirror_image(place, runs):
    rows = score_oof(runs[:1], source(place), CPU, flip=True, engine="torch").rows
    plain = by_hand(place, runs[0], "one", rows["face"])
    mirrored = by_hand(place, runs[0], "one", rows["face"], mirror=True)
    assert np.abs(plain - mirrored).max() > 0.01
    np.testing.assert_allclose(rows["logit"], (plain + mirrored) / 2, atol=1e-4)


def test_a_fold_without_a_run_is_told(place, runs):
    scored = score_oof(runs[:3], source(place), CPU, flip=False, engine="torch")
    assert len(scored.rows) == 18
    assert scored.notes[0] == "no run leaves out fold 3: its faces are not in the table"


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"fold": 1}, "leaves out fold 1, and so does a run before it"),
        ({"fold": "val"}, r"leaves out no fold \('val'\); train it with: dfdc train --fold"),
        ({"fold": None}, "leaves out no fold"),
        ({"groups_sha256": None}, "does not say which groups it was trained on"),
        ({"groups_sha256": "0" * 64}, "the table is not the one this run was trained on"),
    ],
)
def test_runs_that_prove_nothing_are_refused(place, runs, tmp_path, training, message):
    (tmp_path / "one.safetensors").write_bytes((runs[2] / "one.safetensors").read_bytes())
    said(tmp_path, read_card(runs[2] / "one.json"), **training)
    with pytest.raises(ValueError, match=message):
        score_oof([runs[1], tmp_path], source(place), CPU, flip=False, engine="torch")


def test_a_group_in_two_folds_is_a_leak(place, table, tmp_path):
    """The hash agrees with this table, so only the groups themselves can tell."""
    leaky = table.assign(original_group=table["original_group"].replace("g2", "g0"))
    leaky.to_csv(tmp_path / "labels.csv", index=False)
    trained = leaky.assign(group=leaky["original_group"])[~leaky["fold"].isin((0, -1))]
    card = make_member(tmp_path / "run", "one")
    said(tmp_path / "run", card, fold=0, groups_sha256=groups_sha256(trained))
    with pytest.raises(ValueError, match="one was trained on 1 of the groups to score, the first is 'g0'"):
        score_oof([tmp_path / "run"], source(place, tmp_path / "labels.csv"), CPU, flip=False, engine="torch")


def test_crops_of_the_fold_alone_are_enough(place, table, runs, tmp_path):
    for name in table["face"][table["fold"] == 2]:
        (tmp_path / name).write_bytes((place / "crops" / name).read_bytes())
    alone = Source.read([tmp_path], place / "labels.csv")
    rows = score_oof([runs[2]], alone, CPU, flip=False).rows  # by OpenVINO where it is installed
    assert len(rows) == 6
    np.testing.assert_allclose(rows["logit"], by_hand(place, runs[2], "one", rows["face"]), atol=2e-3)


def test_runs_of_two_members_are_not_merged(place, runs, tmp_path):
    card = read_card(runs[1] / "one.json")
    (tmp_path / "two.safetensors").write_bytes((runs[1] / "one.safetensors").read_bytes())
    said(tmp_path, dataclasses.replace(card, name="two"))
    with pytest.raises(ValueError, match=r"these are of \['one', 'two'\]"):
        score_oof([runs[0], tmp_path], source(place), CPU, flip=False, engine="torch")


@pytest.fixture
def member_folder(tmp_path):
    """Two members validated on the rows whose split is "val", the second by a card that does not say so."""
    said(tmp_path, make_member(tmp_path, "a"), fold="rows whose split is not val")
    make_member(tmp_path, "b", seed=1)
    return tmp_path


def test_every_member_scores_the_validation_faces(place, table, member_folder):
    scored = score_holdout(member_folder, source(place), CPU, None, flip=False, engine="torch")
    faces = table["face"].tolist()[18:]
    assert scored.rows["face"].tolist() == faces * 2
    assert scored.rows["member"].tolist() == ["a"] * 12 + ["b"] * 12
    assert set(scored.rows["fold"]) == {"val"}
    np.testing.assert_allclose(scored.rows["logit"][12:], by_hand(place, member_folder, "b", faces), atol=1e-4)
    assert "a: calibrated on these faces" in scored.notes[0]
    assert "b: its card does not say" in scored.notes[1]


def test_a_shrunk_face_is_as_narrow_as_in_the_video_that_it_stands_for(place, member_folder):
    crops = source(place)
    told = dataclasses.replace(crops, table=crops.table.assign(box_x0=5.0, box_x1=45.0))
    rows = score_holdout(member_folder, told, CPU, None, flip=False, engine="torch", degraded=True).rows
    assert (rows["degradation"] == "quarter size").any()
    narrow = rows["degradation"] == "quarter size"
    assert set(rows["face_pixels"][narrow]) == {10.0}
    assert set(rows["face_pixels"][~narrow]) == {40.0}


def test_degraded_faces_are_told_apart_and_clean_ones_are_as_they_were(place, member_folder):
    plain, first, second = (
        score_holdout(member_folder, source(place), CPU, None, flip=False, engine="torch", degraded=d).rows
        for d in (False, True, True)
    )
    pd.testing.assert_frame_equal(first, second)
    assert set(first["degradation"]) <= {"clean", "quarter size", "recompressed", "overlay"}
    assert (first.groupby("filename")["degradation"].nunique() == 1).all()
    clean = (first["degradation"] == "clean").to_numpy()
    assert 0 < clean.sum() < len(clean)
    changed = (first["logit"] - plain["logit"]).abs().to_numpy()
    assert (changed[clean] == 0).all()
    assert (changed[~clean] > 0).all()


def test_a_fold_that_a_member_was_trained_on_is_refused(place, runs):
    with pytest.raises(ValueError, match="one was trained on 2 of the groups to score, the first is 'g2'"):
        score_holdout(runs[0], source(place), CPU, 1, flip=False, engine="torch")
    assert "in-sample" in score_holdout(runs[0], source(place), CPU, 0, flip=False, engine="torch").notes[0]
    assert not score_holdout(runs[0], source(place), CPU, -1, flip=False, engine="torch").notes


def test_a_table_that_no_member_was_trained_with_is_scored_and_shared_groups_refused(place, table, tmp_path):
    """What was learnt is known group by group: another data set is not taken for an overlap, nor the reverse."""
    learnt = pd.DataFrame({"group": ["x1", "x2", "g7"]})
    card = make_member(tmp_path, "one")
    said(tmp_path, card, fold="val", groups=group_digests(learnt[:2]), held_out_groups=group_digests(learnt[2:]))
    assert "one: calibrated on these" in score_holdout(tmp_path, source(place), CPU, None, False, "torch").notes[0]
    said(tmp_path, card, fold="val", groups=group_digests(learnt), held_out_groups="")
    (tmp_path / "one.safetensors").write_bytes(b"damaged")  # the check comes before any network is loaded
    with pytest.raises(ValueError, match="one was trained on 1 of the groups to score, the first is 'g7'"):
        score_holdout(tmp_path, source(place), CPU, None, False, "torch")


def test_faces_of_one_video_are_counted_where_the_table_does_not(place, table, member_folder, tmp_path):
    table.assign(filename="one.mp4").to_csv(tmp_path / "labels.csv", index=False)
    rows = score_holdout(
        member_folder, source(place, tmp_path / "labels.csv"), CPU, None, flip=False, engine="torch"
    ).rows
    assert rows["frame"].tolist() == [*range(12)] * 2
    table.assign(frame=7, person=2).to_csv(tmp_path / "labels.csv", index=False)
    rows = score_holdout(
        member_folder, source(place, tmp_path / "labels.csv"), CPU, None, flip=False, engine="torch"
    ).rows
    assert set(zip(rows["frame"], rows["person"], strict=True)) == {(7, 2)}


def test_broken_weights_are_told_and_not_written(place, tmp_path):
    card, network = make_member(tmp_path, "a"), build_backbone("test_efficientnet")
    torch.nn.init.constant_(network.classifier.bias, float("nan"))
    save_member(tmp_path, card, network)
    with pytest.raises(DfdcError, match=r"'a' gives no finite logit for face 'f18\.png'"):
        score_holdout(tmp_path, source(place), CPU, None, flip=False, engine="torch")


@pytest.mark.parametrize(
    ("change", "fold", "message"),
    [
        ({"fold": ["x"] * 30}, 0, "the fold 'x'; folds are whole numbers"),
        ({"fold": ["1.5"] * 30}, 0, "the fold '1.5'"),
        ({"face": ["f00.png"] * 30, "label": ["FAKE"] * 30}, 0, r"the face 'f00\.png' twice"),
        ({}, 9, "no face with fold 9"),
        ({"split": "train"}, None, "no face with split 'val'"),
    ],
)
def test_tables_that_cannot_be_scored_are_named(place, table, member_folder, tmp_path, change, fold, message):
    table.assign(**change).to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(ValueError, match=message):
        score_holdout(member_folder, source(place, tmp_path / "labels.csv"), CPU, fold, flip=False, engine="torch")


def test_a_table_is_written_by_its_ending_and_whole(tmp_path, monkeypatch):
    rows = pd.DataFrame({"face": ["a"], "logit": [0.123456]})
    write_table(tmp_path / "t.csv", rows)
    assert (tmp_path / "t.csv").read_bytes() == b"face,logit\na,0.123456\n"
    with pytest.raises(ValueError, match=r"t\.json must end in one of \.csv, \.parquet"):
        check_ending(tmp_path / "t.json")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ValueError, match="pip install pyarrow, or name a"):
        check_ending(tmp_path / "t.parquet")


def test_scoring_that_was_stopped_goes_on_and_leaves_nothing_beside_the_table(
    place, member_folder, tmp_path, monkeypatch
):
    output, real, calls = tmp_path / "out" / "h.csv", LoadedMember.logits, []
    request = HoldoutRequest(member_folder, (place / "crops",), place / "labels.csv", output, CPU)

    def stopping(loaded, crops):
        calls.append(loaded.card.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(loaded, crops)

    monkeypatch.setattr("train.kept_logits.PIECE", 3)  # twelve faces: four pieces a member
    monkeypatch.setattr(LoadedMember, "logits", stopping)
    with pytest.raises(KeyboardInterrupt):
        write_holdout(request)
    assert not output.exists()
    scored = write_holdout(request).rows
    assert len(calls) == 3 + 6  # of eight pieces two were known, the third is scored again
    assert [path.name for path in output.parent.iterdir()] == ["h.csv"]
    pd.testing.assert_frame_equal(scored, write_holdout(request).rows)


def test_the_commands_write_the_same_table_twice_and_print_scores(place, runs, tmp_path, monkeypatch):
    monkeypatch.setattr("common.engine.pick_engine", lambda _: "torch")  # compiling takes longer than scoring
    common = ["--crops", str(place / "crops"), "--labels", str(place / "labels.csv"), "--device", "cpu"]
    outputs = []
    for name in ("a.csv", "b.csv"):
        done = CliRunner().invoke(app, ["oof", *map(str, runs[:2]), *common, "-o", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
        outputs.append((tmp_path / name).read_bytes())
    assert outputs[0] == outputs[1]
    assert "log loss (classes half each)" in done.stdout
    assert "fold 1" in done.stdout
    assert "note: no run leaves out fold 2, 3" in done.stderr
    done = CliRunner().invoke(app, ["holdout", str(runs[0]), *common, "--fold", "-1", "-o", str(tmp_path / "h.csv")])
    assert done.exit_code == 0, done.output
    assert len(pd.read_csv(tmp_path / "h.csv")) == 6
