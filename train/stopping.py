"""How a training is asked to stop: SIGTERM, what a spot machine gets, or Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from common.errors import DfdcError

# sysexits.h calls it EX_TEMPFAIL: "the user is invited to retry". Schedulers can tell it from 0 (done) and 1 (failed).
EXIT_GO_ON = 75
GO_ON = "run the same command to go on"


class StoppedError(DfdcError):
    """The run was asked to stop (SIGTERM, Ctrl-C, or a pause); the same command goes on from its checkpoint."""

    def __init__(self, message: str, interrupted: bool = False) -> None:
        """Say what was stopped; interrupted: by Ctrl-C."""
        super().__init__(message)
        self.interrupted = interrupted


class Stops:
    """Whether somebody has asked this process to stop.

    A request is a StoppedError where the program is at that moment, so that it is acted on at once; inside `held` it
    is only noted, and the code there asks `asked` at its own moments.
    """

    def __init__(self) -> None:
        self.asked = False
        self.interrupted = False  # the last request was Ctrl-C's
        self._holds = 0

    def ask(self, number: int = signal.SIGTERM, *_: object) -> None:
        """Note a request; the signal handler. Raises StoppedError unless requests are held."""
        self.asked, self.interrupted = True, number == signal.SIGINT
        if not self._holds:
            raise StoppedError(f"stopped; {GO_ON}")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Only note requests that come inside."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    @contextmanager
    def released(self) -> Iterator[None]:
        """Let requests raise again inside, also one that has come before: for waits that may be long."""
        holds, self._holds = self._holds, 0
        try:
            if self.asked:
                raise StoppedError(f"stopped; {GO_ON}")
            yield
        finally:
            self._holds = holds


@contextmanager
def stop_requests() -> Iterator[Stops]:
    """Take SIGTERM and SIGINT as requests to stop. The handlers of before are put back at the end.

    Yields:
        Where requests are noted.
    """
    stops = Stops()
    before = {number: signal.signal(number, stops.ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stops
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
