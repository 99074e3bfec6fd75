"""The real `kaggle` client as a subprocess: a clean environment, a time limit, and no token in what comes back."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from common.errors import DfdcError

INSTALL = "pip install kaggle==2.2.4 kagglesdk==0.1.37 six==1.17.0"
# All that the client gets to see. Left out on purpose: VERBOSE and its kin, which print the token, and every other
# KAGGLE_ variable, since each one changes a setting of the client.
ALLOWED = {
    *("HOME", "PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "XDG_CONFIG_HOME"),
    *("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR"),
    # The tests' stand-in; the client's only other value that it obeys is its default.
    "KAGGLE_API_ENVIRONMENT",
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
}
PR_SET_PDEATHSIG = 1  # linux/prctl.h
_prctl = getattr(ctypes.CDLL(None), "prctl", None)  # only Linux has it
LAST_WORDS = 6  # lines of the client that an error repeats


@dataclass(frozen=True)
class Answer:
    """What the client said and how it ended. An exit code of 0 alone is no success: the client is generous with it."""

    code: int  # negative: it was killed
    out: str
    err: str

    @property
    def words(self) -> str:
        """The last lines that it said, without progress bars, for an error message."""
        lines = [line.strip() for line in re.split(r"[\r\n]+", f"{self.out}\n{self.err}")]
        kept = [line for line in lines if line and not re.search(r"\|.*\[\d+:\d+<|^\d.*\[\d+:\d+, ", line)]
        return "; ".join(kept[-LAST_WORDS:]) or "nothing"

    def json(self) -> Any:
        """The value printed by `--format json`; lines of notices before it are passed over."""
        start = re.search(r"^[\[{]", self.out, re.MULTILINE)
        try:
            return json.loads(self.out[start.start() :] if start else self.out)
        except ValueError as error:
            raise DfdcError(f"kaggle printed no JSON: {self.words}; is it {INSTALL}?") from error


class KaggleTimeout(DfdcError):  # noqa: N818
    """The client was killed: its time was up, or it had been silent for too long."""

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.answer = answer


class NotSignedIn(DfdcError):  # noqa: N818
    """Kaggle does not accept the credentials, or there are none."""


class Kaggle:
    """Runs the client; nothing of ours is patched into it, and it is never imported."""

    def __init__(
        self, state: Path, executable: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        """Look for the client beside this Python, then on PATH; DfdcError when there is none.

        state: a folder for what the client keeps between runs to go on with a cut upload. environment: what the
        allowed variables are taken from; this process's own unless given.
        """
        self.state = state.absolute()
        given = os.environ if environment is None else environment
        self._environment = {name: value for name, value in given.items() if name in ALLOWED}
        self.executable = executable or _find(self._environment.get("PATH"))
        self._secrets = _secrets(self._environment)

    def __call__(
        self,
        *arguments: str,
        timeout: float,
        scope: str = "",
        idle: float | None = None,
        stop: Callable[[str], bool] | None = None,
        keep: tuple[int, ...] = (),
    ) -> Answer:
        """Run one command to its end, in its own process group, and return what it said, without the token.

        timeout: seconds; then the whole group is killed. scope: the content that is worked on; cut uploads are gone on
        with only inside one scope. idle: seconds without a word after which it is killed too, since the client has no
        time limits of its own. stop: is shown each line as it appears; True kills the group, and the answer has a
        negative code. keep: file descriptors that the client inherits. KaggleTimeout, NotSignedIn, and DfdcError when
        the client cannot run at all.
        """
        temporary = self.state / scope
        temporary.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Unbuffered: its lines are read while it works.
        environment = {**self._environment, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}
        try:
            process = subprocess.Popen(
                [str(self.executable), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
                preexec_fn=_die_with_us,  # noqa: PLW1509  (one call into a library that is loaded already)
                pass_fds=keep,
            )
        except OSError as error:
            raise DfdcError(f"{self.executable} cannot be run ({error}): {INSTALL}") from error
        reader = _Reader(process, self._redact, stop)
        try:
            late = reader.read(timeout, idle)
        finally:
            _end(process)
        answer = Answer(process.returncode, *(self._redact(text) for text in reader.texts()))
        command = self._redact("kaggle " + " ".join(arguments))
        if late:
            raise KaggleTimeout(f"{command}: {late} and was ended; its last words: {answer.words}", answer)
        return self._checked(command, answer)

    def _checked(self, command: str, answer: Answer) -> Answer:
        """The answer, unless the client could not even begin."""
        if answer.code == 0:
            return answer
        if "Authentication required" in answer.out:
            raise NotSignedIn(
                f"{command}: Kaggle does not accept the credentials, or there are none; make a token at"
                " https://www.kaggle.com/settings/api and put it into KAGGLE_API_TOKEN or ~/.kaggle/access_token"
            )
        if "ModuleNotFoundError" in answer.err:
            raise DfdcError(f"{self.executable} is not complete: {answer.words}; {INSTALL}")
        return answer

    def _redact(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return re.sub(r"\b(Bearer|Basic) +[\w.~+/=-]{8,}", r"\1 ***", text)


def _die_with_us() -> None:
    """Runs in the child: a client that outlived us would go on to publish what nobody then looks at."""
    if _prctl:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _find(path: str | None) -> Path:
    beside = Path(sys.executable).with_name("kaggle")
    found = beside if os.access(beside, os.X_OK) else shutil.which("kaggle", path=path)
    if not found:
        raise DfdcError(f"the kaggle client is not beside {sys.executable} and not on PATH: {INSTALL}")
    return Path(found)


def _secrets(environment: Mapping[str, str]) -> list[str]:
    """Every token and key that the client may find, the longest first."""
    home = Path(environment.get("HOME", "/nonexistent"))
    folders = [home / ".kaggle", Path(environment.get("XDG_CONFIG_HOME", home / ".config")) / "kaggle"]
    if "KAGGLE_CONFIG_DIR" in environment:
        folders.append(Path(environment["KAGGLE_CONFIG_DIR"]))
    found = {environment.get("KAGGLE_API_TOKEN", ""), environment.get("KAGGLE_KEY", "")}
    # The variable may also name a file with the token.
    for path in [
        Path(environment.get("KAGGLE_API_TOKEN", "")),
        *(home / ".kaggle" / f"access_token{e}" for e in ("", ".txt")),
    ]:
        found.add(_text(path).strip())
    for folder in folders:
        for name in ("kaggle.json", "credentials.json"):
            found |= set(re.findall(r'"\w*(?:key|token)"\s*:\s*"([^"]+)"', _text(folder / name)))
    return sorted((secret for secret in found if len(secret) >= 8), key=len, reverse=True)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    except OSError:
        return ""  # what we may not read, the client may not either


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the group of a process that has not ended by itself; not reaped yet, its number is still its own."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()


class _Reader:
    """Takes in both streams of a process, line by line where somebody watches."""

    def __init__(
        self, process: subprocess.Popen[bytes], redact: Callable[[str], str], stop: Callable[[str], bool] | None
    ) -> None:
        assert process.stdout and process.stderr  # noqa: S101
        # In this order: what was said on stdout before a line on stderr is also seen before it.
        self._streams: tuple[IO[bytes], IO[bytes]] = (process.stdout, process.stderr)
        self._read = {stream: bytearray() for stream in self._streams}
        self._shown = dict.fromkeys(self._streams, 0)
        self._process, self._redact, self._stop = process, redact, stop

    def texts(self) -> tuple[str, str]:
        out, err = (self._read[stream].decode(errors="replace") for stream in self._streams)
        return out, err

    def read(self, timeout: float, idle: float | None) -> str:
        """Read until the streams end or a line stops it; what is wrong when the time was up before, or ''."""
        end, heard = time.monotonic() + timeout, time.monotonic()
        with selectors.DefaultSelector() as selector:
            for stream in self._streams:
                selector.register(stream, selectors.EVENT_READ)
            while selector.get_map():
                now = time.monotonic()
                if now >= end:
                    return f"was not done after {timeout:g} s"
                if idle is not None and now >= heard + idle:
                    return f"said nothing for {idle:g} s"
                ready = {key.fileobj for key, _ in selector.select(min(end, heard + (idle or timeout)) - now)}
                heard = time.monotonic() if ready else heard
                for stream in self._streams:
                    if stream in ready and not self._take(stream):
                        selector.unregister(stream)
                if any(self._stops(stream) for stream in self._streams):
                    return ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, end - time.monotonic()))
        return ""

    def _take(self, stream: IO[bytes]) -> bool:
        data = os.read(stream.fileno(), 1 << 16)
        self._read[stream] += data
        return bool(data)

    def _stops(self, stream: IO[bytes]) -> bool:
        """Show the lines that have become complete; a progress bar ends none, it goes back to the start of its line."""
        if self._stop is None:
            return False
        text = self._read[stream]
        end = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
        lines = re.split(rb"[\r\n]+", bytes(text[self._shown[stream] : end]))
        self._shown[stream] = max(end, self._shown[stream])
        return any(self._stop(self._redact(line.decode(errors="replace"))) for line in lines if line)
