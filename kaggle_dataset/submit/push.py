"""Push a kernel, wait for its session, fetch and validate its submission."""

from __future__ import annotations

import json
import re
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from common.errors import DfdcError
from common.files import write_text
from kaggle_dataset.bundle.checks import KERNEL_METADATA
from kaggle_dataset.submit.faults import NotThere, Refused, reason, refusal, stays
from kaggle_dataset.submit.kaggle_client import Answer, Kaggle, KaggleTimeout, NotSignedIn
from kaggle_dataset.submit.kernel_folder import check_metadata, content_hash, wants_gpu
from kaggle_dataset.submit.output import SUBMISSION, fetch, fetch_log, session_of
from kaggle_dataset.submit.polling import CALL, Say, Timer, alone, ask

STATE = "push.json"  # beside the kernel's folder: what a killed push left behind
SUCCESS = re.compile(r"^Kernel version (\d+) successfully pushed\.\s+Please check progress at (\S+)", re.MULTILINE)
REFUSAL = re.compile(r"^Kernel push error: *(.*)", re.MULTILINE)
INVALID = re.compile(r"^The following are not valid (\w+ sources) .*?: *(.*)$", re.MULTILINE)
STATUS = re.compile(r'has status "(?:KernelWorkerStatus\.)?(\w+)"')
FAILURE = re.compile(r'^Failure message: "(.*)"', re.MULTILINE | re.DOTALL)
ENDED = ("ERROR", "CANCEL_REQUESTED", "CANCEL_ACKNOWLEDGED")
SETTLE = 20.0  # seconds that a push may take to show after the process that sent it has died
DEADLINE = 13 * 3600.0  # seconds; a session may take 12 h, and may stand in a queue before


@dataclass(frozen=True)
class Pushed:
    """A version of a kernel that ran to its end."""

    ref: str  # owner/slug, as Kaggle names it
    version: int  # 0 of a dry run
    url: str
    submission: Path  # fetched and validated
    on_cpu: bool = False  # a GPU was asked for, and the members ran on the CPU


@dataclass(frozen=True)
class Sent:
    """What the state file says. sending: it may or may not have arrived; pushed: it has; done: its output is here."""

    content: str  # hash of the kernel's folder
    phase: str
    at: float  # seconds since 1970, when it was sent
    ref: str
    version: int = 0
    url: str = ""


class SessionFailedError(DfdcError):
    """The kernel ran and did not end well."""


def push(
    kernel: Path,
    output: Path,
    kaggle: Kaggle,
    *,
    sample: Path | None = None,
    most_prior: float = 0.1,
    adopt: int | None = None,
    anew: bool = False,
    dry_run: bool = False,
    deadline: float = DEADLINE,
    poll: float = 30.0,
    say: Say = lambda _: None,
) -> Pushed:
    """Push the kernel in a folder, wait until its session is complete, put its submission and log into `output`.

    Every push makes a version and runs a session, so it is sent once: after a lost answer or a kill the same call looks
    what Kaggle has, and goes on waiting where this content was pushed. Nothing but the log is put into `output` before
    it is validated.

    Args:
        kernel: folder of the script and its kernel-metadata.json.
        output: folder of the submission and the log.
        kaggle: the client.
        sample: a sample_submission.csv whose rows the submission must have.
        most_prior: share of its rows that may be the prior.
        adopt: the version that Kaggle's page shows, after a push whose answer was lost.
        anew: make another version though this content was pushed.
        dry_run: only say what would be done.
        deadline: seconds for everything.
        poll: seconds between two looks.
        say: is given news.

    Raises:
        ValueError: metadata that must not be pushed.
        DfdcError: whatever Kaggle refuses or fails at, and the deadline.
    """
    ref = check_metadata(kernel)
    if dry_run:
        say(f"would push {kernel} as {ref}, wait for its session and put its submission into {output}")
        return Pushed(ref, 0, "", output / SUBMISSION)
    state = kernel.parent / STATE
    timer = Timer(deadline, poll, say, f"the output of {ref}", "the same command goes on waiting and pushes nothing")
    with alone(kernel.parent):
        sent = None if anew else _sent_before(kernel, ref, state, kaggle, timer, adopt)
        if sent is None:
            sent = _send(kernel, ref, state, kaggle, timer)
            # Asked at once, Kaggle might still tell of the session before.
            timer.pause(f"{sent.ref} version {sent.version}: pushed, {sent.url}")
        try:
            _wait(sent, output, kaggle, timer)
        except SessionFailedError:
            # There is nothing left to wait for: the same command pushes anew.
            state.unlink()
            raise
        submission = fetch(sent.ref, output, kaggle, timer, sample, most_prior)
        _write(state, replace(sent, phase="done"))
    lines, on_cpu = session_of(output / f"{sent.ref.split('/')[1]}.log")
    for line in lines:
        say(f"session: {line}")
    return Pushed(sent.ref, sent.version, sent.url, submission, on_cpu and wants_gpu(kernel))


def last_push(kernel: Path) -> tuple[str, int]:
    """(ref, version) of the kernel in a folder as it was pushed and found good; ValueError where it was not."""
    sent = _read(kernel.parent / STATE)
    if sent is None or sent.phase != "done" or sent.content != content_hash(kernel):
        raise ValueError(f"{kernel} has not run on Kaggle to its end with this content; first: dfdc push")
    return sent.ref, sent.version


def _sent_before(kernel: Path, ref: str, state: Path, kaggle: Kaggle, timer: Timer, adopt: int | None) -> Sent | None:
    """The push of this content that an earlier run has made; None where there was none, or it did not arrive."""
    content = content_hash(kernel)
    if adopt is not None:
        # Of a version by number Kaggle shows the client no script (403), so the latest is compared.
        if not _has(kernel, ref, kaggle, timer):
            raise ValueError(
                f"the latest version of {ref} has another script than {kernel}: version {adopt} is not it, or there is "
                f"one after it; look at {_page(ref)} again, or make another version: dfdc push --anew"
            )
        sent = Sent(content, "pushed", time.time(), ref, adopt, _page(ref))
        _write(state, sent)
        return sent
    before = _read(state)
    if before is None or before.content != content:
        return None
    if before.phase != "sending":
        if not _has(kernel, before.ref, kaggle, timer):
            raise DfdcError(
                f"{before.ref} has another script by now than version {before.version}, and Kaggle shows the latest "
                f"session only; make another version of this one: dfdc push --anew"
            )
        return before
    timer.say(f"an earlier push of {ref} was cut off: looking what Kaggle has")
    # What was sent by a process that was killed a moment ago may still be on its way.
    time.sleep(min(SETTLE, max(0.0, before.at + SETTLE - time.time())))
    _refuse_arrived(kernel, ref, state, kaggle, timer, "an earlier push was cut off")
    return None


def _send(kernel: Path, ref: str, state: Path, kaggle: Kaggle, timer: Timer) -> Sent:
    """Push, once. DfdcError unless Kaggle certainly made a version with all its sources."""
    content = content_hash(kernel)
    sending = Sent(content, "sending", time.time(), ref)
    _write(state, sending)
    try:
        answer = kaggle("kernels", "push", "-p", str(kernel.resolve()), timeout=CALL, scope=content)
    except NotSignedIn:
        state.unlink()
        raise
    except KaggleTimeout as error:
        raise _lost(kernel, ref, state, kaggle, timer, str(error)) from error
    if told := REFUSAL.search(answer.out):
        state.unlink()
        raise Refused(f"Kaggle did not take the kernel {ref}: {told[1]}; no version was made")
    if answer.code and stays(answer):
        state.unlink()
        raise refusal(f"Kaggle did not take the kernel {ref}", answer)
    success = SUCCESS.search(answer.out)
    if answer.code or not success:
        raise _lost(kernel, ref, state, kaggle, timer, reason(answer))
    ref = "/".join(urlsplit(success[2]).path.split("/")[-2:])
    sent = replace(sending, phase="pushed", ref=ref, version=int(success[1]), url=success[2])
    _check_sources(answer, sent, state)
    _write(state, sent)
    return sent


def _check_sources(answer: Answer, sent: Sent, state: Path) -> None:
    """Refused when Kaggle made the version without something that it needs."""
    if missing := INVALID.findall(answer.out):
        # That version is of no use: the same command pushes anew.
        state.unlink()
        what = ", ".join(f"{kind} {names}" for kind, names in missing)
        raise Refused(
            f"Kaggle made version {sent.version} of {sent.ref} without its {what}: check that the dataset is uploaded "
            f"and ready (dfdc upload) and the competition's rules are accepted, then push again; {sent.url}"
        )


def _lost(kernel: Path, ref: str, state: Path, kaggle: Kaggle, timer: Timer, why: str) -> DfdcError:
    """The error of a push without an answer that can be trusted, after a look at what Kaggle has."""
    timer.say(f"no clear answer to the push ({why}): looking what Kaggle has")
    _refuse_arrived(kernel, ref, state, kaggle, timer, why)
    return DfdcError(f"the push of {ref} did not arrive: {why}; the same command looks once more, then pushes again")


def _refuse_arrived(kernel: Path, ref: str, state: Path, kaggle: Kaggle, timer: Timer, why: str) -> None:
    """DfdcError when the script has arrived: which version it is, only the answer that was lost would have told."""
    if _has(kernel, ref, kaggle, timer):
        raise DfdcError(
            f"Kaggle has this script as the latest version of {ref}, but its number is not known ({why}). Read it at "
            f"{_page(ref)} and go on with: dfdc push --adopt NUMBER. Or make another version: dfdc push --anew"
        )


def _has(kernel: Path, ref: str, kaggle: Kaggle, timer: Timer) -> bool:
    """Whether the latest version of ref, owner/slug, has the script that is in the folder."""
    code = kernel / str(json.loads((kernel / KERNEL_METADATA).read_text(encoding="utf-8"))["code_file"])
    with tempfile.TemporaryDirectory() as folder:
        try:
            ask(kaggle, timer, "kernels", "pull", ref, "-p", folder)
        except NotThere:
            # No such kernel: Kaggle says 403 or 404.
            return False
        texts = [path.read_text(encoding="utf-8") for path in Path(folder).iterdir()]
    return [text.split() for text in texts] == [code.read_text(encoding="utf-8").split()]


def _wait(sent: Sent, output: Path, kaggle: Kaggle, timer: Timer) -> None:
    """Until the session is complete; SessionFailedError with the end of its log when it ends otherwise."""
    name = f"{sent.ref} version {sent.version}"
    while True:
        # Asked for a version, the client leaves it out: the answer is about the latest session, always.
        answer = ask(kaggle, timer, "kernels", "status", sent.ref)
        found = STATUS.search(answer.out)
        status = found[1] if found else reason(answer)
        if status == "COMPLETE":
            return
        if status in ENDED:
            message = FAILURE.search(answer.out)
            told = f" ({message[1].strip()})" if message else ""
            log = fetch_log(sent.ref, output, kaggle)
            raise SessionFailedError(
                f"{name} ended with {status}{told}; {log}\nsee {sent.url}; push again when repaired"
            )
        timer.pause(f"{name}: {status}")


def _page(ref: str) -> str:
    return f"https://www.kaggle.com/code/{ref}"


def _write(state: Path, sent: Sent) -> None:
    write_text(state, json.dumps(asdict(sent), indent=2) + "\n")


def _read(state: Path) -> Sent | None:
    """The state, None where there is none; DfdcError for one that cannot be read."""
    if not state.exists():
        return None
    try:
        return Sent(**json.loads(state.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DfdcError(
            f"{state} is damaged ({error}); see on Kaggle whether the kernel was pushed, then remove that file, or go "
            f"on with: dfdc push --adopt NUMBER"
        ) from error
