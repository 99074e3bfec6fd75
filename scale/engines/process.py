"""What runs in the processes of an engine."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import parent_process

from common.storage import StorageError
from scale.driver import Attempt
from scale.store import UnitReport
from scale.worker import UnitWorker, WorkerSetup

Work = Callable[[WorkerSetup, Attempt], UnitReport]

_worker: dict[WorkerSetup, UnitWorker] = {}


def start_process() -> None:
    """Make this process one of an engine's: deaf to Ctrl-C, gone with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def run_in_worker(setup: WorkerSetup, attempt: Attempt) -> UnitReport:
    """Run a unit; networks are loaded by the first one in each process. What else it raises reaches the driver."""
    if setup not in _worker:
        _worker.clear()
        try:
            _worker[setup] = UnitWorker(setup)
        except StorageError as error:
            return UnitReport(attempt.unit.id, False, reason=str(error))
    return _worker[setup].run(attempt.unit, attempt.aside, attempt.careful, attempt.time)


def _leave_with_parent() -> None:
    """An orphan must not go on where the next run already works."""
    if (parent := parent_process()) is not None:
        parent.join()
    os._exit(1)
