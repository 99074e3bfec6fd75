"""Processes of this machine: one that dies or hangs costs its own video and is replaced."""

import pandas as pd
import pytest

from scale.driver import Driver
from scale.engines.local import LocalEngine
from scale.merge import merge
from scale.store import Store
from scale.worker import WorkerSetup
from tests.scale.conftest import plan
from tests.scale.stub import run_stub


@pytest.mark.slow
def test_a_crash_and_a_hang_are_pinned_to_their_videos(tmp_path, members):
    inputs = tmp_path / "in"
    inputs.mkdir()
    for number in range(12):
        (inputs / f"{number:02d}.mp4").write_text(f"video {number}")
    (inputs / "03.mp4").write_text("SEGV")
    (inputs / "07.mp4").write_text("HANG")
    plan(inputs, tmp_path / "store", members, unit_videos=4)
    store = Store(str(tmp_path / "store"))
    engine = LocalEngine(WorkerSetup(store.url), 2, run_stub)
    # Seconds twice over: long beside what a unit takes here, on a busy machine too.
    summary = Driver(store, engine, unit_seconds=20).run(store.units())
    assert (summary.units, summary.pending) == (3, 0)
    assert summary.statuses == {"ok": 10, "crashed": 1, "timed_out": 1}
    assert not [name for name in store.folder.sizes() if name.startswith("marks")]
    merge(store.url, str(tmp_path / "out.csv"))
    rows = pd.read_csv(tmp_path / "out.csv")
    assert list(rows["filename"]) == [f"{number:02d}.mp4" for number in range(12)]
    assert set(rows.loc[rows["label"] == 0.5, "filename"]) >= {"03.mp4", "07.mp4"}


def test_no_process_is_no_engine():
    with pytest.raises(ValueError, match="0 processes"):
        LocalEngine(WorkerSetup("nowhere"), 0)
