"""How a training is asked to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from common.errors import DfdcError


class StoppedError(DfdcError):
    """The run was asked to stop (SIGTERM, Ctrl-C, or a pause) and has written its checkpoint."""


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Take SIGTERM and SIGINT as requests, so that the step in hand can end and a checkpoint be written.

    Yields:
        A call that tells whether one has come. The handlers of before are put back at the end.
    """
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
