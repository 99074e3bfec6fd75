"""Asking Kaggle again and again until something is done, and telling a fault that passes from one that stays."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from common.errors import DfdcError
from common.files import lock_file
from inference.schedule.duration import clock
from kaggle_dataset.submit.kaggle_client import Answer, Kaggle, KaggleTimeout, NotSignedIn

Say = Callable[[str], None]

CALL = 120.0  # seconds that one command of the CLI may take; it has no time limits of its own
LONGEST = 300.0  # seconds between two questions when Kaggle has failed many times in a row
# The CLI often prints only Kaggle's message, without the status code. What is not known to stay is asked again.
STAYS = re.compile(r"\b40[134]\b|was denied|not found|unauthenticated|unauthorized|forbidden", re.IGNORECASE)
SIGNED_OUT = re.compile(r"\b401\b|unauthenticated|unauthorized", re.IGNORECASE)


class Refused(DfdcError):  # noqa: N818
    """Kaggle said no, and asking again will not help."""


class Timer:
    """A deadline, and the pauses until then.

    what: the thing that is waited for, goes_on: the next step once the time is over; both are for the message.
    """

    def __init__(self, seconds: float, poll: float, say: Say, what: str, goes_on: str) -> None:
        """seconds: until the deadline. poll: seconds between two questions, twice as many after each failure."""
        self.poll, self.say, self.what, self.goes_on = poll, say, what, goes_on
        self._began = time.monotonic()
        self._end = self._began + seconds

    def pause(self, news: str, failures: int = 0) -> None:
        """Say what is known and sleep.

        Args:
            news: what is known.
            failures: in a row, until now.

        Raises:
            DfdcError: the deadline has come.
        """
        now = time.monotonic()
        self.say(f"{clock(now - self._began)} {news}")
        if now >= self._end:
            waited = clock(now - self._began)
            raise DfdcError(f"{self.what} is not there after {waited}, the last news: {news}; {self.goes_on}")
        time.sleep(min(self.poll * 2**failures, max(LONGEST, self.poll), self._end - now))


def ask(kaggle: Kaggle, timer: Timer, *arguments: str) -> Answer:
    """Run a command that changes nothing until it succeeds.

    What may pass (5xx, 429, no connection, no answer) is tried again; what stays is not.

    Args:
        kaggle: the client.
        timer: the deadline, and the pauses between two tries.
        *arguments: of the command.

    Raises:
        DfdcError: the deadline has come.
        NotSignedIn: the credentials are not accepted.
        Refused: there is no permission, or no such thing.
    """
    failures = 0
    while True:
        try:
            answer = kaggle(*arguments, timeout=CALL)
        except KaggleTimeout as error:
            problem = str(error)
        else:
            if answer.code == 0:
                return answer
            problem = reason(answer)
            if stays(answer):
                raise refusal(f"kaggle {' '.join(arguments[:2])}", answer)
        failures += 1
        timer.pause(f"Kaggle does not answer: {problem}", failures)


def reason(answer: Answer) -> str:
    """The line that says why a command failed: the last of stderr (the others are a traceback), else of stdout."""
    lines = (answer.err.strip() or answer.out.strip() or f"exit code {answer.code}").splitlines()
    return lines[-1].strip()[:500]


def stays(answer: Answer) -> bool:
    """Whether a failed command would fail again in the same way: refused by Kaggle, or not understood by the CLI."""
    return answer.code == 2 or bool(STAYS.search(reason(answer)))


def refusal(what: str, answer: Answer) -> Refused | NotSignedIn:
    """Make the error of something that Kaggle refused, with what the user can do.

    Args:
        what: was asked for.
        answer: of the client.
    """
    why = reason(answer)
    if SIGNED_OUT.search(why):
        return NotSignedIn(f"{what}: {why}; make a new token at https://www.kaggle.com/settings/api")
    return Refused(
        f"{what}: {why}; check that the name is right, that the token is of an account that may do this, and that the "
        f"competition's rules are accepted"
    )


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
