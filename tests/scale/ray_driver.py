"""A driver of a Ray cluster, in a process of its own.

    python -m tests.scale.ray_driver STORE ADDRESS WORK CPUS [FOLDER]

Its last line is what `RunSummary` counts, as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from scale.driver import Driver, RunSummary
from scale.engines.process import Work
from scale.store import Store
from scale.worker import WorkerSetup
from tests.scale import stub
from tests.scale.nodes import ROOT
from tests.waiting import LIMIT


class WhileItHangs:
    """A clock that runs only while the last unit hangs, however long a busy machine takes for all else."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder, self.now = store, folder, 0.0

    def __call__(self) -> float:
        hanging = [path for path in self.folder.glob("hangs *") if Path("/proc", path.name.split()[1]).exists()]
        if hanging and sum(not self.store.is_done(unit) for unit in self.store.units()) == 1:
            self.now += 100
        return self.now


def start(
    store: Store, address: str, work: Work, cpus: float = 0.5, hangs: Path | None = None
) -> subprocess.Popen[str]:
    """Start a driver; `hangs` is the folder of a clock `WhileItHangs`."""
    given = [store.url, address, work.__name__, str(cpus), *([str(hangs)] if hangs else [])]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.scale.ray_driver", *given],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def drive(store: Store, address: str, work: Work, cpus: float = 1.0, hangs: Path | None = None) -> RunSummary:
    """Run a plan to its end, and give what the driver told of it."""
    run = start(store, address, work, cpus, hangs)
    try:
        out, err = run.communicate(timeout=2 * LIMIT)
    finally:
        run.kill()
    assert run.returncode == 0, f"the driver ended with {run.returncode}: {err}"
    return RunSummary(**json.loads(out.splitlines()[-1]))


def main(url: str, address: str, work: str, cpus: str, hangs: str = "") -> None:
    """Run a plan, and tell what became of it."""
    from scale.engines.ray_engine import RayEngine

    store = Store(url)
    clock: Callable[[], float] = WhileItHangs(store, Path(hangs)) if hangs else time.monotonic
    engine = RayEngine(WorkerSetup(store.url), float(cpus), address=address, work=getattr(stub, work))
    summary = Driver(store, engine, 600.0, clock).run(store.units())
    print(json.dumps(vars(summary)))


if __name__ == "__main__":
    main(*sys.argv[1:])
