"""Send a built dataset to Kaggle once, and believe only what can be read back."""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from common.errors import DfdcError
from kaggle_dataset.bundle.checks import MANIFEST
from kaggle_dataset.submit.faults import Refused, reason, refusal, stays
from kaggle_dataset.submit.kaggle_client import Answer, Kaggle, KaggleTimeout
from kaggle_dataset.submit.polling import Say, Timer
from kaggle_dataset.submit.remote import Remote, RemoteState
from kaggle_dataset.submit.staged_dataset import Staged, read_staged
from kaggle_dataset.submit.upload_state import Record, UploadState
from kaggle_dataset.submit.upload_watcher import Watcher

ATTEMPTS = 4
AGAIN = "the same command again goes on from here"
SUCCESS = re.compile(r"^(Your private Dataset|Dataset version) is being created", re.MULTILINE)
FAILURE = re.compile(r"^.*(?:unsuccessful|error:|not valid).*$", re.MULTILINE | re.IGNORECASE)
NOTHING = RemoteState("", 0)
BUSY = re.compile(r"\b403\b|denied|forbidden", re.IGNORECASE)


@dataclass(frozen=True)
class Uploaded:
    """What is on Kaggle now, or would be after a dry run."""

    ref: str  # owner/slug
    version: int
    sent: bool  # False: it was there already, or this was a dry run


@dataclass(frozen=True)
class UploadTiming:
    """Seconds; only tests have a reason to change them."""

    poll: float = 10.0  # between two looks at a dataset that is not ready
    settle: float = 20.0  # after an unclear end, until a version that was made must show
    idle: float = 180.0  # of silence after which the client is given up: it has no time limits


def upload(
    dataset: Path,
    kaggle: Kaggle,
    *,
    dry_run: bool = False,
    deadline: float = 3600.0,
    say: Say = lambda _: None,
    timing: UploadTiming | None = None,
) -> Uploaded:
    """Make a folder the newest version of the dataset that it names, unless it is that already.

    It is done when the client says so, the dataset is ready, its version is one more than before, names and sizes of
    all its files are as staged, and its manifest.json, downloaded, has the same bytes. Kaggle tells no hashes: the
    kernel checks at its start that the other files have the bytes that the manifest says. The same reading back tells
    that nothing is to be sent. Where Kaggle does not hand out the manifest, our own record of what was sent counts in
    its place.

    Killed at any time, the same call goes on: it resumes uploads, and looks what has arrived before it sends again.

    Args:
        dataset: the staged folder.
        kaggle: the client.
        dry_run: nothing is sent; the version is the one that it would become.
        deadline: seconds for everything.
        say: is given news.
        timing: pauses and patience.

    Raises:
        ValueError: a folder that must not be sent.
        NotSignedIn: the credentials are not accepted.
        Refused: Kaggle says no.
        DfdcError: a doubt about what has arrived, and the deadline.
    """
    staged, timing = read_staged(dataset), timing or UploadTiming()
    timer = Timer(deadline, timing.poll, say, f"{staged.ref} on Kaggle", AGAIN)
    upload_state = UploadState(kaggle.state, staged.ref)
    sending = _Upload(staged, Remote(staged.ref, kaggle, timer), upload_state, time.monotonic() + deadline, timing)
    if dry_run:
        return sending.preview()
    with upload_state.alone(timer) as lock:
        return sending.run(lock)


class _Upload:
    """One dataset on its way."""

    def __init__(
        self, staged: Staged, remote: Remote, upload_state: UploadState, end: float, timing: UploadTiming
    ) -> None:
        """end: the deadline, of time.monotonic()."""
        self.staged, self.remote, self.upload_state, self.end, self.timing = staged, remote, upload_state, end, timing
        self.timer, self.kaggle, self.say = remote.timer, remote.kaggle, remote.timer.say

    def run(self, lock: int) -> Uploaded:
        """lock: a file descriptor that the client is to inherit."""
        seen = self._begin()
        before = seen.version
        if self._is_there(seen):
            self._done(before)
            self.say(f"version {before} of {self.staged.ref} has these files already: nothing was sent")
            return Uploaded(self.staged.ref, before, False)
        self._send(before, lock)
        version = self._ready(before)
        self._check(before, version)
        return Uploaded(self.staged.ref, version, True)

    def preview(self) -> Uploaded:
        """What run would do, as far as Kaggle shows it now."""
        seen = self.remote.look() or NOTHING
        before = seen.version
        if self._is_there(seen):
            self.say(f"version {before} of {self.staged.ref} has these files already: nothing would be sent")
            return Uploaded(self.staged.ref, before, False)
        self.say(f"would become version {before + 1} of {self.staged.ref}: {self.staged.size}")
        return Uploaded(self.staged.ref, before + 1, False)

    def _begin(self) -> RemoteState:
        """What is there before we send."""
        record, began, warned = self.upload_state.read(), time.monotonic(), False
        while True:
            seen = self.remote.look()
            if seen is None and record.step == "sent" and not warned:
                warned = True
                self.say(
                    f"Kaggle said yes to {self.staged.ref} before and does not show it: waiting. Was it removed there? "
                    f"Then press Ctrl-C, delete {self.upload_state.path}, and run the same command again"
                )
            settled = record.step != "sending" or time.monotonic() >= began + self.timing.settle
            # Cut off before we knew whether it had arrived: let it show first.
            if seen and seen.idle and (settled or seen.version >= record.version):
                return seen
            # What Kaggle has said yes to is there, shown or not.
            if seen is None and settled and record.step != "sent":
                return NOTHING
            self._pause(seen)

    def _send(self, before: int, lock: int) -> None:
        """Upload and make the version, once; DfdcError when it was not made."""
        self.say(f"sending {self.staged.size} as version {before + 1} of {self.staged.ref}")
        # An attempt that we know nothing about may have been the one that made the dataset.
        tried = self.upload_state.read().step == "sending"
        problem = ""
        for attempt in range(1, ATTEMPTS + 1):
            self._remember("sending", before + 1)
            problem, pause = self._try(before, tried, lock)
            # Never again before we know that nothing was made: each request that arrives makes a version.
            if not problem or self._was_made(before, f"attempt {attempt} of {ATTEMPTS}: {problem}", pause):
                self._remember("sent", before + 1)
                return
            tried = True
        raise DfdcError(
            f"version {before + 1} of {self.staged.ref} was not made, Kaggle has what it had before: {problem}; {AGAIN}"
        )

    def _try(self, before: int, tried: bool, lock: int) -> tuple[str, float]:
        """Run the client once; what went wrong ('': nothing), and the seconds that the server wants us to wait."""
        command = ["version", "-m", f"manifest {self.staged.sha256}"] if before else ["create"]
        watcher = Watcher(len(self.staged.files), self.say)
        try:
            answer = self.kaggle(
                *("datasets", *command, "-p", str(self.staged.folder), "-r", "skip"),
                timeout=max(1.0, self.end - time.monotonic()),
                idle=self.timing.idle,
                scope=self.staged.sha256,
                stop=watcher,
                keep=(lock,),
            )
        except KaggleTimeout as error:
            return str(error), 0.0
        if watcher.dropped:
            self._forget_session("" if watcher.expired else watcher.dropped)
            return f"{watcher.dropped} did not arrive; the client would have gone on without it and was stopped", 0.0
        if watcher.pause is not None:
            return f"{reason(answer)}: stopped before the client itself sends it again", watcher.pause
        return self._classify(answer, before, tried), 0.0

    def _classify(self, answer: Answer, before: int, tried: bool) -> str:
        """'' for a success without a but, the problem for what may pass; Refused or NotSignedIn for a no."""
        told = FAILURE.search(answer.out)
        if answer.code == 0 and SUCCESS.search(answer.out) and not told:
            return ""
        what = f"Kaggle did not make version {before + 1} of {self.staged.ref}"
        if told and "already in use" in told[0] and not before:
            if tried:
                return ""  # by us, and not shown yet
            raise Refused(
                f"{what}: {told[0]} If it is yours and still being processed, the same command works in some minutes; "
                f"otherwise build with another slug"
            )
        if told:
            raise Refused(f"{what}: {told[0]}")
        # 403 is also the answer while an earlier version is being processed.
        if stays(answer) and not BUSY.search(reason(answer)):
            raise refusal(what, answer)
        return reason(answer) if answer.code else f"kaggle did not say that it worked, but: {answer.words}"

    def _was_made(self, before: int, problem: str, pause: float) -> bool:
        """Whether, after all, there is a new version; waits for that as long as one may need to show."""
        shown = time.monotonic() + max(pause, self.timing.settle)
        news = problem
        while True:
            self.timer.pause(news)
            seen = self.remote.look()
            news = _news(seen)
            if seen and seen.idle and seen.version > before:
                return True
            if (seen is None or seen.idle) and time.monotonic() >= shown:
                return False

    def _forget_session(self, name: str) -> None:
        """Start a file anew, or all ('') where one had expired: the client would try each of them in vain."""
        pattern = f"*_{name}.json" if name else "*.json"
        for path in (self.kaggle.state / self.staged.sha256 / ".kaggle" / "uploads").glob(pattern):
            path.unlink(missing_ok=True)

    def _ready(self, before: int) -> int:
        """The new version, once it is ready."""
        while True:
            seen = self.remote.look()
            if seen and seen.status == "failed":
                self._remember("", 0)
                raise DfdcError(
                    f"Kaggle failed to process what was sent; see https://www.kaggle.com/datasets/{self.staged.ref}, "
                    f"the same command sends it again"
                )
            if seen and seen.idle and seen.version > before:
                return seen.version
            self._pause(seen)

    def _pause(self, seen: RemoteState | None) -> None:
        """Wait for the next look; DfdcError at the deadline."""
        try:
            self.timer.pause(_news(seen))
        except DfdcError:
            # Over its quota, Kaggle was seen to say yes to a dataset that never came. The next run may ask again: where
            # it does come, that is refused.
            if seen is None and self.upload_state.read().step == "sent":
                self._remember("sending", 1)
            raise

    def _check(self, before: int, version: int) -> None:
        """Read back; DfdcError for the first doubt."""
        ref, files = self.staged.ref, self.remote.files(version)
        differ = sorted({name for name, _ in files.items() ^ self.staged.files.items()})
        data = None if differ else self.remote.read(version, MANIFEST)
        if differ or data not in {None, self.staged.manifest}:
            self._remember("", 0)
            raise DfdcError(
                f"version {version} of {ref} is not what was sent, it differs in {', '.join(differ) or MANIFEST}; do "
                f"not attach it: the same command sends the next version, complete"
            )
        self._done(version)
        if version != before + 1:
            raise DfdcError(
                f"{ref} went from version {before} to {version}: Kaggle counted one upload twice, or somebody else "
                f"sends to it. Version {version} has these files, and the same command goes on with it"
            )

    def _is_there(self, seen: RemoteState) -> bool:
        """Whether what Kaggle has is what is staged; see `upload` for what that proves."""
        if seen.status != "ready" or self.remote.files(seen.version) != self.staged.files:
            return False
        data, record = self.remote.read(seen.version, MANIFEST), self.upload_state.read()
        accepted = record.step in {"sent", "done"} and record.version == seen.version
        return data == self.staged.manifest or (data is None and accepted and record.content == self.staged.sha256)

    def _done(self, version: int) -> None:
        """Nothing is under way any more."""
        self._remember("done", version)
        shutil.rmtree(self.kaggle.state / self.staged.sha256, ignore_errors=True)

    def _remember(self, step: str, version: int) -> None:
        self.upload_state.write(Record(self.staged.sha256, version, step))


def _news(seen: RemoteState | None) -> str:
    return f"version {seen.version}, {seen.status}" if seen else "not shown yet"
