"""What a server is started with, and what it was tried against."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def data_folder() -> Path:
    """The folder that a server uses unless it is given another, as the XDG base directory specification has it."""
    home = os.environ.get("XDG_DATA_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share") / "dfdc" / "serve"


@dataclass(frozen=True)
class Settings:
    """Where a server listens, what it takes, and what predicts."""

    data: Path  # folder of the uploads and of the history
    host: str = "127.0.0.1"
    port: int = 8000  # 0: the system picks a free one
    token: str = ""  # who knows it may use the API; empty: whoever reaches the address
    max_bytes: int = 2 << 30  # of one upload
    max_seconds: float = 3600.0  # that a video may last
    max_queue: int = 100  # videos that wait or are worked on, uploads under way included
    keep: float = 3600.0  # seconds that an upload lies on the disk after its video is finished
    allow_hosts: tuple[str, ...] = ()  # from which videos are fetched by their address
    devices: tuple[str, ...] = ("auto",)  # one worker process for each
    members: Path | None = None  # folder of members; the shipped one without it
    blend: Path | None = None  # a blend.json; the one beside the members without it
    frames: int | None = None  # per video; what the blend says without it

    def __post_init__(self) -> None:
        if not self.is_local and not self.token:
            raise ValueError(
                f"--host {self.host} can be reached from other machines, so a token is needed: set DFDC_TOKEN or give "
                "--token; or leave --host at 127.0.0.1"
            )
        if self.token and not (self.token.isascii() and self.token.isprintable() and len(self.token) >= 16):
            raise ValueError("a token is 16 or more printable ASCII characters; make one with: openssl rand -hex 24")
        for name, value in (("bytes", self.max_bytes), ("seconds", self.max_seconds), ("queue", self.max_queue)):
            if value <= 0:
                raise ValueError(f"--max-{name} is {value}; it must be above 0")
        if self.keep < 0:
            raise ValueError(f"--keep is {self.keep:g} s; it must be 0 or more")

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the address."""
        if self.host in LOCAL_NAMES:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
