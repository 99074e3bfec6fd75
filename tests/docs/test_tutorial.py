"""The tutorial's runnable blocks, in its order, as a reader runs them: in a clone, with the environment active."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.docs.blocks import ROOT, TUTORIAL, blocks_of

BUSY = 900  # seconds for one block, on a machine that does other work


@pytest.fixture
def clone(tmp_path):
    """A folder that looks like the clone, and in which runs/ is its own."""
    for path in ROOT.iterdir():
        if path.name not in ("runs", "build", "site", ".git"):
            (tmp_path / path.name).symlink_to(path)
    return tmp_path


@pytest.mark.slow
def test_the_tutorial_runs(clone):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # on shared cores threads wait for each other
    environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    ran = 0
    for block in (block for page in TUTORIAL for block in blocks_of(page, "bash") if block.note == "run"):
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", block.text],
            check=False, capture_output=True, text=True, cwd=clone, env=environment, timeout=BUSY,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{block.text}\n{done.stdout}\n{done.stderr}"
        ran += 1
    assert ran >= 8
    folder = clone / "runs/tutorial"
    table = pd.read_csv(folder / "submission.csv").set_index("filename")["label"]
    fakes = table.index.str.contains("_fake")
    assert table[fakes].mean() > table[~fakes].mean() + 0.1  # the members have learnt the crude fakes
    assert pd.read_csv(folder / "again.csv")["filename"].tolist() == table.index.tolist()
    assert len(pd.read_csv(folder / "final.csv")) == 4
