"""Units that predict: the merged result has the bytes of `dfdc predict`, whoever made which unit and how often."""

import json
import shutil
import time
from dataclasses import replace

import pandas as pd
import pytest

from common.errors import DfdcError
from inference.outputs import write_probabilities
from inference.run import predict_videos
from inference.schedule.planner import Spent
from scale.budget import UnitTime
from scale.manifest import OtherRunError
from scale.merge import merge
from scale.plan import make_plan
from scale.store import MACHINE, Store
from scale.units import share
from scale.worker import UnitWorker, WorkerSetup
from tests.scale.conftest import NAMES, plan


@pytest.fixture(scope="module")
def worker(videos, members, tmp_path_factory):
    """One worker; a test lets it work for its own store."""
    store = tmp_path_factory.mktemp("store")
    plan(videos, store, members)
    return UnitWorker(WorkerSetup(str(store), str(members), "cpu", threads=2))


@pytest.fixture(scope="module")
def expected(worker, videos, tmp_path_factory):
    """What `dfdc predict` writes: the submission, and the table of probabilities."""
    folder = tmp_path_factory.mktemp("expected")
    run = predict_videos(worker.task.pipeline, sorted(videos.iterdir()), folder / "submission.csv")
    write_probabilities(folder / "table.csv", run.results)
    return folder


def working_for(worker, store, videos):
    """The same networks for another store and input."""
    other = object.__new__(UnitWorker)
    other.store, other.task = Store(str(store)), worker.task
    other.input = type(worker.input)(str(videos))
    return other


def run_all(worker, shard=None, **how):
    return [worker.run(unit, **how) for unit in share(worker.store.units(), shard)]


def test_the_merged_files_are_those_of_predict(worker, expected, tmp_path):
    reports = run_all(worker)
    assert [report.done for report in reports] == [True] * 3
    summary = merge(worker.store.url, str(tmp_path / "out.csv"), str(tmp_path / "table.csv"))
    assert (tmp_path / "out.csv").read_bytes() == (expected / "submission.csv").read_bytes()
    assert (tmp_path / "table.csv").read_bytes() == (expected / "table.csv").read_bytes()
    assert summary.videos == 5 and summary.statuses == {"ok": 3, "unreadable": 1, "no_face": 1}
    assert list(pd.read_csv(tmp_path / "out.csv")["filename"]) == NAMES
    assert [report.seconds for report in run_all(worker)] == [0.0] * 3  # done is done


def test_shards_in_any_order_and_a_unit_made_twice_give_the_same(worker, expected, videos, members, tmp_path):
    plan(videos, tmp_path / "store", members)
    first, second = (working_for(worker, tmp_path / "store", videos) for _ in range(2))
    with pytest.raises(DfdcError, match=r"3 units are not done \(numbers 0, 1, 2\); run: dfdc run-units"):
        merge(first.store.url, str(tmp_path / "out.csv"))
    run_all(first, (1, 2))
    # A worker that everybody took for dead delivers after another has.
    second.store.index_of = lambda _, real=second.store.index_of, left=[None]: left.pop() if left else real(_)
    unit = next(share(second.store.units(), (1, 2)))
    index = first.store.index_of(unit)
    assert second.run(unit).done and first.store.index_of(unit) == index
    run_all(second, (0, 2), careful=True)
    merge(first.store.url, str(tmp_path / "out.csv"))
    assert (tmp_path / "out.csv").read_bytes() == (expected / "submission.csv").read_bytes()


def test_videos_of_one_name_in_two_folders_are_two_videos(worker, videos, members, tmp_path):
    for folder in ("one", "two/deep"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        shutil.copy(videos / "a.mp4", tmp_path / "in" / folder / "a.mp4")
    (tmp_path / "in/two/broken.mp4").write_bytes(b"no video")
    plan(tmp_path / "in", tmp_path / "store", members)
    mine = working_for(worker, tmp_path / "store", tmp_path / "in")
    run_all(mine)
    merge(mine.store.url, str(tmp_path / "out.csv"), str(tmp_path / "table.csv"))
    rows = pd.read_csv(tmp_path / "out.csv").set_index("filename")["label"]
    assert list(rows.index) == ["one/a.mp4", "two/broken.mp4", "two/deep/a.mp4"]
    assert rows["one/a.mp4"] == rows["two/deep/a.mp4"] != rows["two/broken.mp4"] == 0.5


@pytest.mark.slow
def test_a_video_that_is_given_up_has_the_prior_and_its_neighbours_theirs(worker, expected, videos, members, tmp_path):
    plan(videos, tmp_path / "store", members)
    mine = working_for(worker, tmp_path / "store", videos)
    run_all(mine, aside={"b.mp4": ("crashed", "the process that worked on it died")}, careful=True)
    assert mine.store.marked(next(mine.store.units())) == "a.mp4"
    summary = merge(mine.store.url, str(tmp_path / "out.csv"))
    assert summary.statuses == {"ok": 2, "unreadable": 1, "no_face": 1, "crashed": 1}
    there = pd.read_csv(expected / "submission.csv").set_index("filename")["label"]
    here = pd.read_csv(tmp_path / "out.csv").set_index("filename")["label"]
    assert here["b.mp4"] == 0.5 and here.drop("b.mp4").equals(there.drop("b.mp4"))


def test_a_video_that_changed_or_is_gone_leaves_its_unit_undone(worker, videos, members, tmp_path):
    shutil.copytree(videos, tmp_path / "in")
    plan(tmp_path / "in", tmp_path / "store", members)
    mine = working_for(worker, tmp_path / "store", tmp_path / "in")
    (tmp_path / "in/a.mp4").write_bytes(b"shorter")
    (tmp_path / "in/c.mp4").unlink()
    reports = run_all(mine)
    assert [report.done for report in reports] == [False, False, True]
    assert "a.mp4 has 7 bytes, and had" in reports[0].reason and "c.mp4 cannot be read" in reports[1].reason


def test_a_plan_is_made_once_and_another_is_refused_by_name(videos, members, tmp_path):
    shutil.copytree(videos, tmp_path / "in")
    request = plan(tmp_path / "in", tmp_path / "store", members)
    assert "nothing has changed" in str(make_plan(request))
    with pytest.raises(OtherRunError, match=r"options.frames was 2, is 3"):
        make_plan(replace(request, frames=3))
    shutil.copy(videos / "a.mp4", tmp_path / "in/new.mp4")
    with pytest.raises(ValueError, match=r"plan of other videos: new is new.mp4"):
        make_plan(request)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no video"):
        make_plan(replace(request, input=str(tmp_path / "empty"), store=str(tmp_path / "other")))


def test_a_worker_of_another_program_or_machine_is_refused(worker, members, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(worker.store.folder.root, store)
    machine = json.loads((store / MACHINE).read_text())
    machine["libraries"]["openvino"] = "2020.1"
    (store / MACHINE).write_text(json.dumps(machine))
    setup = WorkerSetup(str(store), str(members), "cpu")
    with pytest.raises(OtherRunError, match=r"machine of this run is another: libraries.openvino was 2020.1, is 20"):
        UnitWorker(setup)
    manifest = json.loads((store / "manifest.json").read_text())
    (store / "manifest.json").write_text(json.dumps(manifest | {"code": "0" * 64}))
    with pytest.raises(OtherRunError, match=r"code of this run is another: code was 000"):
        UnitWorker(setup)
    with pytest.raises(ValueError, match="holds no plan"):
        UnitWorker(WorkerSetup(str(tmp_path / "nothing")))


def test_other_weights_are_refused(worker, members, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(worker.store.folder.root, store)
    manifest = json.loads((store / "manifest.json").read_text())
    manifest["options"]["members"]["first"] = "0" * 64
    (store / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(OtherRunError, match=r"weights of this run is another: first was 000"):
        UnitWorker(WorkerSetup(str(store), str(members), "cpu"))


@pytest.mark.slow
def test_from_and_to_s3(worker, expected, videos, members, tmp_path, bucket):
    """The videos, the run and the result on S3; a store that does not answer gives no row."""
    for path in videos.iterdir():
        type(worker.input)(f"{bucket}/in").put(path, path.name)
    plan(f"{bucket}/in", f"{bucket}/run", members)
    mine = working_for(worker, f"{bucket}/run", f"{bucket}/in")
    units = list(mine.store.units())
    cat = mine.input.fs.get_file

    def storm(*_, **__):
        raise OSError("503 Slow Down")

    mine.input.fs.get_file = storm
    report = mine.run(units[0])
    mine.input.fs.get_file = cat
    assert not report.done and "503 Slow Down" in report.reason and mine.store.index_of(units[0]) is None
    assert all(report.done for report in run_all(mine))
    merge(mine.store.url, f"{bucket}/out/submission.csv")
    written = type(worker.input)(f"{bucket}/out").read("submission.csv")
    assert written == (expected / "submission.csv").read_bytes()


@pytest.mark.slow
def test_a_damaged_result_is_not_merged(worker, videos, members, tmp_path):
    plan(videos, tmp_path / "store", members)
    mine = working_for(worker, tmp_path / "store", videos)
    run_all(mine)
    result = sorted((tmp_path / "store/results").rglob("*rows.jsonl"))[0]
    result.write_bytes(result.read_bytes().replace(b"a", b"b", 1))
    with pytest.raises(DfdcError, match=r"has SHA-256 .*, units/.*\.json names"):
        merge(mine.store.url, str(tmp_path / "out.csv"))
    result.unlink()
    with pytest.raises(DfdcError, match=r"is gone; remove units/"):
        merge(mine.store.url, str(tmp_path / "out.csv"))
    assert not (tmp_path / "out.csv").exists()


@pytest.fixture
def planned(worker, videos, members, tmp_path):
    """A worker for a store of its own, which knows nothing of its speed."""
    plan(videos, tmp_path / "store", members)
    worker.task.planner = None
    yield working_for(worker, tmp_path / "store", videos)
    worker.task.planner = None


def budgets(worker):
    return [worker.store.index_of(unit)["budget"] for unit in worker.store.units()]


def test_units_with_time_enough_are_predicted_as_without_a_budget(planned, expected, tmp_path):
    run_all(planned, allowed=UnitTime(1e6, time.time() + 1e6))
    for budget in budgets(planned):
        assert budget["seconds"] == 1e6 and [change["frames"] for change in budget["plans"]] == [2]
    merge(planned.store.url, str(tmp_path / "out.csv"))
    assert (tmp_path / "out.csv").read_bytes() == (expected / "submission.csv").read_bytes()


def test_a_worker_that_knows_to_be_slow_takes_a_cheaper_plan_and_says_so(planned):
    units = list(planned.store.units())
    planned.run(units[0], allowed=UnitTime(1e6, time.time() + 1e6))
    planner = planned.task.planner
    for _ in range(50):  # hundred seconds a video in all, which one video has not got
        planner.finished(time.time(), Spent(planner.plans[0], 1.0, 49.0, 50.0))
    planned.run(units[2], allowed=UnitTime(60.0, time.time() + 1e6))
    index = planned.store.index_of(units[2])
    assert [change["frames"] for change in index["budget"]["plans"]] == [1] and index["statuses"] == {"ok": 1}


def test_videos_that_the_time_does_not_reach_have_the_prior_and_say_why(planned, tmp_path):
    run_all(planned, allowed=UnitTime(1e6, time.time()))  # the run has ended
    summary = merge(planned.store.url, str(tmp_path / "out.csv"))
    assert summary.statuses == {"skipped_by_budget": 5} and [b["plans"] for b in budgets(planned)] == [[]] * 3
    assert set(pd.read_csv(tmp_path / "out.csv")["label"]) == {0.5}


def test_a_storage_that_writes_over_what_must_be_made_once_is_refused(videos, members, tmp_path, monkeypatch):
    def careless(self, name, data):
        self.write(name, data)
        return True

    monkeypatch.setattr("common.storage.Folder.create", careless)
    with pytest.raises(DfdcError, match="writes over an object that must be made once"):
        plan(videos, tmp_path / "store", members)
