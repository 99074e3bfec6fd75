"""A place like a Kaggle session: input that cannot be written, no network, and everything seen that is tried."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.errors import DfdcError
from inference.schedule.duration import clock
from kaggle_dataset.dry_run.resource_monitor import ResourceMonitor

Isolation = Literal["auto", "namespaces", "hook"]
Say = Callable[[str], None]

NAMESPACES = Path(__file__).with_name("namespaces.py")
# The whole ends with this process, even one that is killed.
UNSHARE = (
    "setpriv",
    "--pdeathsig",
    "KILL",
    "unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "--net",
    "--pid",
    "--fork",
    "--kill-child",
)
# -D: strace is no parent of what it traces, and the end of that is seen though a child of it lives on.
TRACE = ("-D", "-f", "-qq", "--seccomp-bpf", "-e", "trace=connect")
# connect(2) in strace's words; a path or a netlink address is no connection to another machine.
TRACED = re.compile(r"^(\d+).*\bconnect\(\d+, \{sa_family=AF_INET6?, sin6?_port=htons\((\d+)\).*?\"([^\"]+)\"")
TEMPORARY = "/tmp"  # noqa: S108 - of the session, in which it is not this machine's
LOOK, LOOK_AT_DISK, SAY = 0.25, 2.0, 30.0  # seconds between two


@dataclass(frozen=True)
class Means:
    """How this machine can keep a run apart."""

    namespaces: bool  # of users, mounts, network and processes
    tracer: str  # path of strace, which names connections that are not made by Python; "": none

    def __str__(self) -> str:
        if self.namespaces:
            apart = "a network namespace without a network, /kaggle/input mounted read-only"
            beyond = "the namespace lets no other code out, but names no attempt of it"
        else:
            apart = "no namespaces here: /kaggle is a plain folder, read-only by its permissions"
            beyond = "code that is not Python could reach the network"
        beyond = "strace names those of other code" if self.tracer else f"no strace: {beyond}"
        return f"{apart}; a hook names and refuses connections of every Python process; {beyond}"


@dataclass(frozen=True)
class Attempt:
    """A connection that was tried."""

    host: str
    port: str  # "" where only a name was looked up
    callers: tuple[str, ...]  # file:line; innermost first

    def __str__(self) -> str:
        return f"{self.host}{':' if self.port else ''}{self.port} from {', called from '.join(self.callers)}"


@dataclass(frozen=True)
class Ended:
    """How a run ended, and what it took."""

    code: int | None  # negative for a signal; None when it was late and ended by us
    seconds: float
    memory: int  # bytes at the peak, of all its processes; 0 where that cannot be seen
    disk: int  # bytes at the peak in the working folder, the home and /tmp
    attempts: tuple[Attempt, ...]
    changed: tuple[str, ...]  # files of the input that were written, in spite of everything


def find_means(isolation: Isolation = "auto") -> Means:
    """What works here, found by trying. DfdcError when namespaces are asked for and not allowed."""
    if isolation not in ("auto", "namespaces", "hook"):
        raise ValueError(f"isolation {isolation!r} is none of auto, namespaces, hook")
    namespaces = isolation != "hook" and _namespaces_work()
    if isolation == "namespaces" and not namespaces:
        raise DfdcError(
            "this machine does not allow namespaces (unshare --user --mount --net --pid); isolation 'hook' needs none"
        )
    return Means(namespaces, _tracer())


@functools.cache
def _namespaces_work() -> bool:
    if sys.platform != "linux" or not (shutil.which("unshare") and shutil.which("setpriv")):
        return False
    with tempfile.TemporaryDirectory() as folder:
        sandbox = Sandbox(Path(folder), Means(True, ""))
        probe = [sys.executable, "-I", "-c", "open('/kaggle/working/here', 'w')"]
        command = sandbox.boxed(probe, [Path(sys.prefix)])  # which may lie in /tmp, and that is another one inside
        done = _try(command)
        return done and (sandbox.folder / "kaggle" / "working" / "here").exists()


@functools.cache
def _tracer() -> str:
    """strace, where it is installed and may trace."""
    found = shutil.which("strace") or ""
    return found if found and _try([found, *TRACE, "-o", os.devnull, "true"]) else ""


def _try(command: Sequence[str]) -> bool:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    return False


class Sandbox:
    """A folder that becomes a session: fill `input`, run in it once, look at `working`.

    Inside, with namespaces, paths are Kaggle's, /tmp is empty, and the other processes are not seen. Without them,
    paths are those of the folder. `host` is the same place inside and outside.
    """

    def __init__(self, folder: Path, means: Means) -> None:
        """folder: empty, and not to be used for anything else."""
        self.folder, self.means = folder.resolve(), means
        self.input, self.working, self.source = (self.folder / "kaggle" / n for n in ("input", "working", "src"))
        self.temporary, self.host = self.folder / "tmp", self.folder / "host"
        self.home = self.host / "home"
        self.connections, self.traced = self.host / "connections", self.host / "traced"
        self.out, self.err = self.folder / "stdout", self.folder / "stderr"
        for place in (self.input, self.working, self.source, self.temporary, self.home, self.folder / "root"):
            place.mkdir(parents=True)

    def inside(self, path: Path) -> Path:
        """Where a run finds a path below `input`, `working` or `source`."""
        return Path("/") / path.relative_to(self.folder) if self.means.namespaces else path

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        seconds: float,
        visible: Sequence[Path] = (),
        say: Say = lambda _: None,
    ) -> Ended:
        """Run a command in the working folder; afterwards nothing of it runs on. What it prints is in `out` and `err`.

        Args:
            command: the program and its arguments.
            environment: besides HOME, PATH and the language, all that it has.
            seconds: after which it is ended.
            visible: folders that it needs, and cannot write.
            say: is given news.
        """
        before = _snapshot(self.input)
        if self.means.tracer:
            command = [self.means.tracer, *TRACE, "-o", str(self.traced), "--", *command]
        if self.means.namespaces:
            command = self.boxed(command, visible)
        with self._sealed(), self.out.open("wb") as out, self.err.open("wb") as err:
            began = time.monotonic()
            process = subprocess.Popen(
                command,
                cwd=self.working,
                env={**self._base(), **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            monitor = ResourceMonitor(process.pid, self.home, (self.working, self.temporary, self.home))
            try:
                code = self._wait(process, monitor, began + seconds, say)
            finally:
                monitor.kill()
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            took = time.monotonic() - began
        after = _snapshot(self.input)
        changed = tuple(sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)))
        return Ended(code, took, monitor.memory, monitor.disk, self._attempts(), changed)

    def boxed(self, command: Sequence[str], visible: Sequence[Path]) -> list[str]:
        """Return the command that runs another one inside namespaces that look like a Kaggle session.

        Args:
            command: the program and its arguments.
            visible: folders that it needs, and cannot write.
        """
        mounts: list[tuple[str, str, bool]] = [(str(self.temporary), TEMPORARY, True)]
        mounts += [(str(path), str(path), False) for path in (Path(sys.base_prefix), *visible)]
        mounts.append((str(self.host), str(self.host), True))
        mounts += [(str(path), str(self.inside(path)), path == self.working)
                   for path in (self.source, self.input, self.working)]  # fmt: skip
        plan = {"root": str(self.folder / "root"), "mounts": mounts, "command": list(command)}
        plan["folder"] = str(self.inside(self.working))
        return [*UNSHARE, sys.executable, "-I", str(NAMESPACES), json.dumps(plan)]

    def _base(self) -> dict[str, str]:
        place = {} if self.means.namespaces else {"TMPDIR": str(self.temporary)}
        return {"HOME": str(self.home), "PATH": os.defpath, "LANG": "C.UTF-8", **place}

    def _wait(
        self, process: subprocess.Popen[bytes], monitor: ResourceMonitor, deadline: float, say: Say
    ) -> int | None:
        """Look at it until it ends; its exit code, or None when it is late."""
        began = looked = said = time.monotonic()
        while (now := time.monotonic()) < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(min(LOOK, max(0.01, deadline - now)))
                monitor.look_at_disk()
                return code
            monitor.look_at_memory()
            if now - looked >= LOOK_AT_DISK:
                monitor.look_at_disk()
                looked = time.monotonic()
            if now - said >= SAY:
                said = now
                say(f"{clock(now - began)}: {monitor.memory / 1e9:.1f} GB of memory; {last_lines(self.err, 1).strip()}")
        return None

    @contextlib.contextmanager
    def _sealed(self) -> Iterator[None]:
        """Without namespaces: no permission to write into the input, until it is over."""
        folders = [] if self.means.namespaces else [self.input, *(p for p in self.input.rglob("*"))]
        for path in folders:
            path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            yield
        finally:
            for path in folders:
                if path.is_dir():
                    path.chmod(0o755)

    def _attempts(self) -> tuple[Attempt, ...]:
        """What the hook and strace wrote down, each once."""
        found = []
        if self.connections.exists():
            for line in self.connections.read_text(encoding="utf-8").splitlines():
                values = json.loads(line)
                found.append(Attempt(values["host"], values["port"], tuple(values["callers"])))
        if self.traced.exists():
            matches = map(TRACED.match, self.traced.read_text(encoding="utf-8", errors="replace").splitlines())
            found += [Attempt(m[3], m[2], (f"code that is not Python, process {m[1]}",)) for m in matches if m]
        return tuple(dict.fromkeys(found))


def last_lines(path: Path, count: int) -> str:
    """Return the last `count` lines of a log; of a progress bar, which writes over its line, what stood there last."""
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - (1 << 16)))
        lines = handle.read().decode(errors="replace").split("\n")
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in lines if line.strip()]
    return "\n".join(shown[-count:])


def _snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below: bytes and time of change in nanoseconds."""
    paths = [(path, path.lstat()) for path in folder.rglob("*")]
    return {str(path.relative_to(folder)): (info.st_size, info.st_mtime_ns) for path, info in paths}
