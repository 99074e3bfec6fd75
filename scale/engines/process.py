"""What runs in the processes of an engine."""

from __future__ import annotations

import functools
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

CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)

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


def dying_at_once(work: Work) -> Work:
    """Let a crash end its process at once, whoever has set a handler that tells of it first.

    Ray's handler prints the stack of the process; with the libraries of torch in it, that was seen to take more than
    eight minutes and six gigabytes, in which nobody knows that the worker is gone.

    Args:
        work: runs a unit, in the main thread of a worker.

    Returns:
        The same, without such handlers.
    """

    @functools.wraps(work)
    def run(setup: WorkerSetup, attempt: Attempt) -> UnitReport:
        if threading.current_thread() is threading.main_thread():
            for crash in CRASHES:
                signal.signal(crash, signal.SIG_DFL)
        return work(setup, attempt)

    return run


def _leave_with_parent() -> None:
    """An orphan must not go on where the next run already works."""
    if (parent := parent_process()) is not None:
        parent.join()
    os._exit(1)
