"""Asking Kaggle again and again until something is done, and telling a fault that passes from one that stays."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from common.errors import DfdcError
from common.files import lock_file
from inference.schedule.duration import clock
from kaggle_dataset.submit.faults import Kind, fault_of, reason, refusal, stays
from kaggle_dataset.submit.kaggle_client import Answer, Kaggle, KaggleTimeout

Say = Callable[[str], None]

CALL = 120.0  # seconds that one command of the CLI may take; it has no time limits of its own
LONGEST = 300.0  # seconds between two questions when Kaggle has failed many times in a row
# A failure of which nobody knows what it means is asked again so often, and so soon that a user hears within a minute.
UNKNOWN_TRIES = 3
SOON = 15.0  # seconds


class Timer:
    """A deadline, and the pauses until then.

    what: the thing that is waited for, goes_on: the next step once the time is over; both are for the message.
    """

    def __init__(self, seconds: float, poll: float, say: Say, what: str, goes_on: str) -> None:
        """seconds: until the deadline. poll: seconds between two questions, twice as many after each failure."""
        self.poll, self.say, self.what, self.goes_on = poll, say, what, goes_on
        self._began = time.monotonic()
        self._end = self._began + seconds

    def pause(self, news: str, failures: int = 0, most: float = LONGEST) -> None:
        """Say what is known and sleep.

        Args:
            news: what is known.
            failures: in a row, until now.
            most: seconds to sleep.

        Raises:
            DfdcError: the deadline has come.
        """
        now = time.monotonic()
        self.say(f"{clock(now - self._began)} {news}")
        if now >= self._end:
            waited = clock(now - self._began)
            raise DfdcError(f"{self.what} is not there after {waited}, the last news: {news}; {self.goes_on}")
        time.sleep(min(self.poll * 2**failures, max(LONGEST, self.poll), most, self._end - now))


def ask(kaggle: Kaggle, timer: Timer, *arguments: str) -> Answer:
    """Run a command that changes nothing until it succeeds.

    What may pass (5xx, 429, no connection, no answer) is tried again until the deadline; what stays is not, and what
    nobody knows UNKNOWN_TRIES times.

    Args:
        kaggle: the client.
        timer: the deadline, and the pauses between two tries.
        *arguments: of the command.

    Raises:
        DfdcError: the deadline has come.
        NotSignedIn: the credentials are not accepted.
        NotThere: there is no such thing, or this account must not see it.
        Refused: Kaggle said no to something else.
    """
    failures = unknown = 0
    kind: Kind
    while True:
        try:
            answer = kaggle(*arguments, timeout=CALL)
        except KaggleTimeout as error:
            problem, kind = str(error), "passes"
        else:
            if answer.code == 0:
                return answer
            problem = reason(answer)
            kind = fault_of(answer).kind
            unknown += kind == "unknown"
            if stays(answer) or unknown >= UNKNOWN_TRIES:
                raise refusal(f"kaggle {' '.join(arguments[:2])}", answer)
        failures += kind == "passes"
        timer.pause(f"Kaggle does not answer: {problem}", failures, LONGEST if kind == "passes" else SOON)


@contextlib.contextmanager
def alone(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold `folder` for this process, however it ends.

    Args:
        folder: that no two processes may work in.
        wait: for the process that has it.

    Raises:
        DfdcError: another process has it, without `wait`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        if not lock_file(handle, wait):
            raise DfdcError(f"another push or submit is at work on {folder}; wait for it")
        yield
    finally:
        os.close(handle)
