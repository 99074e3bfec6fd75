"""`dfdc serve`: listen, answer, end."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from common.errors import DfdcError
from serve.api import make_app
from serve.settings import Settings

HEAD_SECONDS = 20.0  # until the head of a request must be there
MOST_CONNECTIONS = 512
LAST_SECONDS = 3  # for requests under way when the server is stopped


class Impatient(H11Protocol):
    """HTTP/1.1 that closes a connection on which no request comes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to count."""
        super().connection_made(transport)
        self.loop.call_later(HEAD_SECONDS, self._look)

    def _look(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


class _Listening(uvicorn.Server):
    """Says where it listens, in one line that programs can read too."""

    async def startup(self, sockets: Any = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"dfdc serve: open http://{shown}:{port}", flush=True)


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: of the server.

    Raises:
        DfdcError: the folder or the address cannot be used, or the ensemble cannot be loaded.
    """
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    failures: list[BaseException] = []

    def stop(error: BaseException) -> None:
        failures.append(error)
        server.should_exit = True

    app = make_app(settings, stop)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=Impatient,
        ws="none",
        log_level="warning",
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=LAST_SECONDS,
    )
    server = _Listening(config)
    try:
        server.run()
    except SystemExit as error:  # uvicorn has said why, on stderr
        raise DfdcError(f"{settings.host}:{settings.port} cannot be listened on; choose another --port") from error
    if failures:
        raise DfdcError(f"the ensemble cannot predict: {failures[0]}") from failures[0]
