"""The registry has what Kaggle's image has: the environment of an exact dry run can be made."""

import subprocess
import sys
from pathlib import Path

import pytest

from kaggle_dataset.bundle.wheels import read_image

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_every_version_of_the_image_can_be_had_beside_what_the_project_needs(tmp_path):
    """For this Python; nothing is installed."""
    command = [sys.executable, ROOT / "scripts/image_environment.py", tmp_path / "exact", "--dry-run"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # uv names what it would change; that all can be had together is its exit status.
    assert f" + torch=={read_image().distributions['torch']}" in done.stderr
