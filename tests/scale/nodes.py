"""Two Ray nodes on this machine."""

from __future__ import annotations

import contextlib
import inspect
import os
import random
import socket
from pathlib import Path

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


@contextlib.contextmanager
def two_nodes():
    """A head and a node, each with one core."""
    before = os.environ.copy()
    os.environ |= PATIENT | {"PYTHONPATH": str(ROOT)}
    from ray._private import services
    from ray.cluster_utils import Cluster

    real, services.start_raylet = services.start_raylet, tell_ports(services.start_raylet)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **ports()})
    cluster.add_node(num_cpus=1, **ports())
    cluster.wait_for_nodes(timeout=300)
    try:
        yield cluster
    finally:
        cluster.shutdown()
        services.start_raylet = real
        os.environ.clear()
        os.environ |= before
