"""Fetch what a kernel's session left behind, and let nothing but a valid submission through."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path

from common.errors import DfdcError
from kaggle_dataset.submit.kaggle_client import Kaggle
from kaggle_dataset.submit.polling import CALL, Timer, ask

SUBMISSION = "submission.csv"
TEMPORARY = ".fetch-"
# Lines of `dfdc predict` in a log that say what a session ran on and how it went.
TELLING = re.compile(r"the members run on |plan at |not predicted: |\d+ videos, |the GPU |.* of the rows are the prior")
LINES = 15  # of a log, in an error
ONLY = rf"^{SUBMISSION.replace('.', '[.]')}$"  # the working folder of a kernel may hold 20 GB


def fetch(ref: str, output: Path, kaggle: Kaggle, timer: Timer, sample: Path | None, most_prior: float) -> Path:
    """Put submission.csv and the log of a kernel's latest session into a folder.

    Args:
        ref: of the kernel, owner/slug.
        output: the folder. An older submission there is replaced by a valid one only.
        kaggle: the client.
        timer: the deadline, and the pauses between two tries.
        sample: a sample_submission.csv whose rows it must have.
        most_prior: share of rows that may be the prior.

    Returns:
        The submission.

    Raises:
        DfdcError: says what is wrong with the new submission.
    """
    folder = _empty(output)
    try:
        ask(kaggle, timer, "kernels", "output", ref, "-p", str(folder), "-o", "--file-pattern", ONLY)
        log = _keep_log(folder, output, ref)
        if not (folder / SUBMISSION).is_file():
            raise DfdcError(f"{ref} is complete and has no {SUBMISSION}; {log}")
        try:
            check(folder / SUBMISSION, sample, most_prior)
        except DfdcError as error:
            told = str(error).replace(str(folder / SUBMISSION), f"{SUBMISSION} of {ref}")
            raise DfdcError(f"{told}; nothing was kept of it. {log}") from error
        return (folder / SUBMISSION).replace(output / SUBMISSION)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check(path: Path, sample: Path | None, most_prior: float) -> None:
    """Check that a file is a submission with predictions; the client saves an error page under that name as well.

    Args:
        path: the file.
        sample: a sample_submission.csv whose rows it must have.
        most_prior: share of rows that may be the prior.

    Raises:
        DfdcError: says what is wrong with it.
    """
    from inference.submission import read_sample, refuse_unscored, validate_submission

    with path.open("rb") as handle:
        start = handle.read(200).lstrip()
    if not start:
        raise DfdcError(f"{path} is empty")
    if start.startswith(b"<"):
        page = " ".join(start.decode("utf-8", "replace").split())
        raise DfdcError(f"{path} is a page, not a CSV: {page!r}; the same command fetches it again")
    validate_submission(path, read_sample(sample) if sample else None)
    refuse_unscored(path, most_prior)


def fetch_log(ref: str, output: Path, kaggle: Kaggle) -> str:
    """Put the log of a kernel's latest session into `output`.

    Returns:
        Its last lines, or why there are none where it cannot be had.
    """
    folder = _empty(output)
    try:
        # No file is wanted, and none has a name without a character.
        answer = kaggle("kernels", "output", ref, "-p", str(folder), "-o", "--file-pattern", "^$", timeout=CALL)
        return _keep_log(folder, output, ref) if answer.code == 0 else "its log could not be fetched"
    except DfdcError as error:
        return f"its log could not be fetched: {error}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _empty(output: Path) -> Path:
    """A new folder inside `output`; those of runs that were killed are removed."""
    output.mkdir(parents=True, exist_ok=True)
    for left in output.glob(TEMPORARY + "*"):
        shutil.rmtree(left)
    return Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=output)).resolve()


def _keep_log(folder: Path, output: Path, ref: str) -> str:
    """Move the log into `output`, as it came, and return its last lines."""
    name = f"{ref.split('/')[1]}.log"
    if not (folder / name).is_file():
        return "it has no log"
    path = (folder / name).replace(output / name)
    lines = _text(path.read_text(encoding="utf-8", errors="replace")).splitlines()
    return f"the end of its log ({path}):\n" + "\n".join(f"  {line}" for line in lines[-LINES:])


def _text(log: str) -> str:
    """The text of a log: Kaggle writes a JSON list of {"stream_name", "time", "data"}, now and then plain text."""
    try:
        return "".join(str(event["data"]) for event in json.loads(log))
    except (ValueError, TypeError, KeyError):
        return log


def session_of(log: Path) -> tuple[list[str], bool]:
    """Read out of a session's log what it ran on and how it went.

    Args:
        log: as `fetch` has kept it.

    Returns:
        The telling lines in their order (device, plans, seconds a video, videos without a prediction), and whether the
        members ran on the CPU.
    """
    text = _text(log.read_text(encoding="utf-8", errors="replace")) if log.is_file() else ""
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if TELLING.match(line.strip())]
    return lines, any(line.startswith("the members run on") and "CPU cores" in line for line in lines)
