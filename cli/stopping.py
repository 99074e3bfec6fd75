"""How Ctrl-C ends every command: what is finished is on the disk, one line names the next step, exit code 130."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
from collections.abc import Iterator
from typing import NoReturn

EXIT_STOPPED = 130  # 128 and the number of Ctrl-C's signal, as shells have it


class Stopped(BaseException):
    """The user has pressed Ctrl-C. Typer would answer a KeyboardInterrupt itself, with exit code 1 and no next step."""


_told = {"kept": "nothing was begun", "again": "go on"}


def when_stopped(kept: str, again: str = "go on") -> None:
    """Say what Ctrl-C shall say from here on.

    Args:
        kept: what is on the disk by then, as the half of a sentence.
        again: what the same command does: go on, or begin anew.
    """
    _told.update(kept=kept, again=again)


def command_again() -> str:
    """Return this command as it is written in a shell."""
    return shlex.join(["dfdc", *sys.argv[1:]])


def say_next_step(kept: str, again: str = "go on") -> None:
    """Print the one line that a command ends with when it was stopped.

    Args:
        kept: as for `when_stopped`.
        again: as for `when_stopped`.
    """
    if (tqdm := sys.modules.get("tqdm")) is not None:
        for bar in list(getattr(tqdm.tqdm, "_instances", ())):
            bar.close()  # else it draws itself over this line when the process ends
    start = "\n" if sys.stderr.isatty() else ""  # behind ^C, which the terminal has written
    print(f"{start}dfdc: stopped; {kept}. To {again}: {command_again()}", file=sys.stderr, flush=True)


def _stop(*_: object) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends the process at once
    raise Stopped


@contextlib.contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C end what runs inside, imports too, as this module's first line says.

    Raises:
        SystemExit: with 130, when it was pressed.
    """
    _told.update(kept="nothing was begun", again="go on")
    signal.signal(signal.SIGINT, _stop)
    try:
        yield
    except Stopped:
        say_next_step(**_told)
        sys.exit(EXIT_STOPPED)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # from here on the process only ends
