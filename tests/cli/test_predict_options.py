"""The options of predict and evaluate: what is checked before anything large is imported."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.inference import _inputs

ROOT = Path(__file__).resolve().parents[2]


def test_inputs_come_from_arguments_and_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.mp4", "b.mp4", "c d.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text(f"{tmp_path}/b.mp4\n\n{tmp_path}/c d.mp4\n")
    assert _inputs([tmp_path / "a.mp4"], str(tmp_path / "list.txt"), ()) == [
        tmp_path / "a.mp4",
        tmp_path / "b.mp4",
        tmp_path / "c d.mp4",
    ]
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{tmp_path}/b.mp4\n"))
    assert _inputs(None, "-", (None,)) == [tmp_path / "b.mp4"]


def test_a_list_may_come_from_windows_and_hold_odd_names(tmp_path: Path) -> None:
    names = ["a.mp4", "two\u2028lines.mp4", "page\x0cbreak.mp4", os.fsdecode(b"caf\xe9.mp4")]
    for name in names:
        (tmp_path / name).touch()
    listed = "\r\n".join(str(tmp_path / name) for name in names)
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf" + os.fsencode(listed) + b"\r\n")
    assert _inputs(None, str(tmp_path / "list.txt"), ()) == [tmp_path / name for name in names]


@pytest.mark.parametrize(
    ("videos", "files", "reason"),
    [
        ([], [], "no video is given"),
        ([Path("gone.mp4")], [], "gone.mp4 does not exist"),
        ([Path("https://example.org/a.mp4")], [], "is an address; only files can be predicted"),
        ([Path()], [Path("gone.csv")], "gone.csv does not exist, or is no file"),
    ],
)
def test_what_is_not_there_is_refused(videos: list[Path], files: list[Path], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        _inputs(videos, None, files)


def test_a_missing_file_is_told_before_anything_large_is_imported() -> None:
    script = (
        "import sys\nfrom cli.main import main\nsys.argv = ['dfdc', 'predict', 'gone.mp4']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    print(end.code, {'torch', 'pandas'} & set(sys.modules))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "2 set()\n", done.stderr
