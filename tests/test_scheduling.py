"""Runs of small test suites in which a worker dies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOOKS = "from tests.conftest import pytest_handlecrashitem, pytest_terminal_summary, pytest_xdist_make_scheduler\n"
DIES = """
import os, pathlib
def test_first(): pass
def test_second():
    folder = pathlib.Path(__file__).parent
    died = len(list(folder.glob("died *")))
    if died < {times}:
        (folder / f"died {{died}}").touch()
        os._exit(1)
"""


def run(folder: Path, times: int) -> subprocess.CompletedProcess[str]:
    """Two workers, ten files of two tests, in one of which the worker dies so many times."""
    (folder / "conftest.py").write_text(HOOKS)
    for number in range(9):
        (folder / f"test_{number}.py").write_text("def test_first(): pass\ndef test_second(): pass\n")
    (folder / "test_dies.py").write_text(DIES.format(times=times))
    given = ["-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile", str(folder)]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *given], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.slow
def test_a_test_whose_worker_died_runs_again_and_so_do_all_after_it(tmp_path: Path) -> None:
    done = run(tmp_path, 1)
    assert done.returncode == 0, done.stdout
    assert "20 passed, 1 rerun" in done.stdout
    assert "ran again, as its worker died: " in done.stdout and "test_dies.py::test_second" in done.stdout


@pytest.mark.slow
def test_a_test_that_kills_its_worker_twice_has_failed(tmp_path: Path) -> None:
    done = run(tmp_path, 2)
    assert done.returncode == 1, done.stdout
    assert "1 failed, 20 passed, 1 rerun" in done.stdout
