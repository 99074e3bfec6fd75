"""A storage service that has a bad day: a proxy before a real S3 server that refuses, cuts and stalls."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
HOPS = {"connection", "transfer-encoding", "content-length", "host"}  # headers of one connection, not of the request


@dataclass
class Faults:
    """What goes wrong with which requests."""

    refuse: Callable[[str, str], bool] = lambda method, path: False  # answered with 503 Slow Down
    cut: Callable[[str, str], bool] = lambda method, path: False  # half of the answer comes, then the line is dead
    stall: Callable[[str, str], bool] = lambda method, path: False  # waits for `go_on` before it is passed on
    go_on: threading.Event = field(default_factory=threading.Event)
    stalled: threading.Event = field(default_factory=threading.Event)  # a request waits
    seen: list[tuple[str, str]] = field(default_factory=list)


class FaultyStore:
    """The proxy, listening on a port of this machine until it is closed."""

    def __init__(self, behind: str) -> None:
        """Start it.

        Args:
            behind: address of the real server, http://host:port.
        """
        self.faults = Faults()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(urlsplit(behind).netloc, lambda: self.faults))
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End it; requests that wait are let go."""
        self.faults.go_on.set()
        self._server.shutdown()
        self._server.server_close()


def _handler(behind: str, faults_of: Callable[[], Faults]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            faults = faults_of()
            faults.seen.append((self.command, self.path))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if faults.refuse(self.command, self.path):
                return self.answer(503, [("Content-Type", "application/xml")], SLOW_DOWN)
            if faults.stall(self.command, self.path):
                faults.stalled.set()
                faults.go_on.wait()
            connection = http.client.HTTPConnection(behind)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOPS}
            connection.request(self.command, self.path, body, headers)
            reply = connection.getresponse()
            data = reply.read()
            self.answer(reply.status, reply.getheaders(), data, faults.cut(self.command, self.path))
            connection.close()
            return None

        def answer(self, status: int, headers: list[tuple[str, str]], data: bytes, cut: bool = False) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in HOPS:
                    self.send_header(name, value)
            length = next((v for n, v in headers if n.lower() == "content-length"), str(len(data)))
            self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data[: len(data) // 2] if cut else data)
            self.close_connection = cut

        def log_message(self, *_: object) -> None:
            pass

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on  # noqa: N815 - names of http.server

    return Handler
