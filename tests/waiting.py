"""Wait for what a test needs: for the event, never for a number of seconds.

The limits are generous. They are not reached on a machine that is eight times busier than usual, and end a test that
would hang.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")

LIMIT = 300.0  # seconds after which what is waited for does not come
PAUSE = 0.01  # seconds between two looks


def wait_until(condition: Callable[[], object], what: str, limit: float = LIMIT) -> None:
    """Wait until `condition()` is true.

    Args:
        condition: is asked again and again.
        what: stands in the failure: "the worker is gone".
        limit: seconds.

    Raises:
        AssertionError: it did not become true within the limit.
    """
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"waited {limit:g} s in vain until {what}"
        time.sleep(PAUSE)


class StoppedClock:
    """Stands in for the module `time` where a short limit is tested: it runs only while something goes on.

    So the limit is not reached before or afterwards, however long a busy machine takes.
    """

    def __init__(self, begun: Callable[[], bool], over: Callable[[], bool] = lambda: False) -> None:
        self.begun, self.over, self.start = begun, over, 0.0

    def monotonic(self) -> float:
        """Seconds since `begun` was first seen to be true; 0 before, and when it is over."""
        if not self.start and self.begun():
            self.start = time.monotonic()
        return time.monotonic() - self.start if self.start and not self.over() else 0.0


def in_time(call: Callable[[], Value], what: str, limit: float = LIMIT) -> Value:
    """The value of a call that might never end.

    Args:
        call: runs in a thread of its own.
        what: stands in the failure: "the pool is closed".
        limit: seconds.

    Raises:
        AssertionError: the call did not end within the limit.
        Exception: what the call raises.
    """
    values: list[Value] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            values.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit)
    assert not thread.is_alive(), f"waited {limit:g} s in vain until {what}"
    if errors:
        raise errors[0]
    return values[0]
