"""Gives the videos of the queue to the worker processes, and takes their answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from dataclasses import dataclass, field
from typing import Any

from common.cores import cores
from serve.child import Child, ChildDied
from serve.feed import Feed
from serve.metrics import Metrics
from serve.settings import Settings
from serve.store import Store

log = logging.getLogger("dfdc.serve")

DEATHS = 3  # of workers on one video, after which it is given up
PAUSE = 5.0  # seconds before a worker is started again
# Without a word of a worker that has videos. One video may take 600 s of CPU for decoding alone (VideoLimits).
SILENCE = 3600.0


class CannotStart(Exception):  # noqa: N818
    """The ensemble could not be loaded; the message says why."""


@dataclass
class Worker:
    """One worker process as the server sees it."""

    device: str  # asked for; when it is ready, the one that it uses
    state: str = "loading"  # loading, ready, or why it is not there
    given: dict[str, str] = field(default_factory=dict)  # id -> stage, in the order in which they were given
    fresh: asyncio.Event = field(default_factory=asyncio.Event)  # a video has come into the queue


class Dispatcher:
    """The workers, one for each device, and what they have in hand."""

    def __init__(self, settings: Settings, store: Store, feed: Feed, metrics: Metrics) -> None:
        self.settings, self.store, self.feed, self.metrics = settings, store, feed, metrics
        self.workers = [Worker(device) for device in settings.devices]
        # Videos in the hands of a worker: one for each of its decoders, and the one that is scored.
        self.ahead = cores() + 1

    @property
    def healthy(self) -> bool:
        """Whether some worker is ready, or is being loaded."""
        return any(worker.state in ("loading", "ready") for worker in self.workers)

    def wake(self) -> None:
        """A video has come into the queue."""
        for worker in self.workers:
            worker.fresh.set()

    async def run(self) -> None:
        """Keep all workers at work until this is cancelled.

        Raises:
            CannotStart: the ensemble cannot be loaded.
        """
        async with asyncio.TaskGroup() as group:
            for worker in self.workers:
                group.create_task(self._keep(worker))

    async def _keep(self, worker: Worker) -> None:
        """One worker after the other, for as long as they end."""
        was_ready = False
        while True:
            worker.state = "loading"
            child = await Child.start("serve.worker", str(os.getpid()), *self._arguments(worker))
            try:
                await self._attend(child, worker)
            except ChildDied as death:
                was_ready |= worker.state == "ready"
                if not was_ready:
                    raise CannotStart(str(death)) from death
                pause = 0.0 if worker.state == "ready" else PAUSE
                self._after(worker, str(death))
            finally:
                await child.close()
            await asyncio.sleep(pause)

    def _arguments(self, worker: Worker) -> list[str]:
        asked: dict[str, object] = {"device": worker.device, "members": self.settings.members}
        asked |= {"blend": self.settings.blend, "frames": self.settings.frames}
        return [part for name, value in asked.items() if value is not None for part in (f"--{name}", str(value))]

    async def _attend(self, child: Child, worker: Worker) -> None:
        """Give jobs and take answers until the process ends, which raises ChildDied."""
        first = await child.receive()
        if "failed" in first:
            raise ChildDied(first["failed"])
        worker.device, worker.state = first["ready"], "ready"
        log.info("the ensemble is ready on %s", worker.device)
        answer = asyncio.create_task(child.receive())
        try:
            while True:
                worker.fresh.clear()
                await self._fill(child, worker)
                fresh = asyncio.create_task(worker.fresh.wait())
                done, _ = await asyncio.wait((answer, fresh), timeout=SILENCE, return_when=asyncio.FIRST_COMPLETED)
                fresh.cancel()
                if answer in done:
                    self._take(worker, answer.result())
                    answer = asyncio.create_task(child.receive())
                elif not done and worker.given:
                    raise ChildDied(f"said nothing for {SILENCE:g} s")
        finally:
            answer.cancel()
            with contextlib.suppress(asyncio.CancelledError, ChildDied):
                await answer

    async def _fill(self, child: Child, worker: Worker) -> None:
        while len(worker.given) < self.ahead and (video := self.store.claim()):
            worker.given[video.id] = ""
            await child.send({"id": video.id, "path": str(self.store.path_of(video.id)), "name": video.name})
            self.feed.tell(video.id)

    def _take(self, worker: Worker, answer: dict[str, Any]) -> None:
        identity = answer["id"]
        if "stage" in answer:
            worker.given[identity] = answer["stage"]
            self.store.set_stage(identity, answer["stage"])
            self.feed.tell(identity)
            return
        del worker.given[identity]
        self._finish(identity, answer["result"], answer["report"])

    def _finish(self, identity: str, result: dict[str, Any], report: str | None) -> None:
        with contextlib.suppress(KeyError):  # it was deleted meanwhile
            video = self.store.get(identity)
            self.store.finish(identity, result, report)
            self.metrics.done(str(result["status"]), time.time() - video.created)
        self.feed.tell(identity)

    def _after(self, worker: Worker, how: str) -> None:
        """Put back what a dead worker had; the video that it was scoring is held responsible."""
        self.metrics.worker_died()
        log.warning("the worker on %s %s; another is started", worker.device, how)
        suspect = next((each for each, stage in worker.given.items() if stage == "scoring"), None)
        for identity in worker.given:
            deaths = self.store.put_back(identity, died=identity == suspect)
            if deaths >= DEATHS:
                reason = f"the process that scored it {how}, {deaths} times in a row"
                name = self.store.get(identity).name
                result = {"filename": name, "prob_fake": 0.5, "status": "crashed", "reason": reason, "people": []}
                self._finish(identity, result | {"faces": []}, None)
            self.feed.tell(identity)
        worker.given.clear()
        worker.state = how
        self.wake()
