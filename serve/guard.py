"""Who may ask: the token where there is one, and no web page of somebody else."""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.metrics import Metrics
from serve.problems import Problem
from serve.settings import LOCAL_NAMES, Settings
from serve.upload import drain

OPEN = {"/", "/docs", "/openapi.json", "/healthz"}  # they tell nothing of any video
# Nothing is loaded from anywhere, no page is shown inside another, and no file is taken for what it is not.
SAFE = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"x-frame-options": b"DENY",
    b"cache-control": b"no-store",
}


class Guard:
    """Stands before the application."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *SAFE.items()]
                if message["status"] >= 400:
                    self.metrics.refused(message["status"])
            await send(message)

        if problem := self._why_not(Headers(scope=scope), scope["path"]):
            await drain(Request(scope, receive), problem)
            await problem.response()(scope, receive, safely)
        else:
            await self.app(scope, receive, safely)

    def _why_not(self, headers: Headers, path: str) -> Problem | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        # A page of another site may make a browser ask here; what the browser says of that page gives it away.
        if (origin is not None and urlsplit(origin).netloc != host) or headers.get("sec-fetch-site") == "cross-site":
            return Problem(403, f"a page of {origin} may not ask here", "open the page of this server itself")
        if not self.settings.token:
            # A name that somebody else has made to point at this machine (DNS rebinding).
            if (urlsplit(f"//{host}").hostname or "") not in (*LOCAL_NAMES, self.settings.host):
                return Problem(403, f"this server is not called {host!r}", "open it at 127.0.0.1, or give it a --token")
            return None
        if path in OPEN:
            return None
        kind, _, given = headers.get("authorization", "").partition(" ")
        # Both as bytes: the comparison takes the same time wherever they differ.
        if kind.lower() == "bearer" and secrets.compare_digest(given.encode(), self.settings.token.encode()):
            return None
        told = "the token is wrong" if given else "a token is needed"
        wanted = {"WWW-Authenticate": "Bearer"}
        return Problem(401, told, "send the header Authorization: Bearer TOKEN with the server's --token", wanted)
