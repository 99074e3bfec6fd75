"""Units that extract: the merged shards have the bytes of `dfdc extract`."""

import shutil

import pytest
import torch

from common.storage import Folder
from faces.cascade import Cascade
from models.registry import member_specs
from scale.merge import merge
from scale.plan import PlanRequest, make_plan
from scale.store import Store
from scale.worker import UnitWorker, WorkerSetup
from tests.scale.conftest import contents
from train.data.extract import extract
from train.data.extract_video import ExtractOptions

HOW = {"frames": 2, "image_format": "png"}


@pytest.fixture(scope="module")
def detector():
    return Cascade(torch.device("cpu"), threads=1)


@pytest.fixture(autouse=True)
def loaded(detector, monkeypatch):
    """Networks are loaded once for all tests."""
    for module in ("train.data.extract", "scale.extract_task"):
        monkeypatch.setattr(f"{module}.Cascade", lambda *_, **__: detector)


@pytest.fixture
def expected(part, tmp_path):
    extract([part], tmp_path / "expected", ExtractOptions(**HOW, shard_videos=2, specs=member_specs()), workers=0)
    return contents(tmp_path / "expected")


def run(inputs, store, **how):
    summary = make_plan(PlanRequest(str(inputs), str(store), "extract", unit_videos=2, extract=HOW))
    worker = UnitWorker(WorkerSetup(str(store), device="cpu"))
    reports = [worker.run(unit, **how) for unit in Store(str(store)).units()]
    worker.task.decoder.close()
    assert all(report.done for report in reports), reports
    return summary


def test_the_merged_folder_is_that_of_extract(part, expected, tmp_path):
    run(part, tmp_path / "store")
    summary = merge(str(tmp_path / "store"), str(tmp_path / "out"))
    assert contents(tmp_path / "out") == expected
    assert summary.statuses == {"ok": 3, "unreadable": 1, "missing": 1} and not summary.predicts


def test_from_and_to_s3(part, expected, tmp_path, bucket):
    folder = Folder(f"{bucket}/{part.name}")
    for path in part.iterdir():
        folder.put(path, path.name)
    run(f"{bucket}/{part.name}", f"{bucket}/run")
    merge(f"{bucket}/run", f"{bucket}/crops")
    (tmp_path / "out").mkdir()
    written = Folder(f"{bucket}/crops")
    for name, size in written.sizes().items():
        written.fetch(name, tmp_path / "out" / name, size)
    assert contents(tmp_path / "out") == expected


def test_a_video_that_is_given_up_is_a_row(part, tmp_path):
    shutil.copytree(part, tmp_path / part.name)
    run(tmp_path / part.name, tmp_path / "store", aside={"real.mp4": ("crashed", "its process died")}, careful=True)
    summary = merge(str(tmp_path / "store"), str(tmp_path / "out"))
    assert summary.statuses == {"ok": 2, "unreadable": 1, "missing": 1, "crashed": 1}
    assert b"real.mp4,REAL,,real.mp4,3,,crashed,its process died,0,0,0" in (tmp_path / "out/videos.csv").read_bytes()
    with pytest.raises(ValueError, match="--probabilities is of predictions"):
        merge(str(tmp_path / "store"), str(tmp_path / "out"), str(tmp_path / "table.csv"))
