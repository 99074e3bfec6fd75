"""A run is copied away from its machine whole or not at all, and goes on from the copy."""

import json
import threading

import pytest
import torch

from common.errors import DfdcError
from tests.waiting import wait_until
from train.checkpoint import TENSORS, RunState, read_latest, write_checkpoint
from train.mirror import POINTER, Mirror


def state(step):
    return RunState({key: {"weight": torch.full((1000,), float(step))} for key in TENSORS}, {"step": step})


def save(folder, step):
    write_checkpoint(folder / "last.pt", state(step))
    (folder / "best.pt").write_bytes(b"best of %d" % (step // 2))
    (folder / "history.csv").write_text(f"step\n{step}\n")


def step_of(folder):
    return read_latest(folder).facts["step"]


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.slow)])
def url(request, tmp_path):
    return f"{request.getfixturevalue('bucket')}/runs/one" if request.param == "s3" else f"file://{tmp_path}/mirror"


@pytest.fixture
def here(tmp_path):
    (tmp_path / "a").mkdir()
    return tmp_path / "a"


@pytest.fixture
def there(tmp_path):
    (tmp_path / "b").mkdir()
    return tmp_path / "b"


def sent(mirror, folder, step):
    save(folder, step)
    mirror.send(folder, step)
    mirror.close()


def test_a_fresh_folder_goes_on_from_the_mirror(url, here, there):
    mirror = Mirror(url)
    mirror.restore(here)
    assert not list(here.iterdir())  # a mirror that holds nothing
    for step in (2, 4, 6):
        sent(mirror, here, step)
    Mirror(url).restore(there)
    assert step_of(there) == 6
    assert {path.name for path in there.iterdir()} == {"last.pt", "best.pt", "history.csv"}
    assert (there / "history.csv").read_text() == "step\n6\n"
    assert not list(here.glob(".mirror*"))
    # Two states stay, and what only older ones had is gone.
    assert len([name for name in mirror.fs.ls(mirror.root, detail=False) if name.endswith("last.pt")]) == 2


def test_a_step_that_is_saved_twice_is_copied_twice(url, here, there):
    """Before its validation and after it: the second copy must not write over the first, which is in force."""
    mirror = Mirror(url)
    sent(mirror, here, 2)
    first = set(mirror.fs.ls(mirror.root, detail=False))
    write_checkpoint(here / "last.pt", RunState(state(2).tensors, {"step": 2, "epoch": 1}))
    mirror.send(here, 2)
    mirror.close()
    mirror.fs.invalidate_cache()
    assert len({*first, *mirror.fs.ls(mirror.root, detail=False)} - first) == 1
    Mirror(url).restore(there)
    assert read_latest(there).facts["epoch"] == 1


def test_the_folder_wins_where_it_is_ahead(url, here, there):
    sent(Mirror(url), here, 4)
    save(there, 5)
    Mirror(url).restore(there)
    assert step_of(there) == 5
    write_checkpoint(there / "last.pt", state(3))
    Mirror(url).restore(there)
    assert step_of(there) == 4


def test_an_upload_that_is_cut_leaves_the_one_before_in_force(url, here, there, monkeypatch, capsys):
    mirror = Mirror(url)
    sent(mirror, here, 2)
    put = mirror.fs.put_file

    def cut(source, target, **options):
        if target.endswith("last.pt"):
            raise OSError("the line is cut")
        return put(source, target, **options)

    with monkeypatch.context() as patch:
        patch.setattr(mirror.fs, "put_file", cut)
        with pytest.raises(DfdcError, match=r"step 4 could not be copied: the line is cut"):
            sent(mirror, here, 4)
    assert "step 4 could not be copied" in capsys.readouterr().err
    Mirror(url).restore(there)
    assert step_of(there) == 2
    sent(mirror, here, 5)  # the next save is copied as if nothing had happened
    Mirror(url).restore(there)
    assert step_of(there) == 5


def test_a_damaged_copy_falls_back_to_the_one_before(url, here, there, capsys):
    mirror = Mirror(url)
    for step in (2, 4):
        sent(mirror, here, step)
    states = json.loads(mirror.fs.cat_file(f"{mirror.root}/{POINTER}"))["states"]
    mirror.fs.pipe_file(f"{mirror.root}/{states[0]['files']['last.pt']['object']}", b"damaged")
    mirror.fs.invalidate_cache()
    Mirror(url).restore(there)
    assert step_of(there) == 2
    assert "step 4 cannot be fetched" in capsys.readouterr().err


def test_the_newest_save_is_copied_where_the_line_is_slow(tmp_path, here, there, monkeypatch):
    """Training does not wait for an upload, and what was saved meanwhile is copied next, the newest alone."""
    mirror, go_on, copied = Mirror(f"file://{tmp_path}/mirror"), threading.Event(), []
    upload = Mirror._upload

    def slow(self, files, step):
        copied.append(step)
        go_on.wait()
        upload(self, files, step)

    monkeypatch.setattr(Mirror, "_upload", slow)
    for step in (2, 4, 6, 8):
        save(here, step)
        mirror.send(here, step)
        wait_until(lambda: copied, "the first upload begins")
    go_on.set()
    mirror.close()
    assert copied == [2, 8]
    Mirror(mirror.url).restore(there)
    assert step_of(there) == 8


def test_an_unknown_kind_of_storage_is_refused():
    with pytest.raises(ValueError, match=r"--mirror moon://base: .*s3:// needs the package s3fs"):
        Mirror("moon://base")


def test_a_link_is_a_copy_where_there_are_no_links(tmp_path, here, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    mirror = Mirror(f"file://{tmp_path}/mirror")
    sent(mirror, here, 2)
    assert (tmp_path / "mirror" / POINTER).exists()
