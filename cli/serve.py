"""The command `dfdc serve`: parse, call, print."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cli.options import BlendFile, FramesPerVideo
from common.errors import DfdcError

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "s": 1, "min": 60, "h": 3600, "d": 86400}
NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")


def serve(
    host: Annotated[str, typer.Option(help="address to listen on; any but this machine's own needs a token")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="0 picks a free one", min=0, max=65535)] = 8000,
    token: Annotated[
        str,
        typer.Option(envvar="DFDC_TOKEN", help="who knows it may ask; rather in DFDC_TOKEN than here", hidden=False),
    ] = "",
    data: Annotated[
        Path | None, typer.Option(help="folder of uploads and history (default: ~/.local/share/dfdc/serve)")
    ] = None,
    max_bytes: Annotated[str, typer.Option(help="of one upload: 500m, 2g")] = "2g",
    max_seconds: Annotated[str, typer.Option(help="that a video may last: 90s, 10min, 1h")] = "1h",
    max_queue: Annotated[int, typer.Option(help="videos that may wait", min=1)] = 100,
    keep: Annotated[str, typer.Option(help="how long an upload lies here after its answer: 0, 10min, 1h")] = "1h",
    allow_host: Annotated[
        list[str] | None, typer.Option(help="a host from which videos are fetched by their address; none by default")
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="cuda:0, cuda:1, cpu or auto; one worker for each (default: auto)")
    ] = None,
    members: Annotated[Path | None, typer.Option(help="folder of members (default: models/weights)")] = None,
    blend: BlendFile = None,
    frames: FramesPerVideo = None,
) -> None:
    """Open a page to drop videos on, and an HTTP API: http://127.0.0.1:8000.

    Results stay in the history of the folder --data; uploads are deleted. A server that is killed goes on with what it
    had accepted when it is started again. Ctrl-C ends it.
    """
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise DfdcError(f"dfdc serve needs {', '.join(missing)}; run: pip install 'dfdc-ensemble[serve]'")
    from serve.run import serve as run
    from serve.settings import Settings, data_folder

    run(
        Settings(
            data=data or data_folder(),
            host=host,
            port=port,
            token=token,
            max_bytes=int(_number("max-bytes", max_bytes, "kmg")),
            max_seconds=_number("max-seconds", max_seconds, "s|min|h|d"),
            max_queue=max_queue,
            keep=_number("keep", keep, "s|min|h|d"),
            allow_hosts=tuple(allow_host or ()),
            devices=tuple(device or ("auto",)),
            members=members,
            blend=blend,
            frames=frames,
        )
    )


def _number(name: str, text: str, units: str) -> float:
    """A number with a unit; ValueError for anything else."""
    known = units if "|" in units else "|".join(units)
    match = re.fullmatch(rf"(\d+(?:\.\d+)?)\s*({known})?", text.strip().lower())
    if not match:
        raise ValueError(f"--{name} is {text!r}; give a number, with one of {known.replace('|', ', ')} behind it")
    return float(match[1]) * UNITS[match[2] or ""]


COMMANDS: dict[str, Callable[..., None]] = {"serve": serve}
