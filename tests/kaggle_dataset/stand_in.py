"""A stand-in for Kaggle's API on a port of 127.0.0.1: the real `kaggle` client talks to it, and faults can be put in.

The client is sent here with KAGGLE_API_ENVIRONMENT=LOCALHOST (it then calls http://localhost/api/v1/...) and HTTP_PROXY
naming this port: the server is its own proxy. Without the proxy it reaches port 80 of this machine, never kaggle.com.
"""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.kaggle_dataset.service import Fault, RefusedError, Service

BLOCK = 1 << 16


class CutError(Exception):
    """The connection is to be closed without an answer."""


class Handler(BaseHTTPRequestHandler):
    """HTTP around a Service: bodies, faults, the upload protocol."""

    protocol_version = "HTTP/1.1"
    service: Service

    def log_message(self, *_: object) -> None:
        pass

    def handle_any(self) -> None:
        """Every request: read, fail where a fault says so, act, write down."""
        self.url_path = unquote(urlsplit(self.path).path)  # absolute when we are the proxy
        self.what = f"{self.command} {self.url_path}"
        self.record = {
            "time": time.time(),
            "method": self.command,
            "path": self.url_path,
            "headers": dict(self.headers),
            "status": None,
        }
        with self.service.lock:
            self.service.log.append(self.record)
        try:
            self._route()
        except CutError:
            self._slam()
        except RefusedError as refused:
            self._send(refused.status, {"code": refused.status, "message": str(refused)})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_POST = do_PUT = handle_any  # noqa: N815

    def _route(self) -> None:
        if self.command == "PUT" and self.url_path.startswith("/upload/"):
            self._put(self.url_path.rsplit("/", 1)[1])
            return
        body = b"".join(self._body())
        ask = json.loads(body) if body.startswith(b"{") else {}
        self.record["json"] = ask
        if self._fail(self.service.take_fault(self.what, after=False)):
            return
        if self.command == "GET":
            self._get()
            return
        call = re.fullmatch(r"/api/v1/[\w.]+/(\w+)", self.url_path)
        if not call:
            raise RefusedError(404, f"no such route: {self.what}")
        if call[1] != "IntrospectToken" and self.headers.get("Authorization") != f"Bearer {self.service.token}":
            raise RefusedError(401, "Unauthenticated")
        answer = self.service.answer(call[1], ask, f"http://{self.headers['Host']}")
        if self._fail(self.service.take_fault(self.what, after=True)):
            return
        if "redirect" in answer:
            self._send(302, b"", {"Location": answer["redirect"]})
        else:
            self._send(200, answer)

    def _get(self) -> None:
        """Files: outputs of a kernel, and those of a dataset."""
        kind, name = self.url_path.strip("/").split("/", 1)
        data = self.service.outputs.get(name) if kind == "output" else None
        if kind == "download":
            ref, number, file = name.rsplit("/", 2)
            data = (self.service.stored(ref, int(number)).with_name("mounted") / file).read_bytes()
        if data is None:
            self._send(404, b"<Error>NoSuchKey</Error>", {"Content-Type": "application/xml"})
            return
        headers = {"Content-Type": "application/octet-stream", "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT"}
        self._send(200, data, headers)

    def _put(self, token: str) -> None:
        """The part of Google's resumable upload that the client uses."""
        fault = self.service.take_fault(self.what, after=False)
        blob = self.service.blobs.get(token)
        sent_range = self.headers.get("Content-Range", "")
        if fault and fault.cut_after is None and fault.stall_after is None:
            b"".join(self._body())
            if self._fail(fault):
                return
        if blob is None:
            b"".join(self._body())
            raise RefusedError(404, "upload session unknown or expired")
        if not sent_range.startswith("bytes */"):
            start = int(sent_range.split()[1].split("-")[0]) if sent_range else 0
            self._receive(self.service.root / "blobs" / token, blob, start, fault)
        self._send_progress(blob)

    def _receive(self, path: Path, blob: dict, start: int, fault: Fault | None) -> None:
        """Put the body into the blob from `start` on, as far as a fault lets it come."""
        limits = (fault.cut_after, fault.stall_after) if fault else ()
        limit = next((limit for limit in limits if limit is not None), None)
        data = b""
        for block in self._body():
            data += block
            if limit is not None and len(data) >= limit:
                break
        data = data[:limit]
        if limit is not None:
            multiple = self.service.options.persist_multiple
            data = data[: (start + len(data)) // multiple * multiple - start]
        path.write_bytes(path.read_bytes()[:start] + data)
        self.record["received"] = len(data)
        blob["have"] = start + len(data)
        blob["done"] = blob["have"] == blob["size"]
        if limit is not None:
            if fault:
                fault.wait()
            raise CutError

    def _send_progress(self, blob: dict) -> None:
        if blob["done"]:
            self._send(200, {"name": blob["name"]})
        else:
            self._send(308, b"", {"Range": f"bytes=0-{blob['have'] - 1}"} if blob["have"] else {})

    def _fail(self, fault: Fault | None) -> bool:
        """Let the fault happen; False where the request goes on."""
        if fault is None:
            return False
        fault.wait()
        if fault.drop:
            raise CutError
        if not fault.status:
            return False
        body = fault.body if fault.body is not None else {"code": fault.status, "message": f"injected {fault.status}"}
        if isinstance(body, str):
            self._send(fault.status, body.encode(), {"Content-Type": "text/html", **fault.headers})
        else:
            self._send(fault.status, body, fault.headers)
        return True

    def _body(self) -> Iterator[bytes]:
        """The body in blocks; an empty file comes chunked."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            block = self.rfile.read1(min(left, BLOCK))
            if not block:
                raise CutError
            left -= len(block)
            yield block

    def _send(self, status: int, body: dict | bytes, headers: dict | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.record["status"] = status
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _slam(self) -> None:
        self.close_connection = True
        self.record["status"] = "closed"
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            self.record["status"] = "gone"


def serve(root: Path, port: int = 0) -> tuple[ThreadingHTTPServer, Service]:
    """Start it in a thread. `server.server_address[1]` is the port; end with `server.shutdown(); server_close()`."""
    service = Service(Path(root))
    server = ThreadingHTTPServer(("127.0.0.1", port), type("Bound", (Handler,), {"service": service}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server, service
