"""Two Ray nodes on this machine: what dies, hangs or is killed loses no row and makes no second one."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading

import pandas as pd
import pytest

from models.registry import member_specs
from scale.driver import Driver
from scale.engines.local import LocalEngine
from scale.merge import merge
from scale.plan import PlanRequest, make_plan
from scale.store import Store
from scale.worker import WorkerSetup
from tests.scale.conftest import contents, plan
from tests.scale.nodes import ROOT, two_nodes
from tests.scale.ray_driver import WhileItHangs, drive, start
from tests.scale.stub import run_extract, run_stub
from tests.waiting import LIMIT, wait_until
from train.data.extract import extract
from train.data.extract_video import ExtractOptions

pytestmark = pytest.mark.slow
HANDLER = """
import signal, sys
from scale.engines.ray_engine import RayEngine
from scale.worker import WorkerSetup
from tests.scale.stub import run_stub
before = signal.getsignal(signal.SIGTERM)
engine = RayEngine(WorkerSetup("none"), 1.0, address=sys.argv[1], work=run_stub)
assert signal.getsignal(signal.SIGTERM) is not before
engine.close()
assert signal.getsignal(signal.SIGTERM) is before
print("given back")
"""


@pytest.fixture(scope="module")
def cluster():
    """One session for all tests of this file."""
    pytest.importorskip("ray", reason="requirements-dev.txt has ray")
    with two_nodes() as cluster:
        yield cluster


@pytest.fixture
def store(tmp_path, members):
    """Twelve units of two videos each."""
    (tmp_path / "in").mkdir()
    for number in range(24):
        (tmp_path / f"in/{number:02d}.mp4").write_text(f"video {number}")

    def planned(hurt):
        for name, text in hurt.items():
            (tmp_path / "in" / name).write_text(text)
        plan(tmp_path / "in", tmp_path / "store", members)
        return Store(str(tmp_path / "store"))

    return planned


def rows(store, folder):
    """The merged rows; every one is there, and there once."""
    merge(store.url, str(folder / "out.csv"))
    table = pd.read_csv(folder / "out.csv")
    assert list(table["filename"]) == [f"{number:02d}.mp4" for number in range(24)]
    return table.set_index("filename")["label"]


def locally(store, folder, members):
    """The bytes that processes of this machine give for the same videos."""
    plan(folder / "in", folder / "local", members)
    other = Store(str(folder / "local"))
    Driver(other, LocalEngine(WorkerSetup(other.url), 1, run_stub), 600).run(other.units())
    merge(other.url, str(folder / "local.csv"))
    return (folder / "local.csv").read_bytes()


@contextlib.contextmanager
def a_node_killed(cluster, folder):
    """Kill the second node when both are at a gate, open the gates, and put another node there in the end."""

    def kill():
        wait_until(lambda: len(list(folder.glob("at *"))) == 2, "both nodes are at work")
        cluster.kill_node()
        for gate in "ab":
            (folder / f"open {gate}").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    yield
    killer.join()
    cluster.add_node()


def test_crash_and_hang_among_sound_videos(cluster, store, tmp_path, members):
    mine = store({"05.mp4": "SEGV", "10.mp4": "HANG"})
    summary = drive(mine, cluster.address, run_stub, hangs=tmp_path / "in")
    assert (summary.units, summary.pending) == (12, 0)
    assert summary.statuses == {"ok": 22, "crashed": 1, "timed_out": 1}
    table = rows(mine, tmp_path)
    assert table["05.mp4"] == table["10.mp4"] == 0.5
    index = [mine.index_of(unit)["statuses"] for unit in mine.units()]
    assert index[2] == {"ok": 1, "crashed": 1} and index[5] == {"timed_out": 1, "ok": 1}


def test_an_engine_gives_the_handler_of_sigterm_back(cluster):
    done = subprocess.run(
        [sys.executable, "-c", HANDLER, cluster.address], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "given back\n", done.stderr


def test_a_clean_run_gives_the_bytes_of_local(cluster, store, tmp_path, members):
    mine = store({})
    assert drive(mine, cluster.address, run_stub).statuses == {"ok": 24}
    rows(mine, tmp_path)
    assert (tmp_path / "out.csv").read_bytes() == locally(mine, tmp_path, members)


def test_a_node_that_dies_in_the_middle_costs_no_row(cluster, store, tmp_path, members):
    """Both nodes hold a unit when one of them goes; its unit is nobody's fault and goes to the other."""
    mine = store({"00.mp4": "GATE a", "02.mp4": "GATE b"})
    with a_node_killed(cluster, tmp_path / "in"):
        summary = drive(mine, cluster.address, run_stub)
    assert summary.statuses == {"ok": 24} and summary.pending == 0
    rows(mine, tmp_path)
    assert (tmp_path / "out.csv").read_bytes() == locally(mine, tmp_path, members)


def test_a_driver_that_is_killed_goes_on(cluster, store, tmp_path, members):
    mine = store({"12.mp4": "GATE a"})
    run = start(mine, cluster.address, run_stub)
    wait_until(lambda: list((tmp_path / "in").glob("at a *")), "the run is in its middle")
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    done = [unit for unit in mine.units() if mine.is_done(unit)]
    assert 0 < len(done) < 12
    (tmp_path / "in/open a").touch()
    before = {unit.id: mine.index_of(unit) for unit in done}
    assert drive(mine, cluster.address, run_stub).statuses == {"ok": 24}
    assert {unit.id: mine.index_of(unit) for unit in done} == before  # what was done is not made again
    rows(mine, tmp_path)
    assert (tmp_path / "out.csv").read_bytes() == locally(mine, tmp_path, members)


def test_two_drivers_deliver_a_unit_twice_and_it_counts_once(cluster, store, tmp_path, members):
    mine = store({"00.mp4": "GATE a"})
    other = start(mine, cluster.address, run_stub)
    with opened_for(2, tmp_path / "in"):
        summary = drive(mine, cluster.address, run_stub, cpus=0.5)
    assert other.wait(LIMIT) == 0, other.stderr.read()
    assert summary.statuses == {"ok": 24} and summary.pending == 0
    rows(mine, tmp_path)
    assert (tmp_path / "out.csv").read_bytes() == locally(mine, tmp_path, members)


@contextlib.contextmanager
def opened_for(workers, folder):
    """Open the gate a when so many workers stand at it."""

    def let_in():
        wait_until(lambda: len(list(folder.glob("at a *"))) == workers, "all stand at the gate")
        (folder / "open a").touch()

    opener = threading.Thread(target=let_in)
    opener.start()
    yield
    opener.join()


@pytest.fixture(scope="module")
def expected(part, tmp_path_factory):
    """What `dfdc extract` makes of the part."""
    folder = tmp_path_factory.mktemp("expected")
    extract([part], folder, ExtractOptions(frames=2, shard_videos=1, specs=member_specs()), workers=0)
    return contents(folder)


@pytest.fixture
def planned(part, tmp_path):
    """Plan to extract the part in four units; texts beside videos hurt workers."""
    mine = tmp_path / part.name

    def hurt(texts, store="store"):
        if not mine.exists():
            shutil.copytree(part, mine)
        for name, text in texts.items():
            (mine / f"{name}.hurt").write_text(text)
        make_plan(PlanRequest(str(mine), str(tmp_path / store), "extract", unit_videos=1, extract={"frames": 2}))
        return Store(str(tmp_path / store))

    return hurt


def merged(store, folder):
    merge(store.url, str(folder / "out"))
    return contents(folder / "out")


def test_extract_gives_the_shards_of_local(cluster, planned, expected, tmp_path):
    mine = planned({})
    assert drive(mine, cluster.address, run_extract).statuses == {"ok": 3, "unreadable": 1, "missing": 1}
    assert merged(mine, tmp_path) == expected


def test_extract_loses_nothing_to_a_dead_node(cluster, planned, part, expected, tmp_path):
    mine = planned({"real.mp4": "GATE a", "other.mp4": "GATE b"})
    with a_node_killed(cluster, tmp_path / part.name):
        assert drive(mine, cluster.address, run_extract).pending == 0
    assert merged(mine, tmp_path) == expected


def test_extract_goes_on_after_its_driver_was_killed(cluster, planned, part, expected, tmp_path):
    mine = planned({"other.mp4": "GATE a"})
    run = start(mine, cluster.address, run_extract)
    gone = next(unit for unit in mine.units() if unit.items[0].name == "gone.mp4")
    wait_until(lambda: list((tmp_path / part.name).glob("at a *")) and mine.is_done(gone), "the run is in its middle")
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    before = mine.index_of(gone)
    (tmp_path / part.name / "open a").touch()
    assert drive(mine, cluster.address, run_extract).pending == 0
    assert merged(mine, tmp_path) == expected and mine.index_of(gone) == before


def test_extract_by_two_drivers_has_every_face_once(cluster, planned, part, expected, tmp_path):
    mine = planned({"real.mp4": "GATE a"})
    other = start(mine, cluster.address, run_extract)
    with opened_for(2, tmp_path / part.name):
        assert drive(mine, cluster.address, run_extract, cpus=0.5).pending == 0
    assert other.wait(LIMIT) == 0, other.stderr.read()
    assert merged(mine, tmp_path) == expected


def test_extract_pins_a_crash_and_a_hang_to_their_videos(cluster, planned, part, tmp_path):
    hurt = {"fake.mp4": "SEGV", "other.mp4": "HANG"}
    mine, local = planned(hurt), planned(hurt, "local")
    summary = drive(mine, cluster.address, run_extract, hangs=tmp_path / part.name)
    assert summary.statuses == {"ok": 1, "crashed": 1, "timed_out": 1, "unreadable": 1, "missing": 1}
    engine = LocalEngine(WorkerSetup(local.url, device="cpu"), 2, run_extract)  # one hangs while the others end
    clock = WhileItHangs(local, tmp_path / part.name)
    assert Driver(local, engine, 600, clock).run(local.units()).statuses == summary.statuses
    written = merged(mine, tmp_path)
    merge(local.url, str(tmp_path / "out_local"))
    assert written == contents(tmp_path / "out_local")
    videos = pd.read_csv(tmp_path / "out/videos.csv").set_index("filename")["status"]
    assert videos["fake.mp4"] == "crashed" and videos["other.mp4"] == "timed_out" and videos["real.mp4"] == "ok"
