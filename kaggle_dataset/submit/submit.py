"""Submit a kernel's version, once, find it again in Kaggle's list, wait for its score; the ledger knows of all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from common.errors import DfdcError
from common.files import sha256_of
from inference.schedule.duration import clock
from kaggle_dataset.submit.faults import Refused, reason, refusal, stays
from kaggle_dataset.submit.kaggle_client import Kaggle, KaggleTimeout, NotSignedIn
from kaggle_dataset.submit.ledger import Entry, read_ledger, record, timestamp
from kaggle_dataset.submit.output import SUBMISSION
from kaggle_dataset.submit.polling import CALL, SOON, Say, Timer, alone
from kaggle_dataset.submit.submissions import Listed, find, submissions_to

BLEND = "blend.json"  # in the dataset, beside the manifest
COMPETITION = "deepfake-detection-challenge"
PER_DAY = 2  # "limited to 2 submissions per day, including submissions which error": the competition's rules
DEADLINE = 10 * 3600.0  # seconds; the hidden videos may take 9 h
SETTLE = 300.0  # seconds that a submission may take to appear in the list
LOOKS = 3  # for a submission after Kaggle's answer to it was an error
# An error after which the submission may have arrived all the same.
UNKNOWN = re.compile(r"\b5\d\d Server Error|Max retries|Connection|timed out", re.IGNORECASE)


@dataclass(frozen=True)
class Work:
    """What the steps of a submission share."""

    kaggle: Kaggle
    ledger: Path
    timer: Timer
    per_day: int
    now: Callable[[], datetime]


def submit(
    manifest: Path,
    kernel: str,
    version: int,
    kaggle: Kaggle,
    *,
    ledger: Path,
    confirm: Callable[[str], bool],
    competition: str = COMPETITION,
    yes: bool = False,
    dry_run: bool = False,
    per_day: int = PER_DAY,
    deadline: float = DEADLINE,
    poll: float = 60.0,
    say: Say = lambda _: None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Entry:
    """Submit a version of a kernel to a competition and wait for its score.

    It is sent once: before, it is looked for in Kaggle's list by its message, which names manifest, kernel and version.

    Args:
        manifest: manifest.json in the folder of the dataset that the kernel runs.
        kernel: owner/slug.
        version: of the kernel.
        kaggle: the client.
        ledger: CSV of all submissions.
        confirm: asked before sending, unless `yes`.
        competition: its name in its address.
        yes: do not ask.
        dry_run: ask and send nothing.
        per_day: submissions a day (UTC), counted in the ledger and in Kaggle's list.
        deadline: seconds for everything.
        poll: seconds between two looks.
        say: is given news.
        now: the clock, in UTC.

    Returns:
        The ledger's entry; with `dry_run` as it would be written before sending.

    Raises:
        ValueError: a manifest or kernel that is none.
        DfdcError: it was not sent, ended in an error, or has no score at the deadline.
    """
    entry = describe(manifest, kernel, version, competition, now())
    timer = Timer(deadline, poll, say, f"the score of {kernel} version {version}", "the same command goes on waiting")
    work = Work(kaggle, ledger, timer, per_day, now)
    if dry_run:
        _refuse_over_limit(entry, read_ledger(ledger), [], work)
        say(
            f"would submit {kernel} version {version} to {competition} as {entry.message!r}, if it is not there already"
        )
        return entry
    with alone(ledger.resolve().parent):
        known = {other.message: other for other in read_ledger(ledger)}.get(entry.message)
        listed = submissions_to(competition, work.kaggle, work.timer)
        if found := find(listed, entry.message):
            say(f"it was sent before, as {found.ref}: nothing is sent")
            record(ledger, _with(known or replace(entry, date=timestamp(found.when)), found))
        else:
            _refuse_unsettled(known, work)
            _refuse_over_limit(entry, read_ledger(ledger), listed, work)
            if not yes and not confirm(_question(entry, listed, work)):
                raise DfdcError(f"{kernel} version {version} was not submitted: that was the answer to the question")
            _send(entry, work)
    return _wait(entry, work)


def describe(manifest: Path, kernel: str, version: int, competition: str, when: datetime) -> Entry:
    """Make the ledger's entry of a submission; ValueError for a manifest or a version that is none."""
    if version < 1 or kernel.count("/") != 1:
        raise ValueError(f"{kernel} version {version} is not owner/slug and a version from 1 on; first: dfdc push")
    try:
        values = json.loads(manifest.read_text(encoding="utf-8"))
        members = " ".join(str(name) for name in values["blend"]["members"])
        hashes = [str(file["sha256"]) for file in values["files"] if file["name"] == BLEND]
        expected = _expected(manifest.with_name(BLEND), hashes)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{manifest} is no manifest of a build ({error!r}); first: dfdc build") from error
    digest = sha256_of(manifest)
    message = f"[{digest[:16]} {kernel} v{version}]"
    return Entry(
        *(timestamp(when), competition, kernel, version, digest, hashes[0] if hashes else "", members, *expected),
        *("sending", None, None, "", message),
    )


def _expected(blend: Path, hashes: list[str]) -> tuple[float | None, float | None, float | None]:
    """The expected log loss and its interval from the blend that lies beside the manifest; None where it has none."""
    if not hashes:
        return None, None, None
    if sha256_of(blend) != hashes[0]:
        raise ValueError(f"{blend} is not the one that it names")
    known = json.loads(blend.read_text(encoding="utf-8")).get("expected_log_loss", {})
    value, low, high = (None if known.get(key) is None else float(known[key]) for key in ("value", "low", "high"))
    return value, low, high


def _with(entry: Entry, found: Listed) -> Entry:
    """The entry with what Kaggle's list knows."""
    status = found.status if found.status in ("complete", "error") else "pending"
    public, private = found.public_score, found.private_score
    return replace(entry, status=status, ref=found.ref, public_score=public, private_score=private)


def _refuse_unsettled(known: Entry | None, work: Work) -> None:
    """DfdcError for a submission that was begun just now and is not in the list yet."""
    if known and known.status == "sending" and (age := (work.now() - known.when).total_seconds()) < SETTLE:
        raise DfdcError(
            f"this was being sent {age:.0f} s ago by a command that did not end, and is not in Kaggle's list yet; run "
            f"the same command again in {SETTLE - age:.0f} s: it looks again before it sends"
        )


def _used_today(entry: Entry, entries: list[Entry], listed: list[Listed], work: Work) -> list[str]:
    """Messages of what counts for today (UTC), in Kaggle's list or in the ledger; those that ended in an error too."""
    today = work.now().astimezone(UTC).date()
    used = [found.message for found in listed if found.when.astimezone(UTC).date() == today]
    for other in entries:
        same = other.competition == entry.competition and other.when.astimezone(UTC).date() == today
        if same and other.status != "refused" and other.message != entry.message and other.message not in used:
            used.append(other.message)
    return used


def _refuse_over_limit(entry: Entry, entries: list[Entry], listed: list[Listed], work: Work) -> None:
    used = _used_today(entry, entries, listed, work)
    if len(used) >= work.per_day:
        now = work.now().astimezone(UTC)
        tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        raise DfdcError(
            f"{len(used)} of {work.per_day} submissions of today (UTC) are used: {', '.join(used)}; the next is "
            f"possible at {tomorrow:%Y-%m-%d %H:%M} UTC, in {clock((tomorrow - now).total_seconds())}"
        )


def _question(entry: Entry, listed: list[Listed], work: Work) -> str:
    number = len(_used_today(entry, read_ledger(work.ledger), listed, work)) + 1
    known = entry.expected_log_loss
    interval = "" if entry.expected_low is None else f" [{entry.expected_low:.4f}, {entry.expected_high:.4f}]"
    expected = "not known" if known is None else f"{known:.4f}{interval}"
    return (
        f"Submit {entry.kernel} version {entry.version} to {entry.competition}? Members: {entry.members}; expected log "
        f"loss {expected}. It is number {number} of {work.per_day} today (UTC)."
    )


def _send(entry: Entry, work: Work) -> None:
    """Send it, once, and leave in the ledger what became of it; DfdcError unless it is in Kaggle's list."""
    record(work.ledger, entry)
    version, options = str(entry.version), ("-f", SUBMISSION, "-m", entry.message)
    command = ("competitions", "submit", entry.competition, "-k", entry.kernel, "-v", version, *options)
    error: DfdcError
    try:
        answer = work.kaggle(*command, timeout=CALL)
    except NotSignedIn:
        record(work.ledger, replace(entry, status="refused"))
        raise
    except KaggleTimeout as late:
        why, error, certain = str(late), DfdcError(str(late)), False
    else:
        if answer.code == 0:
            return
        why = reason(answer)
        error = (
            refusal("Kaggle did not take the submission", answer)
            if stays(answer)
            else Refused(
                f"Kaggle did not take the submission: {why.rstrip('.')}. Is {entry.competition} still open, and is a "
                f"submission left for today? DFDC itself is closed"
            )
        )
        certain = stays(answer) or not UNKNOWN.search(why)
    work.timer.say(f"no clear answer to the submission ({why}): looking for it")
    if _appears(entry, work):
        return
    if certain:
        record(work.ledger, replace(entry, status="refused"))
        raise error
    raise DfdcError(
        f"whether the submission arrived is not known: {why}. It is not in Kaggle's list now, and counts in "
        f"{work.ledger}; run the same command again in {SETTLE:.0f} s: it looks again before it sends"
    )


def _appears(entry: Entry, work: Work) -> bool:
    """Whether a submission is in the list, at one of a few looks."""
    for look in range(LOOKS):
        if find(submissions_to(entry.competition, work.kaggle, work.timer), entry.message):
            return True
        if look + 1 < LOOKS:
            work.timer.pause("it is not in the list", most=SOON)
    return False


def _wait(entry: Entry, work: Work) -> Entry:
    """Until it has a score; DfdcError when it ends in an error, with the ledger up to date in every case."""
    while True:
        found = find(submissions_to(entry.competition, work.kaggle, work.timer), entry.message)
        if found:
            with alone(work.ledger.resolve().parent, wait=True):
                known = {other.message: other for other in read_ledger(work.ledger)}.get(entry.message, entry)
                entry = _with(known, found)
                if entry != known:
                    record(work.ledger, entry)
        name = f"submission {entry.ref} of {entry.kernel} version {entry.version}"
        if entry.status == "complete":
            return entry
        if entry.status == "error":
            raise DfdcError(
                f"{name} ended in an error, and counts for today; Kaggle tells the reason only on its page: "
                f"https://www.kaggle.com/competitions/{entry.competition}/submissions. Usual on hidden videos: time, "
                f"memory, a video that cannot be read. A new attempt needs a new version: dfdc push --anew"
            )
        work.timer.pause(f"{name}: {entry.status}" if found else f"{name}: not in Kaggle's list yet")
