"""Videos that come in: out of a multipart body, piece by piece onto the disk, or from an address."""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from serve.problems import Problem

SLOWEST = 16 << 10  # bytes a second, on average, that a client must send
GRACE = 20.0  # seconds that it may take beyond that, over the whole upload
BESIDE = 64 << 10  # bytes of a body beside the file: boundaries, heads and fields
DRAIN_SECONDS = 2.0  # of reading on after a refusal: most clients listen only when they have sent
LONGEST_NAME = 255  # characters of a name that are kept
CURL = "send it as a form: curl -F file=@clip.mp4 http://ADDRESS/v1/videos"


def shown_name(name: str) -> str:
    """The name of a file as it is shown: one line, not too long. It is never opened."""
    plain = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in name).strip()
    return plain[-LONGEST_NAME:] or "video"


def too_large(limit: int) -> Problem:
    """The refusal of what is larger than an upload may be."""
    return Problem(
        413, f"the video is larger than the limit of {limit} bytes", "send a shorter part, or start with --max-bytes"
    )


async def pieces(request: Request, clock: Callable[[], float] = time.monotonic) -> AsyncIterator[bytes]:
    """The body of a request as it comes. Raises Problem when it comes too slowly."""
    began, received = clock(), 0
    body = request.stream()
    while True:
        left = began + GRACE + received / SLOWEST - clock()
        try:
            piece = await asyncio.wait_for(anext(body), max(0.0, left))
        except StopAsyncIteration:
            return
        except TimeoutError:
            told = f"the upload came too slowly: {received} bytes in {clock() - began:.0f} s"
            raise Problem(408, told, f"send at least {SLOWEST >> 10} KiB a second", {"Connection": "close"}) from None
        received += len(piece)
        yield piece


async def drain(request: Request, problem: Problem) -> None:
    """Read on for a moment, so that the client comes to read why it is refused; what is longer ends the connection."""
    with suppress(TimeoutError, RuntimeError, ClientDisconnect):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in request.stream():
                pass
            return
    problem.headers = {**(problem.headers or {}), "Connection": "close"}


class _OneFile:
    """Collects the file of a multipart body: the name, and the data that was not fetched yet."""

    def __init__(self, boundary: bytes) -> None:
        self.name: str | None = None
        self.data: list[bytes] = []
        self.complete = False
        self._field, self._value, self._is_file = b"", b"", False
        self.parser = MultipartParser(
            boundary,
            {
                "on_header_field": self._on_field,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header,
                "on_part_begin": self._on_begin,
                "on_part_data": self._on_data,
                "on_end": self._on_end,
            },
        )

    def _on_begin(self) -> None:
        self._is_file = False

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        field, value, self._field, self._value = self._field, self._value, b"", b""
        if field.lower() != b"content-disposition":
            return
        options: dict[bytes, bytes] = parse_options_header(value)[1]
        if b"filename" not in options:
            return
        if self.name is not None:
            raise Problem(400, "the form has more than one file", "send one request for each video")
        self._is_file = True
        self.name = shown_name(options[b"filename"].decode("utf-8", "replace"))

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.data.append(data[start:end])

    def _on_end(self) -> None:
        self.complete = True

    def fetch(self) -> bytes:
        """The data of the file that came since the last call."""
        data, self.data = b"".join(self.data), []
        return data


async def receive_form(request: Request, target: Path, most: int) -> str:
    """Write the one file of a form to the disk as it comes.

    Args:
        request: with a body of multipart/form-data.
        target: is written.
        most: bytes of the file.

    Returns:
        The name that the client gives it, to show.

    Raises:
        Problem: there is no file in it or more than one, it is too large, it comes too slowly, or not whole.
    """
    options: dict[bytes, bytes] = parse_options_header(request.headers.get("content-type", ""))[1]
    if not (boundary := options.get(b"boundary")):
        raise Problem(400, "the form has no boundary", CURL)
    if int(request.headers.get("content-length") or 0) > most + BESIDE:
        raise too_large(most)
    form, written, received = _OneFile(boundary), 0, 0
    with target.open("wb") as file:
        async for piece in pieces(request):
            received += len(piece)
            try:
                form.parser.write(piece)
            except MultipartParseError as error:
                raise Problem(400, f"the body is no form: {error}", CURL) from error
            data = form.fetch()
            written += len(data)
            if written > most or received > written + BESIDE + len(piece):
                raise too_large(most)
            await asyncio.to_thread(file.write, data)
    if form.name is None:
        raise Problem(400, "the form has no file", CURL)
    if not form.complete:
        raise Problem(400, "the upload ended in the middle", "send it again")
    return form.name


class _OnlyAllowed(urllib.request.HTTPRedirectHandler):
    """Follows a redirection only to where a first request may go as well."""

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self.hosts = hosts

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        check_address(newurl, self.hosts)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_address(url: str, hosts: tuple[str, ...]) -> None:
    """Raise Problem unless an address is of HTTP and its host is one of those allowed."""
    try:
        parts = urllib.parse.urlsplit(url)
        at = parts.hostname or ""
        named = {at, f"{at}:{parts.port}"} if parts.port else {at}
    except ValueError:
        raise Problem(422, f"{url!r} is no address", "give one that begins with https://") from None
    if parts.scheme not in ("http", "https") or not at:
        raise Problem(422, f"{url!r} is no address of HTTP", "give one that begins with https://")
    if not named & {host.lower() for host in hosts}:
        raise Problem(403, f"videos are not fetched from {at!r}", f"upload the file, or start with --allow-host {at}")


def fetch(url: str, target: Path, most: int, hosts: tuple[str, ...]) -> str:
    """Fetch a video from an address; to be called in a thread.

    Args:
        url: of HTTP, on one of `hosts`.
        target: is written.
        most: bytes of the video.
        hosts: names, or names with a port, that are allowed.

    Returns:
        The last part of the address, to show.

    Raises:
        Problem: the address is not allowed or does not answer, or the video is too large or comes too slowly.
    """
    check_address(url, hosts)
    # No proxy of the environment, no file:, no ftp:.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _OnlyAllowed(hosts),
    ):
        opener.add_handler(handler)
    try:
        with opener.open(url, timeout=GRACE) as answer, target.open("wb") as file:
            _copy(answer, file, most)
    except (OSError, urllib.error.URLError) as error:
        raise Problem(502, f"{url} could not be fetched: {error}", "look whether it opens elsewhere") from error
    return shown_name(urllib.parse.unquote(urllib.parse.urlsplit(url).path.rsplit("/", 1)[-1]))


def _copy(answer: Any, file: IO[bytes], most: int) -> None:
    began, received = time.monotonic(), 0
    while piece := answer.read1(1 << 16):
        received += len(piece)
        if received > most:
            raise too_large(most)
        if time.monotonic() > began + GRACE + received / SLOWEST:
            raise Problem(504, f"the address sent {received} bytes too slowly", "upload the file instead")
        file.write(piece)
