"""The paths of the server: the page, the API, its description."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field

from common import __version__
from common.html import render
from serve.feed import Listener
from serve.guard import Guard
from serve.metrics import CONTENT_TYPE
from serve.problems import PROBLEMS, Problem, add_handlers
from serve.server import Server
from serve.settings import Settings
from serve.store import Video

STILL_HERE = 15.0  # seconds of silence after which a stream says that it goes on: proxies cut what is silent
SHOWN = 50  # videos of a list

BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
            "application/json": {
                "schema": {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}
            },
        },
    }
}


class VideoState(BaseModel):
    """A video that was accepted."""

    id: str = Field(description="by which it is asked for")
    number: int = Field(description="counts the videos of this server; a list goes on `before` it")
    name: str = Field(description="as the client called it")
    bytes: int = Field(description="of its file")
    state: str = Field(description="queued, running, done")
    stage: str = Field(description="of a running video: decoding, scoring")
    position: int | None = Field(description="of a queued video: 1 is the next")
    created: str = Field(description="when it was accepted, ISO 8601 in UTC")
    finished: str | None = Field(description="when its answer came")
    has_file: bool = Field(description="whether the upload still lies on the server's disk")
    has_report: bool = Field(description="whether its section of the report can be asked for")
    result: dict[str, Any] | None = Field(
        description="of a video that is done, as `dfdc predict --jsonl` prints it; lists leave out its `faces`"
    )


class VideoList(BaseModel):
    """Some of the history, the newest first."""

    videos: list[VideoState]
    next: str | None = Field(description="where the list goes on")


def make_app(settings: Settings, on_failure: Callable[[BaseException], None]) -> FastAPI:
    """Make the application.

    Args:
        settings: of the server.
        on_failure: is called when the workers cannot be kept running.

    Raises:
        DfdcError: the folder of the server cannot be used.
    """
    server = Server(settings, on_failure)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with server.running():
            yield

    # FastAPI's own pages fetch their scripts from another host; /docs is ours.
    app = FastAPI(
        title="dfdc serve",
        version=__version__,
        description="Videos in, P(fake) out. Errors are application/problem+json with the next step.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses=PROBLEMS,
    )
    app.add_middleware(Guard, settings=settings, metrics=server.metrics)
    add_handlers(app)
    _add_videos(app, server)
    _add_streams(app, server)
    _add_pages(app, server)
    return app


def _add_videos(app: FastAPI, server: Server) -> None:
    @app.post("/v1/videos", status_code=202, openapi_extra=BODY)
    async def add(request: Request, response: Response) -> VideoState:
        """Send a video: a form with one file, or JSON with the url of an allowed host."""
        video = await server.accept(request)
        response.headers["Location"] = f"/v1/videos/{video.id}"
        return _state(video, server)

    @app.get("/v1/videos")
    async def newest(
        limit: Annotated[int, Query(ge=1, le=500)] = SHOWN, before: Annotated[int | None, Query(ge=1)] = None
    ) -> VideoList:
        """List the history of this server, the newest first."""
        videos = server.store.newest(limit, before)
        more = f"/v1/videos?limit={limit}&before={videos[-1].number}" if len(videos) == limit else None
        return VideoList(videos=[_state(video, server, faces=False) for video in videos], next=more)

    @app.get("/v1/videos/{identity}")
    async def one(identity: str) -> VideoState:
        """Ask for one video."""
        return _state(_get(server, identity), server)

    @app.get("/v1/videos/{identity}/report", response_class=HTMLResponse)
    async def report(identity: str) -> HTMLResponse:
        """Ask for the section of one video, as the report of `dfdc predict` has it."""
        video = _get(server, identity)
        page = server.store.report(identity)
        if page is None:
            told = f"{video.name} is {video.state} and has no report"
            raise Problem(404, told, "its reason is in the result" if video.result else "wait until it is done")
        return HTMLResponse(page)

    @app.delete("/v1/videos/{identity}", status_code=204)
    async def delete(identity: str) -> None:
        """Forget a video: its file, its result and its pictures."""
        _get(server, identity)
        server.store.delete(identity)
        server.feed.tell(identity)


def _add_streams(app: FastAPI, server: Server) -> None:
    @app.get("/v1/videos/{identity}/events")
    async def events_of_one(identity: str) -> StreamingResponse:
        """Follow one video until it is done: server-sent events `video` with its state."""
        _get(server, identity)
        return _stream(_events(server, identity))

    @app.get("/v1/events")
    async def events() -> StreamingResponse:
        """Follow all videos: server-sent events `video`, `gone` with an id, and `queue` with the ids that wait."""
        return _stream(_events(server, None))


def _add_pages(app: FastAPI, server: Server) -> None:
    settings = server.settings

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        limits = {"bytes": settings.max_bytes, "seconds": settings.max_seconds, "keep": settings.keep}
        return HTMLResponse(
            render("serve/page.html.j2", title="Is this video fake?", limits=limits, token=bool(settings.token))
        )

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(render("serve/docs.html.j2", title="The API of dfdc serve", api=app.openapi()))

    @app.get("/healthz")
    async def health() -> JSONResponse:
        """Ask whether videos are predicted here: 200, or 503 when no worker is there or will be."""
        workers = [{"device": each.device, "state": each.state} for each in server.dispatcher.workers]
        healthy = server.dispatcher.healthy
        said = {"status": "ok" if healthy else "failing", "workers": workers, "unfinished": server.store.unfinished()}
        return JSONResponse(said, 200 if healthy else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Ask for the counters, in the text format of Prometheus."""
        return Response(server.metrics.text(), media_type=CONTENT_TYPE)


def _get(server: Server, identity: str) -> Video:
    try:
        return server.store.get(identity)
    except KeyError:
        raise Problem(404, f"there is no video {identity!r}", "GET /v1/videos lists those that are there") from None


def _state(video: Video, server: Server, faces: bool = True) -> VideoState:
    waiting = server.store.waiting() if video.state == "queued" else []
    result = video.result
    if result is not None and not faces:
        result = {name: value for name, value in result.items() if name != "faces"}
    return VideoState(
        id=video.id,
        number=video.number,
        name=video.name,
        bytes=video.bytes,
        state=video.state,
        stage=video.stage,
        position=waiting.index(video.id) + 1 if video.id in waiting else None,
        created=_time(video.created),
        finished=None if video.finished is None else _time(video.finished),
        has_file=video.has_file,
        has_report=video.has_report,
        result=result,
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _stream(events: AsyncIterator[str]) -> StreamingResponse:
    return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _events(server: Server, identity: str | None) -> AsyncIterator[str]:
    """What changes, of one video until it is done, or of all."""
    with server.feed.listen() as listener:
        if identity is not None:
            listener.tell(identity)  # begins with how it is now
        yield "retry: 2000\n\n"
        said: dict[str, str] = {}
        while True:
            async for event, done in _news(server, listener, identity, said):
                yield event
                if done:
                    return


async def _news(
    server: Server, listener: Listener, identity: str | None, said: dict[str, str]
) -> AsyncIterator[tuple[str, bool]]:
    """The events since the last call, each with whether it is the last of all."""
    changed = await listener.wait(STILL_HERE)
    if not changed:
        yield ": still here\n\n", False
    for each in (identity,) if identity and changed else changed:
        try:
            state = _state(server.store.get(each), server, faces=False)
        except KeyError:
            yield _event("gone", each), identity is not None
            continue
        text = state.model_dump_json()
        if identity is None or said.get(each) != text:
            if identity is not None:
                said[each] = text
            yield f"event: video\ndata: {text}\n\n", identity is not None and state.state == "done"
    if identity is None and changed:
        yield _event("queue", server.store.waiting()), False


def _event(name: str, value: object) -> str:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n"
