"""Two Ray nodes on this machine, held by a process of their own.

Ray's native code ends the process that it runs in when it loses its nodes, which a busy machine can make it believe.
A test that imported it would take all tests of its worker with it.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.waiting import LIMIT, in_time

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
PORTS = ("metrics_agent_port", "runtime_env_agent_port", "dashboard_agent_listen_port", "metrics_export_port")


def ports():
    """Free ports for a node's helpers, below those that the system gives away: until they listen nobody takes them."""
    found = []
    while len(found) < len(PORTS):
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
    return dict(zip(PORTS, found, strict=True))


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


class Nodes:
    """A head and a node, each with one core; the node can be killed, and another put in its place."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.address = self._line()

    def kill_node(self) -> None:
        """End the second node as if its machine were gone."""
        self._ask("kill")

    def add_node(self) -> None:
        """Start another second node."""
        self._ask("add")

    def _ask(self, what: str) -> None:
        assert self.process.stdin is not None
        print(what, file=self.process.stdin, flush=True)
        assert self._line() == what

    def _line(self) -> str:
        out = self.process.stdout
        assert out is not None
        return in_time(out.readline, "Ray's nodes do what they were told", 2 * LIMIT).strip()


@contextlib.contextmanager
def two_nodes() -> Iterator[Nodes]:
    """The nodes, for as long as the block lasts."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.scale.nodes"],
        env=os.environ | PATIENT | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield Nodes(process)
    finally:
        with contextlib.suppress(BrokenPipeError, subprocess.TimeoutExpired):
            process.communicate(timeout=60)  # the end of its input is its end
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main() -> None:
    """Start the nodes, tell their address, and do what the lines of the input say."""
    from ray._private import services
    from ray.cluster_utils import Cluster

    services.start_raylet = tell_ports(services.start_raylet)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **ports()})
    cluster.add_node(num_cpus=1, **ports())
    cluster.wait_for_nodes(timeout=300)
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "kill":
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        else:
            cluster.add_node(num_cpus=1, **ports())
        print(line.strip(), flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
