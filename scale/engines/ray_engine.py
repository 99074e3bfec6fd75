"""Units on a Ray cluster, as plain tasks. Frames never travel: a task gets names of videos and gives back a report.

Ray's own retries are off, since it would try a video that crashes again for ever. A dead worker is told apart from a
dead machine by asking the machine: a small task that must run there.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import Counter, deque
from typing import Any

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayError, RayTaskError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from common.errors import DfdcError
from scale.driver import Attempt, Outcome
from scale.engines.process import Work, dying_at_once, run_in_worker
from scale.store import UnitReport
from scale.worker import WorkerSetup

ANSWER = 120.0  # seconds in which a machine must start a small task, or is taken for dead
REFRESH = 2.0  # seconds between two looks at which machines there are


class RayEngine:
    """Tasks of a Ray cluster, each with its own share of a machine."""

    def __init__(
        self,
        setup: WorkerSetup,
        cpus: float,
        gpus: float = 0.0,
        address: str | None = None,
        work: Work = run_in_worker,
    ) -> None:
        """Connect to a cluster.

        Args:
            setup: of the workers; its paths must mean the same on every machine.
            cpus: of each task.
            gpus: of each task.
            address: of the cluster; None: what RAY_ADDRESS says, else one that runs on this machine, else a new one;
                "local": a new one on this machine.
            work: runs a unit, in a worker of the cluster.

        Raises:
            DfdcError: there is no cluster at the address.
        """
        self._sigterm = signal.getsignal(signal.SIGTERM)  # ray.init takes the handler over, and nobody gives it back
        try:
            self.context = ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise DfdcError(f"no Ray cluster answers at {address or 'RAY_ADDRESS'}: {error}") from error
        self.setup, self.cpus, self.gpus = setup, cpus, gpus
        self.task = ray.remote(max_retries=0, num_cpus=cpus, num_gpus=gpus)(dying_at_once(work))
        self.ask = ray.remote(max_retries=0, num_cpus=0)(_answer)
        self.queue: deque[Attempt] = deque()
        self.running: dict[Any, tuple[str, str]] = {}  # what Ray will give -> unit, node
        self.asked: dict[Any, tuple[str, str, float]] = {}  # the same -> unit, why its worker is gone, deadline
        self._looked, self._nodes = 0.0, dict[str, int]()

    @property
    def slots(self) -> int:
        """Tasks that the machines which are there now can run at a time; at least one, which waits for a machine."""
        return max(1, sum(self._slots_of_nodes().values()))

    def submit(self, attempt: Attempt) -> None:
        """Begin an attempt on a machine with room, or queue it."""
        self.queue.append(attempt)
        self._begin()

    def poll(self, seconds: float) -> list[Outcome]:
        """Wait so long for attempts to end, and tell how those that did ended."""
        outcomes = []
        if under_way := [*self.running, *self.asked]:
            finished, _ = ray.wait(under_way, num_returns=1, timeout=seconds)
            outcomes = [outcome for ref in finished if (outcome := self._outcome(ref)) is not None]
        else:
            time.sleep(min(seconds, REFRESH))
        outcomes += self._unanswered()
        self._begin()
        return outcomes

    def cancel(self, unit_id: str) -> None:
        """Kill the worker of a unit, or take the unit out of the queue."""
        self.queue = deque(attempt for attempt in self.queue if attempt.unit.id != unit_id)
        for ref in [ref for ref, (running, *_) in (self.running | self.asked).items() if running == unit_id]:
            ray.cancel(ref, force=True)
            self.running.pop(ref, None)
            self.asked.pop(ref, None)

    def close(self) -> None:
        """Kill what runs, let go of the cluster, and put the handler of SIGTERM back."""
        for ref in [*self.running, *self.asked]:
            ray.cancel(ref, force=True)
        ray.shutdown()
        # None is a handler that Python did not set and cannot set again.
        if self._sigterm is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._sigterm)

    def _begin(self) -> None:
        while self.queue and (node := self._free_node()) is not None:
            attempt = self.queue.popleft()
            here = NodeAffinitySchedulingStrategy(node, soft=False)
            ref = self.task.options(scheduling_strategy=here).remote(self.setup, attempt)
            self.running[ref] = attempt.unit.id, node

    def _free_node(self) -> str | None:
        """The machine with the most free slots; None where all are busy."""
        busy = Counter(node for _, node in self.running.values())
        free = {node: slots - busy[node] for node, slots in self._slots_of_nodes().items()}
        best = max(free, key=lambda node: free[node], default=None)
        return best if best is not None and free[best] > 0 else None

    def _slots_of_nodes(self) -> dict[str, int]:
        if time.monotonic() - self._looked > REFRESH:
            alive = [node for node in ray.nodes() if node["Alive"]]
            self._nodes = {node["NodeID"]: self._fit(node["Resources"]) for node in alive}
            self._looked = time.monotonic()
        return self._nodes

    def _fit(self, resources: dict[str, float]) -> int:
        """How many tasks fit on a machine."""
        wanted = {"CPU": self.cpus, "GPU": self.gpus}
        return int(min(resources.get(kind, 0.0) // amount for kind, amount in wanted.items() if amount))

    def _outcome(self, ref: Any) -> Outcome | None:
        """How a task ended; None where its machine has to be asked first."""
        if ref in self.asked:
            unit_id, reason, _ = self.asked.pop(ref)
            return Outcome(unit_id, "crashed" if _succeeded(ref) else "lost", reason=reason)
        unit_id, node = self.running.pop(ref)
        try:
            report: UnitReport = ray.get(ref)
        except RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except (NodeDiedError, OutOfMemoryError) as error:
            return self._gone(unit_id, error)
        except WorkerCrashedError:
            here = NodeAffinitySchedulingStrategy(node, soft=False)
            asked = self.ask.options(scheduling_strategy=here).remote()
            self.asked[asked] = unit_id, "died", time.monotonic() + ANSWER
            return None
        except RayError as error:
            return self._gone(unit_id, error)
        return Outcome(unit_id, "reported", report)

    def _gone(self, unit_id: str, error: RayError) -> Outcome:
        self._looked = 0.0  # the list of machines is old
        return Outcome(unit_id, "lost", reason=f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")

    def _unanswered(self) -> list[Outcome]:
        """Units whose machine did not answer in time."""
        late = [ref for ref, (_, _, due) in self.asked.items() if time.monotonic() > due]
        for ref in late:
            ray.cancel(ref, force=True)
        return [
            Outcome(unit_id, "lost", reason="its machine does not answer") for unit_id, *_ in map(self.asked.pop, late)
        ]


def _answer() -> bool:
    return True


def _succeeded(ref: Any) -> bool:
    try:
        return bool(ray.get(ref))
    except RayError:
        return False
