"""A child process that answers lines of JSON with lines of JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LONGEST_LINE = 64 << 20  # bytes: a result has its pictures inside
EXIT_SECONDS = 5.0  # for a process that was killed to be gone


class ChildDied(Exception):  # noqa: N818 - it is how a process ends, not an error of ours
    """The process has ended, or said what is no line of JSON; the message says how."""


class Child:
    """A Python process that runs a module, and the pipes to it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, module: str, *arguments: str) -> Child:
        """Start `python -m module arguments`.

        Its stderr is that of this process. It must end when its stdin does.

        Raises:
            OSError: the process cannot be started.
        """
        # It must find what this process finds, whatever lies in the current folder (-P).
        search = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", module, *arguments,
            env=os.environ | {"PYTHONPATH": search},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
            process_group=0,  # Ctrl-C is for the server, which then ends it
        )  # fmt: skip
        return cls(process)

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send a line. A process that is gone is noticed where its answer is awaited."""
        stdin = self.process.stdin
        assert stdin is not None  # noqa: S101 - it was asked for
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stdin.write(json.dumps(message).encode() + b"\n")
            await stdin.drain()

    async def receive(self) -> dict[str, Any]:
        """Wait for a line.

        Raises:
            ChildDied: none comes any more.
        """
        stdout = self.process.stdout
        assert stdout is not None  # noqa: S101
        try:
            line = await stdout.readline()
            if line.endswith(b"\n"):
                values = json.loads(line)
                if isinstance(values, dict):
                    return values
        except ValueError as error:
            raise ChildDied(f"said what is no answer ({error})") from error
        code = await self.process.wait()
        how = f"was killed by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"ended with code {code}"
        raise ChildDied(how)

    async def close(self) -> None:
        """Kill the process and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), EXIT_SECONDS)
