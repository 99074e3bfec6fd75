import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from common.files import atomic_path, harmless, refuse_overwriting, sha256_of, write_text


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture(params=[0o022, 0o027, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_success_replaces_the_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    target.write_text("a much longer old text")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "a much longer old text"
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a.csv"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_raise_in_the_body_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "a.csv"
    target.write_text("old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("half of the ne")
        raise error
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.csv"]


def test_a_raise_in_the_body_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a.csv"):
        raise RuntimeError
    assert names(tmp_path) == []


def test_a_failing_rename_removes_the_temporary_file(tmp_path: Path) -> None:
    with pytest.raises(OSError), atomic_path(tmp_path / "a.csv") as temporary:
        temporary.write_text("new")
        (tmp_path / "a.csv").mkdir()
    assert names(tmp_path) == ["a.csv"]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Renamed onto, /dev/stdout would be gone for everybody."""
    make(tmp_path / "a.csv")
    with pytest.raises(OSError, match="is no regular file"):
        write_text(tmp_path / "a.csv", "x")
    with pytest.raises(ValueError, match="is no regular file"):
        refuse_overwriting((), (tmp_path / "a.csv",))
    assert names(tmp_path) == ["a.csv"]
    assert not (tmp_path / "a.csv").is_file()


def test_the_temporary_file_lies_beside_the_target(tmp_path: Path) -> None:
    """A rename is atomic on one file system only."""
    with atomic_path(tmp_path / "a.csv") as temporary:
        assert temporary.parent == tmp_path


def test_missing_parents_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "b" / "c" / "a.csv", "x")
    assert (tmp_path / "b" / "c" / "a.csv").read_text() == "x"


@pytest.mark.parametrize("old_mode", [None, 0o600])
def test_permissions_follow_the_umask(tmp_path: Path, umask: int, old_mode: int | None) -> None:
    target = tmp_path / "a.csv"
    if old_mode is not None:
        target.touch(old_mode)
    write_text(target, "x")
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask


def test_the_umask_itself_stays(tmp_path: Path, umask: int) -> None:
    write_text(tmp_path / "a.csv", "x")
    now = os.umask(umask)
    assert now == umask


def test_text_is_utf8_with_unix_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "é\nb\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\nb\n"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),  # FIPS 180-4, appendix
        (b"x" * 3_000_001, hashlib.sha256(b"x" * 3_000_001).hexdigest()),  # longer than a block
    ],
    ids=["empty", "abc", "long"],
)
def test_sha256_of(tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    assert sha256_of(path) == expected


@pytest.mark.parametrize("cell", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "-clip.mp4"])
def test_a_cell_that_a_spreadsheet_would_run_is_text(cell):
    assert harmless(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["a.mp4", "", "-1.5", "+3", "-inf", -1.5, 3, None, "'=1"])
def test_other_cells_stay_as_they_are(cell):
    assert harmless(cell) is cell


def test_outputs_are_neither_inputs_nor_each_other(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.csv"):
        (tmp_path / name).touch()
    (tmp_path / "link.csv").symlink_to(tmp_path / "a.mp4")
    a, b = tmp_path / "a.mp4", tmp_path / "b.csv"
    refuse_overwriting((a, None), (b, None, tmp_path / "c.html"))
    for written in ((a,), (tmp_path / "link.csv",), (tmp_path / "x" / ".." / "a.mp4",)):
        with pytest.raises(ValueError, match="is read, and would be written over"):
            refuse_overwriting((a,), written)
    with pytest.raises(ValueError, match="would be written twice"):
        refuse_overwriting((a,), (b, None, b))
