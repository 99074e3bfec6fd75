"""What a running server consists of, and the way of a video into its queue."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request

from serve.dispatch import Dispatcher
from serve.feed import Feed
from serve.header import HeaderReader
from serve.metrics import Metrics
from serve.problems import Problem
from serve.settings import Settings
from serve.store import Store, Video
from serve.upload import CURL, drain, fetch, receive_form

log = logging.getLogger("dfdc.serve")

SWEEP_SECONDS = 30.0  # between two looks for uploads that are too old
RETRY_SECONDS = 5  # that a client is told to wait when the queue is full
LONGEST_JSON = 16 << 10  # bytes


class Server:
    """The queue, the workers and the files of one `dfdc serve`."""

    def __init__(self, settings: Settings, on_failure: Callable[[BaseException], None]) -> None:
        """Open the folder of the server.

        Args:
            settings: of the server.
            on_failure: is called when the workers cannot be kept running.

        Raises:
            DfdcError: the folder cannot be used.
        """
        self.settings, self.on_failure = settings, on_failure
        self.store, self.feed, self.header = Store(settings.data), Feed(), HeaderReader()
        self.metrics = Metrics(self.store.unfinished)
        self.dispatcher = Dispatcher(settings, self.store, self.feed, self.metrics)
        self._coming = 0  # uploads under way: they have a place in the queue already

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the workers at work, and remove old uploads."""
        tasks = [asyncio.create_task(each) for each in (self.dispatcher.run(), self._sweep())]
        tasks[0].add_done_callback(self._on_end)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.header.close()
            self.store.close()

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            self.on_failure(error)

    async def _sweep(self) -> None:
        while True:
            for identity in self.store.remove_old_files(self.settings.keep):
                self.feed.tell(identity)
            await asyncio.sleep(min(SWEEP_SECONDS, max(1.0, self.settings.keep)))

    async def accept(self, request: Request) -> Video:
        """Take the video of a request into the queue.

        Args:
            request: a form with one file, or JSON {"url":}.

        Returns:
            Its row: file and row are on the disk by then.

        Raises:
            Problem: it is refused. Nothing is kept of it then.
        """
        identity = secrets.token_hex(8)
        part = self.store.path_of(f"{identity}.part")
        try:
            with self._place():
                name = await self._receive(request, part)
                await self._check(part)
                video = await asyncio.to_thread(self.store.accept, identity, name, part)
        except Problem as problem:
            await drain(request, problem)
            raise
        except ClientDisconnect as error:
            raise Problem(400, "the client went away in the middle", "send it again") from error
        except OSError as error:
            log.error("an upload could not be written: %s", error)
            told = f"the server cannot write the video ({error.strerror})"
            raise Problem(507, told, "make room on its disk, then send it again") from error
        finally:
            part.unlink(missing_ok=True)
        self.metrics.accepted(video.bytes)
        self.feed.tell(identity)
        self.dispatcher.wake()
        return video

    @contextlib.contextmanager
    def _place(self) -> Any:
        """A place in the queue."""
        most = self.settings.max_queue
        if self.store.unfinished() + self._coming >= most:
            wait = {"Retry-After": str(RETRY_SECONDS)}
            raise Problem(429, f"{most} videos wait already", "wait and send it again, or start with --max-queue", wait)
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1

    async def _receive(self, request: Request, part: Path) -> str:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            return await receive_form(request, part, self.settings.max_bytes)
        if kind == "application/json":
            url = await _url_of(request)
            return await asyncio.to_thread(fetch, url, part, self.settings.max_bytes, self.settings.allow_hosts)
        raise Problem(415, f"a body of {kind or 'no type'!r} is not taken", CURL)

    async def _check(self, part: Path) -> None:
        try:
            seconds = await self.header.seconds_of(part)
        except ValueError as error:
            raise Problem(422, f"the file {error}", "look whether a player shows it") from None
        if seconds > self.settings.max_seconds:
            told = f"the video lasts {seconds:.0f} s, and the limit is {self.settings.max_seconds:.0f} s"
            raise Problem(422, told, "send a shorter part, or start with --max-seconds")


async def _url_of(request: Request) -> str:
    if int(request.headers.get("content-length") or 0) > LONGEST_JSON:
        raise Problem(413, f"the JSON is longer than {LONGEST_JSON} bytes", 'send {"url": "https://..."}')
    try:
        async with asyncio.timeout(20):
            values = await request.json()
    except TimeoutError:
        raise Problem(408, "the JSON did not come within 20 s", "send it again") from None
    except ValueError:
        values = None
    if not isinstance(values, dict) or not isinstance(values.get("url"), str):
        raise Problem(422, "the body is no JSON with a url", 'send {"url": "https://..."}')
    return str(values["url"])
