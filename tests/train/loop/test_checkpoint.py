"""The checkpoint file: what older versions wrote is read, what belongs to another run is refused."""

import dataclasses
import errno
import shutil

import pytest
import torch

from common.errors import DfdcError
from tests.train.data.test_dataset import make_faces
from tests.train.running import CONFIG, run
from train.checkpoint import (
    TENSORS,
    RunState,
    read_checkpoint,
    read_latest,
    remove_leftovers,
    write_checkpoint,
)
from train.data.load import load_data
from train.data.table import SPLITS
from train.distributed import Machine
from train.loop import Trainer
from train.state import take_state

OLD_KEYS = (
    "config", "world", "model", "ema", "optimizer", "scaler", "rng", "cuda_rng", "loss_sum", "epoch", "step",
    "seconds", "best", "history",
)  # fmt: skip
SHORT = dataclasses.replace(CONFIG, epochs=2, small_epochs=0)


@pytest.fixture
def table(tmp_path):
    return make_faces(tmp_path / "crops", count=24)


def load(tmp_path, table, fold=None):
    table.to_csv(tmp_path / "labels.csv", index=False)
    return load_data([tmp_path / "crops"], tmp_path / "labels.csv", fold)


def write_as_before(run, path):
    """The layout of the file before it held `data`: one flat dictionary, made out of the trainer's parts."""
    torch.save(
        {
            "config": dataclasses.asdict(run.config),
            "world": run.team.world,
            "model": run.model.state_dict(),
            "ema": run.ema.module.state_dict(),
            "optimizer": run.optimizer.state_dict(),
            "scaler": run.scaler.state_dict(),
            "rng": run.team.gather(torch.get_rng_state()),
            "cuda_rng": run.team.gather(None),
            "loss_sum": run.team.gather(run.loss_sum),
            "epoch": run.epoch,
            "step": run.step,
            "seconds": run.seconds,
            "best": run.best,
            "history": run.history,
        },
        path,
    )


@pytest.mark.slow
def test_a_checkpoint_of_an_older_version_is_gone_on_from(tmp_path, table, monkeypatch):
    """Paused after an epoch with the old file: the same member, bit for bit, as undisturbed."""
    data = load(tmp_path, table)
    whole = run(data, tmp_path / "whole", SHORT)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save", lambda self: write_as_before(self, self.folder / "last.pt"))
        assert run(data, tmp_path / "old", SHORT, until=1) is None
    assert set(torch.load(tmp_path / "old/last.pt", weights_only=True)) == set(OLD_KEYS)
    assert run(data, tmp_path / "old", SHORT).sha256 == whole.sha256


def test_the_file_keeps_its_layout_and_comes_back_as_it_was(tmp_path, table):
    trainer = Trainer(SHORT, load(tmp_path, table), tmp_path / "run", Machine(torch.device("cpu"), 0))
    state = take_state(trainer)
    write_checkpoint(tmp_path / "last.pt", state)
    assert set(torch.load(tmp_path / "last.pt", weights_only=True)) == {*OLD_KEYS, "data", "seams", "extended"}
    back = read_checkpoint(tmp_path / "last.pt")
    assert back.facts == state.facts
    assert set(back.tensors) == set(TENSORS)
    for key, value in state.tensors["model"].items():
        assert torch.equal(back.tensors["model"][key], value)
    with pytest.raises(ValueError, match="tensors are"):
        write_checkpoint(tmp_path / "last.pt", RunState({}, {}))


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    torch.save({"model": {}}, tmp_path / "last.pt")
    with pytest.raises(DfdcError, match="has no cuda_rng, ema, optimizer, rng, scaler"):
        read_checkpoint(tmp_path / "last.pt")


def flipped_label(table):
    """One training face has another label; rows and groups stay."""
    row = table.index[table["split"] == "train"][0]
    label = "REAL" if table.loc[row, "label"] == "FAKE" else "FAKE"
    table = table.copy()
    table.loc[row, "label"] = label
    return table


CHANGES = {
    "fewer rows": (lambda t: t.drop(t.index[t["split"] == "train"][:1]), "train_rows was"),
    "another label": (flipped_label, "train_labels_sha256 was"),
    "another group": (
        lambda t: t.assign(original_group=t["original_group"].where(t.index > 0, "else")),
        "train_groups_sha256 was",
    ),
    "another order": (lambda t: t.iloc[::-1], "train_faces_sha256 was"),
    "another validation": (lambda t: t.drop(t.index[t["split"] == "val"][:1]), "val_rows was"),
}


@pytest.mark.parametrize(
    "change", [pytest.param(name, marks=() if name == "another group" else pytest.mark.slow) for name in CHANGES]
)
def test_a_run_does_not_go_on_with_other_data(tmp_path, table, change):
    apply, told = CHANGES[change]
    assert run(load(tmp_path, table), tmp_path / "run", SHORT, until=1) is None
    with pytest.raises(ValueError, match=rf"was trained on other data \(.*{told}"):
        run(load(tmp_path, apply(table)), tmp_path / "run", SHORT)
    assert run(load(tmp_path, table), tmp_path / "run", SHORT) is not None


def test_a_run_does_not_go_on_with_another_fold(tmp_path, table):
    """Else the second fold would be called held out, and most of it has been trained on."""
    folded = table.drop(columns="split").assign(fold=[row // 3 % 3 for row in range(len(table))])
    assert run(load(tmp_path, folded, 0), tmp_path / "run", SHORT, until=1) is None
    with pytest.raises(ValueError, match=r"was trained on other data \(fold was 0, is 1"):
        run(load(tmp_path, folded, 1), tmp_path / "run", SHORT)


def test_rows_of_the_test_split_are_left_alone(tmp_path, table):
    split = table["split"].where(table.index >= 3, "test")
    data = load(tmp_path, table.assign(split=split))
    assert set(data.train["split"]) == {"train"}
    assert set(data.val["split"]) == {"val"}
    assert len(data.train) + len(data.val) == len(table) - 3


@pytest.mark.parametrize("name", ["", "validation", "Train"])
def test_another_split_is_refused_with_what_was_found(tmp_path, table, name):
    split = table["split"].where(table.index >= 2, name)
    with pytest.raises(ValueError, match=rf"'split' of .*'{name}' \(2 faces\).*may hold {', '.join(SPLITS)}"):
        load(tmp_path, table.assign(split=split))


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, table, capsys):
    """One byte of the last file is another: the run goes on from the older one and ends as undisturbed."""
    data = load(tmp_path, table)
    whole = run(data, tmp_path / "whole", SHORT)
    assert run(data, tmp_path / "run", SHORT, until=1, checkpoint_every=1) is None
    content = bytearray((tmp_path / "run/last.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "run/last.pt").write_bytes(content)
    assert run(data, tmp_path / "run", SHORT).sha256 == whole.sha256
    told = capsys.readouterr().err
    assert "last.pt is damaged" in told
    assert "going on from" in told and "previous.pt, which is older" in told


def test_a_run_whose_checkpoints_are_all_damaged_does_not_start_again(tmp_path):
    for name in ("last.pt", "previous.pt"):
        (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(DfdcError, match=r"all checkpoints in .* are damaged"):
        read_latest(tmp_path)
    assert read_latest(tmp_path / "empty") is None


def state(value):
    return RunState({key: {"weight": torch.full((1000,), value)} for key in TENSORS}, {"step": int(value)})


def test_a_kill_between_the_two_renames_leaves_the_older_checkpoint(tmp_path):
    write_checkpoint(tmp_path / "last.pt", state(1.0))
    write_checkpoint(tmp_path / "last.pt", state(2.0))
    assert read_latest(tmp_path).facts["step"] == 2
    (tmp_path / "last.pt").unlink()
    assert read_latest(tmp_path).facts["step"] == 1


def test_what_a_killed_save_left_is_removed(tmp_path):
    write_checkpoint(tmp_path / "last.pt", state(1.0))
    (tmp_path / ".last.pt.abc.tmp").write_bytes(b"half")
    (tmp_path / ".export.abc").mkdir()
    (tmp_path / ".export.abc/tiny.safetensors").write_bytes(b"half")
    assert remove_leftovers(tmp_path) == [".export.abc", ".last.pt.abc.tmp"]
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def full_before(monkeypatch):
    monkeypatch.setattr("train.checkpoint.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 500))


def full_while_writing(monkeypatch):
    def half(_content, path):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("train.checkpoint.torch.save", half)


@pytest.mark.parametrize("full", [full_before, full_while_writing])
def test_a_full_disk_keeps_the_old_checkpoint_and_says_how_much_is_needed(tmp_path, monkeypatch, full):
    write_checkpoint(tmp_path / "last.pt", state(1.0))
    with monkeypatch.context() as patch:
        full(patch)
        with pytest.raises(DfdcError, match=r"no room for .*last.pt: it needs about 1 MB, .* MB are free"):
            write_checkpoint(tmp_path / "last.pt", state(2.0))
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
    assert read_latest(tmp_path).facts["step"] == 1
