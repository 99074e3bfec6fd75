"""Which files a run is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.videos import as_named, find_videos, gather_videos, read_list
from tests.media import write_video

SIDECAR = bytes([0, 5, 22, 7, 0, 2, 0, 0]) + b"Mac OS X        " + bytes(4072)


def fill(folder: Path) -> Path:
    """A folder as people have them."""
    (folder / "inside").mkdir(parents=True)
    write_video(folder / "a.mp4", 4)
    write_video(folder / "b.ts", 4)
    (folder / "c.mts").write_bytes(bytes(folder.joinpath("b.ts").read_bytes()))
    (folder / "without_ending").write_bytes(folder.joinpath("a.mp4").read_bytes())
    write_video(folder / "e.webm", 4, codec="libvpx").rename(folder / "e.video")
    (folder / "f.gif").write_bytes(b"GIF89a" + bytes(100))
    (folder / "inside" / "g.mp4").write_bytes(folder.joinpath("a.mp4").read_bytes())
    (folder / "._a.mp4").write_bytes(SIDECAR)
    (folder / "notes.txt").write_text("ftypes are not what this is about")
    (folder / "song.m4a").write_bytes(bytes([0, 0, 0, 32]) + b"ftypM4A " + bytes(50))
    (folder / "empty.mp4").touch()
    return folder


def test_a_folder_is_looked_through_by_content_and_what_is_skipped_is_named(tmp_path: Path) -> None:
    gathered = gather_videos([fill(tmp_path / "x")])
    names = [path.name for path in gathered.videos]
    assert names == ["a.mp4", "b.ts", "c.mts", "e.video", "empty.mp4", "f.gif", "without_ending"]
    assert gathered.sentences() == [
        "skipped 1, files that macOS keeps beside others: ._a.mp4",
        "skipped 1, folders, which --recursive searches: inside",
        "skipped 1, no videos by name or content: notes.txt",
        "skipped 1, sound without a picture: song.m4a",
    ]


def test_folders_inside_are_searched_where_that_is_asked(tmp_path: Path) -> None:
    gathered = gather_videos([fill(tmp_path / "x")], recursive=True)
    assert gathered.named["inside/g.mp4"] == tmp_path / "x" / "inside" / "g.mp4"
    assert not any("--recursive" in line for line in gathered.sentences())
    (tmp_path / "x" / "inside" / "a.mp4").touch()
    assert {"a.mp4", "inside/a.mp4"} <= gather_videos([tmp_path / "x"], recursive=True).named.keys()
    with pytest.raises(ValueError, match=r"have one name.*with --recursive"):
        gather_videos([tmp_path / "x", tmp_path / "x" / "inside"])


def test_a_link_to_a_folder_above_leads_nowhere_new(tmp_path: Path) -> None:
    elsewhere = tmp_path / "y"
    for folder in (tmp_path / "x", elsewhere):
        folder.mkdir()
    write_video(tmp_path / "x" / "a.mp4", 4)
    for name in ("back", "again"):
        (tmp_path / "x" / name).symlink_to(tmp_path / "x")
    write_video(elsewhere / "b.mp4", 4)
    (tmp_path / "x" / "other").symlink_to(elsewhere)
    assert sorted(gather_videos([tmp_path / "x"], recursive=True).named) == ["a.mp4", "other/b.mp4"]


def test_a_folder_that_may_not_be_read_is_named_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "a.mp4", 4)
    (tmp_path / "private").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "private")  # root may read everything
    gathered = gather_videos([tmp_path], recursive=True)
    assert list(gathered.named) == ["a.mp4"]
    assert gathered.sentences() == ["skipped 1, folders that may not be read: private"]


def test_a_file_that_is_given_twice_is_called_that(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 4)
    with pytest.raises(ValueError, match=r"a\.mp4 is given twice"):
        gather_videos([tmp_path, tmp_path / "a.mp4"])


def test_a_sample_may_leave_folders_out_where_one_video_is_meant() -> None:
    videos = {"one/a.mp4": Path("one/a.mp4"), "two/b.mp4": Path("two/b.mp4"), "two/c.mp4": Path("two/c.mp4")}
    assert as_named(videos, ["b.mp4", "one/a.mp4", "gone.mp4"]) == {
        "b.mp4": videos["two/b.mp4"], "one/a.mp4": videos["one/a.mp4"], "two/c.mp4": videos["two/c.mp4"],
    }  # fmt: skip
    both = videos | {"one/b.mp4": Path("one/b.mp4")}
    with pytest.raises(ValueError, match=r"'b.mp4' of the sample may be two/b.mp4 or one/b.mp4; name it by its path"):
        as_named(both, ["b.mp4"])


def test_a_file_that_is_named_is_taken_whatever_it_is(tmp_path: Path) -> None:
    fill(tmp_path / "x")
    given = [tmp_path / "x" / "notes.txt", tmp_path / "x" / "._a.mp4"]
    assert find_videos(given) == sorted(given)


def test_a_folder_without_videos_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "inside").mkdir()
    with pytest.raises(ValueError, match=r"holds no video.*--recursive searches: inside.*notes\.txt"):
        gather_videos([tmp_path])


def test_many_skipped_files_are_counted(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"{number}.txt").touch()
    (tmp_path / "a.mp4").touch()
    (line,) = gather_videos([tmp_path]).sentences()
    assert line == "skipped 9, no videos by name or content: 0.txt, 1.txt, 2.txt, 3.txt, 4.txt, ..."


def test_a_list_of_files() -> None:
    assert read_list(["a.mp4\n", "\n", "b c.mp4\r\n"]) == [Path("a.mp4"), Path("b c.mp4")]
