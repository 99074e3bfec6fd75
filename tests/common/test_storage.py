"""Objects on this machine and on S3: whole or not at all, made once, and doubt is told as doubt."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from common.storage import Folder, StorageError
from tests.waiting import LIMIT


@pytest.fixture(params=["file", "s3"])
def folder(request, tmp_path):
    return Folder(f"{request.getfixturevalue('bucket')}/some/where" if request.param == "s3" else str(tmp_path / "a"))


def test_of_writers_at_a_time_one_makes_the_object(folder):
    start = threading.Barrier(8)

    def write(number):
        start.wait(LIMIT)
        return folder.create("units/raced.json", b"%d" % number)

    with ThreadPoolExecutor(8) as writers:
        made = list(writers.map(write, range(8)))
    assert made.count(True) == 1 and folder.read("units/raced.json") == b"%d" % made.index(True)


def test_a_span_is_read_whole_or_not_at_all(folder):
    folder.write("shard.tar", b"0123456789")
    assert folder.read_span("shard.tar", 3, 4) == b"3456"
    with pytest.raises(StorageError, match=r"shard.tar: 2 bytes from 8 on came, 4 were expected"):
        folder.read_span("shard.tar", 8, 4)
    with pytest.raises(FileNotFoundError):
        folder.read_span("gone.tar", 0, 4)


def test_an_object_is_made_once(folder):
    assert folder.create("units/one.json", b"first") is True
    assert folder.create("units/one.json", b"second") is False
    assert folder.read("units/one.json") == b"first"
    folder.write("units/one.json", b"third")
    assert folder.read("units/one.json") == b"third"


def test_what_is_there_is_listed_and_removed(folder, tmp_path):
    assert folder.sizes() == {} and not folder.exists("x/y.mp4")
    (tmp_path / "source").write_bytes(b"12345")
    folder.put(tmp_path / "source", "x/y.mp4")
    folder.write("z.txt", b"one\ntwo\n")
    assert folder.sizes() == {"x/y.mp4": 5, "z.txt": 8} and folder.exists("x/y.mp4")
    assert list(folder.lines("z.txt")) == ["one", "two"]
    folder.remove("z.txt")
    folder.remove("z.txt")
    assert folder.sizes() == {"x/y.mp4": 5}
    with pytest.raises(FileNotFoundError):
        folder.read("z.txt")


def test_a_read_that_ends_early_is_no_file(folder, tmp_path):
    folder.write("video.mp4", b"1234")
    folder.fetch("video.mp4", tmp_path / "whole", 4)
    assert (tmp_path / "whole").read_bytes() == b"1234"
    with pytest.raises(StorageError, match=r"video.mp4: 4 bytes came, 5 were expected"):
        folder.fetch("video.mp4", tmp_path / "cut", 5)
    assert not (tmp_path / "cut").exists()
    with pytest.raises(FileNotFoundError):
        folder.fetch("gone.mp4", tmp_path / "gone")


@pytest.mark.parametrize("error", [TimeoutError("slow"), PermissionError("no"), RuntimeError("503 Slow Down")])
def test_every_other_trouble_is_one_error(folder, monkeypatch, error):
    def fail(*_, **__):
        raise error

    for name in ("cat_file", "pipe_file", "info", "find"):
        monkeypatch.setattr(folder.fs, name, fail)
    for call in (lambda: folder.read("a"), lambda: folder.exists("a"), folder.sizes):
        with pytest.raises(StorageError, match=type(error).__name__):
            call()


def test_an_unknown_kind_of_storage_is_refused():
    with pytest.raises(ValueError, match=r"moon://base: .*s3:// needs the package s3fs"):
        Folder("moon://base")
