"""Two Ray nodes on this machine: what dies, hangs or is killed loses no row and makes no second one."""

import contextlib
import inspect
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest

from scale.driver import Driver
from scale.engines.local import LocalEngine
from scale.merge import merge
from scale.store import Store
from scale.worker import WorkerSetup
from tests.scale.conftest import plan
from tests.scale.stub import run_stub
from tests.waiting import in_time, wait_until

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
# Ray gives its own helpers 15 seconds to start, which are few on a busy machine.
PATIENT = {
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_gcs_server_request_timeout_seconds": "120",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}

KILLED = """
import sys
from scale.driver import Driver
from scale.engines.ray_engine import RayEngine
from scale.store import Store
from scale.worker import WorkerSetup
from tests.scale.stub import run_stub
store = Store(sys.argv[1])
Driver(store, RayEngine(WorkerSetup(store.url), 1, address=sys.argv[2], work=run_stub), 600).run(store.units())
"""


PORTS = ("metrics_agent_port", "runtime_env_agent_port", "dashboard_agent_listen_port", "metrics_export_port")


def ports():
    """Free ports for a node's helpers."""
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PORTS]
        return {name: free.getsockname()[1] for name, free in zip(PORTS, sockets, strict=True)}


def tell_ports(start):
    """Let a node know the ports of its helpers before they have started.

    It reads them from files and waits 15 seconds for these, which is no option and too few on a busy machine (Ray
    2.60); then it ends itself.
    """

    def start_raylet(*given, **named):
        known = inspect.signature(start).bind(*given, **named).arguments
        for name in PORTS:
            Path(known["session_dir"], f"{name}_{known['node_id']}").write_text(str(known[name]))
        return start(*given, **named)

    return start_raylet


@pytest.fixture(scope="module")
def cluster():
    """A head and a node, each with one slot."""
    pytest.importorskip("ray", reason="requirements-dev.txt has ray")
    before = os.environ.copy()
    os.environ |= PATIENT | {"PYTHONPATH": str(ROOT)}
    from ray._private import services
    from ray.cluster_utils import Cluster

    real, services.start_raylet = services.start_raylet, tell_ports(services.start_raylet)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **ports()})
    cluster.add_node(num_cpus=1, **ports())
    cluster.wait_for_nodes(timeout=300)
    yield cluster
    cluster.shutdown()
    services.start_raylet = real
    os.environ.clear()
    os.environ |= before


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


def drive(store, cluster, unit_seconds=600.0):
    from scale.engines.ray_engine import RayEngine

    engine = RayEngine(WorkerSetup(store.url), 1, address=cluster.address, work=run_stub)
    return in_time(lambda: Driver(store, engine, unit_seconds).run(store.units()), "the run ends", 600)


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


def test_crash_and_hang_among_sound_videos(cluster, store, tmp_path, members):
    mine = store({"05.mp4": "SEGV", "10.mp4": "HANG"})
    summary = drive(mine, cluster, unit_seconds=20.0)
    assert (summary.units, summary.pending) == (12, 0)
    assert summary.statuses == {"ok": 22, "crashed": 1, "timed_out": 1}
    table = rows(mine, tmp_path)
    assert table["05.mp4"] == table["10.mp4"] == 0.5
    index = [mine.index_of(unit)["statuses"] for unit in mine.units()]
    assert index[2] == {"ok": 1, "crashed": 1} and index[5] == {"timed_out": 1, "ok": 1}


def test_a_clean_run_gives_the_bytes_of_local(cluster, store, tmp_path, members):
    mine = store({})
    assert drive(mine, cluster).statuses == {"ok": 24}
    rows(mine, tmp_path)
    assert (tmp_path / "out.csv").read_bytes() == locally(mine, tmp_path, members)


def test_a_node_that_dies_in_the_middle_costs_no_row(cluster, store, tmp_path, members):
    """Both nodes hold a unit when one of them goes; its unit is nobody's fault and goes to the other."""
    mine = store({"00.mp4": "GATE a", "02.mp4": "GATE b"})
    extra = next(iter(cluster.worker_nodes))

    def kill():
        wait_until(lambda: len(list((tmp_path / "in").glob("at *"))) == 2, "both nodes are at work")
        cluster.remove_node(extra, allow_graceful=False)
        for gate in "ab":
            (tmp_path / f"in/open {gate}").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    summary = drive(mine, cluster)
    killer.join()
    cluster.add_node(num_cpus=1, **ports())
    assert summary.statuses == {"ok": 24} and summary.pending == 0
    rows(mine, tmp_path)
    assert (tmp_path / "out.csv").read_bytes() == locally(mine, tmp_path, members)


def test_a_driver_that_is_killed_goes_on(cluster, store, tmp_path, members):
    mine = store({"12.mp4": "GATE a"})
    run = subprocess.Popen([sys.executable, "-c", KILLED, mine.url, cluster.address], cwd=ROOT)
    wait_until(lambda: list((tmp_path / "in").glob("at a *")), "the run is in its middle")
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    done = [unit for unit in mine.units() if mine.is_done(unit)]
    assert 0 < len(done) < 12
    (tmp_path / "in/open a").touch()
    before = {unit.id: mine.index_of(unit) for unit in done}
    assert drive(mine, cluster).statuses == {"ok": 24}
    assert {unit.id: mine.index_of(unit) for unit in done} == before  # what was done is not made again
    rows(mine, tmp_path)
    assert (tmp_path / "out.csv").read_bytes() == locally(mine, tmp_path, members)
