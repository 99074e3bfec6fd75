"""Runs of small test suites in which a worker dies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOOKS = "from tests.conftest import pytest_xdist_make_scheduler\n"
DIES = """
import os, pathlib
def test_first(): pass
def test_second():
    died = pathlib.Path(__file__).with_name("died")
    if not died.exists():
        died.touch()
        os._exit(1)
"""


@pytest.mark.slow
def test_a_test_whose_worker_died_has_failed_and_all_after_it_run(tmp_path: Path) -> None:
    """Two workers, ten files of two tests."""
    (tmp_path / "conftest.py").write_text(HOOKS)
    for number in range(9):
        (tmp_path / f"test_{number}.py").write_text("def test_first(): pass\ndef test_second(): pass\n")
    (tmp_path / "test_dies.py").write_text(DIES)
    given = ["-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *given], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 1, done.stdout
    assert "crashed while running" in done.stdout and "test_dies.py::test_second" in done.stdout
    assert "1 failed, 20 passed" in done.stdout, "once it is dead, and once it passes when it runs again"
