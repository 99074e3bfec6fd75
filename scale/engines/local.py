"""Units on this machine: a process for each slot, replaced when a unit ends it."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from common.parent import children_deaf_to
from scale.driver import Attempt, Outcome
from scale.engines.process import Work, run_in_worker, start_process
from scale.store import UnitReport
from scale.worker import WorkerSetup


class LocalEngine:
    """Processes of this machine, each of which runs one unit at a time, so that a death has one cause."""

    def __init__(self, setup: WorkerSetup, slots: int, work: Work = run_in_worker) -> None:
        """Start nothing yet.

        Args:
            setup: of the processes.
            slots: of them, 1 or more.
            work: runs a unit, in such a process.

        Raises:
            ValueError: `slots` is below 1.
        """
        if slots < 1:
            raise ValueError(f"units cannot run in {slots} processes; at least 1 is needed")
        self.setup, self._slots, self.work = setup, slots, work
        self.queue: deque[Attempt] = deque()
        self.free: list[ProcessPoolExecutor] = []
        self.running: dict[Future[UnitReport], tuple[str, ProcessPoolExecutor]] = {}

    @property
    def slots(self) -> int:
        """Processes."""
        return self._slots

    def submit(self, attempt: Attempt) -> None:
        """Begin an attempt, or queue it where all processes are busy."""
        self.queue.append(attempt)
        self._begin()

    def poll(self, seconds: float) -> list[Outcome]:
        """Wait so long for attempts to end, and tell how those that did ended."""
        finished, _ = wait(self.running, seconds, FIRST_COMPLETED)
        outcomes = [self._outcome(future) for future in finished]
        self._begin()
        return outcomes

    def cancel(self, unit_id: str) -> None:
        """Kill the process that runs a unit, or take it out of the queue."""
        self.queue = deque(attempt for attempt in self.queue if attempt.unit.id != unit_id)
        for future, (running, process) in list(self.running.items()):
            if running == unit_id:
                del self.running[future]
                _kill(process)
        self._begin()

    def close(self) -> None:
        """End all processes, at once."""
        self.queue.clear()
        for process in [*self.free, *(process for _, process in self.running.values())]:
            _kill(process)
        self.free, self.running = [], {}

    def _begin(self) -> None:
        while self.queue and len(self.running) < self._slots:
            process = self.free.pop() if self.free else self._process()
            attempt = self.queue.popleft()
            with children_deaf_to(signal.SIGINT):  # the first call starts the process
                begun = process.submit(self.work, self.setup, attempt)
            self.running[begun] = attempt.unit.id, process

    def _process(self) -> ProcessPoolExecutor:
        # Not forked: OpenCV and OpenVINO hang in a child that inherits their threads.
        return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), start_process)

    def _outcome(self, future: Future[UnitReport]) -> Outcome:
        unit_id, process = self.running.pop(future)
        try:
            report = future.result()
        except BrokenProcessPool:
            process.shutdown(wait=True)
            return Outcome(unit_id, "crashed", reason="died")
        self.free.append(process)
        return Outcome(unit_id, "reported", report)


def _kill(process: ProcessPoolExecutor) -> None:
    """End a process whatever it does."""
    for child in list((process._processes or {}).values()):
        child.kill()
    process.shutdown(wait=True, cancel_futures=True)
