"""Who waits for news of a video is told; how often it changed meanwhile does not matter."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator


class Listener:
    """The videos that have changed since they were last asked for."""

    def __init__(self) -> None:
        self._changed: dict[str, None] = {}  # a set that keeps its order
        self._event = asyncio.Event()

    def tell(self, identity: str) -> None:
        """A video has changed."""
        self._changed[identity] = None
        self._event.set()

    async def wait(self, seconds: float) -> list[str]:
        """Wait for news, `seconds` at most. Returns the videos that have changed, none when the time is over."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), seconds)
        self._event.clear()
        changed = list(self._changed)
        self._changed.clear()
        return changed


class Feed:
    """Changes of videos, to all who listen."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    @contextlib.contextmanager
    def listen(self) -> Iterator[Listener]:
        """Listen for as long as the context lasts."""
        listener = Listener()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def tell(self, identity: str) -> None:
        """A video has changed, is new, or is gone."""
        for listener in self._listeners:
            listener.tell(identity)
