"""Copied into the environment of a dry run: there, every Python process writes down each connection and refuses it.

Standard library only. A line of a .pth file starts it, which Python reads before any program: also with -P, -E or -I,
and in children. What it refuses fails as it would without a network, so a program that expects that goes on, and the
line is written all the same.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import sysconfig
from types import FrameType
from typing import Any

UNIX = 1  # socket.AF_UNIX, on Linux and on macOS
LIBRARY = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")})
# Audit events of looking up a name, and of reaching an address; see "Audit events table" in Python's documentation.
LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
REACHES = ("socket.connect", "socket.sendto", "socket.sendmsg")


def watch(log: str) -> None:
    """From now on, append each connection that this process tries to `log`, a JSON object on a line, and refuse it."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in LOOKUPS:
            host, port = arguments[0], arguments[1] if event == LOOKUPS[0] else None
            _write(log, host, port)
            import socket

            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        if event in REACHES and arguments[0].family != UNIX and arguments[1] is not None:
            address = arguments[1] if isinstance(arguments[1], tuple) else (arguments[1], None)
            _write(log, address[0], address[1] if len(address) > 1 else None)
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    sys.addaudithook(hook)


def _write(log: str, host: object, port: object) -> None:
    attempt = {"host": _text(host), "port": _text(port), "callers": _callers(sys._getframe(2))}
    # One write at the end of the file: lines of several processes do not mix.
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(handle, json.dumps(attempt).encode() + b"\n")
    finally:
        os.close(handle)


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else "" if value is None else str(value)


def _callers(frame: FrameType | None) -> list[str]:
    """file:line of the innermost code outside Python's own library, and of what called that from outside a package."""
    found: list[str] = []
    while frame is not None:
        name, place = frame.f_code.co_filename, f"{frame.f_code.co_filename}:{frame.f_lineno}"
        ours = not name.startswith(LIBRARY) and not name.startswith("<frozen")
        packaged = "site-packages" in name
        if ours and (not found or not packaged):
            found.append(place)
        if ours and not packaged:
            break
        frame = frame.f_back
    return found or ["a thread of Python's own library"]
