"""What a kernel did in a dry run, held against what Kaggle lets pass and what a submission needs."""

from __future__ import annotations

import importlib.metadata
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import DfdcError
from inference.videos import journal_of
from kaggle_dataset.dry_run.report import DISK, MEMORY, RunResult
from kaggle_dataset.dry_run.sandbox import Ended, Sandbox, last_lines

GRACE = 60.0  # seconds over the budget, after which the kernel is late
LINES = 40  # of the log, in an error
MISSING = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")
UNMET = re.compile(r"No matching distribution found for ([\w.\-]+)")


@dataclass(frozen=True)
class Program:
    """A built folder, as far as a session is laid out by it."""

    folder: Path
    owner: str
    slug: str
    competition: str
    script: Path
    manifest: dict[str, Any]
    clip: tuple[float, float]  # of the blend: every label lies inside it, or is the prior


@dataclass(frozen=True)
class Checked:
    """A run that ended, and whether it may be trusted."""

    sandbox: Sandbox
    program: Program
    ended: Ended
    budget: float

    def result(self, dataset: str, clips: Sequence[Path], max_fallback: float) -> RunResult:
        """Check the run and say what it took.

        Args:
            dataset: where the kernel found the dataset.
            clips: the videos.
            max_fallback: share of them that may get the prior.

        Raises:
            DfdcError: for the first thing that is wrong.
        """
        self._behaved()
        self._ended_well()
        self._fits()
        run = self._scored(len(clips))
        statuses = Counter(str(video["status"]) for video in run["videos"])
        result = RunResult(
            dataset, self.ended.seconds, float(run["seconds"]), dict(statuses), self.ended.memory, self.ended.disk
        )
        self._check_submission([path.name for path in clips], {v["filename"]: v["status"] for v in run["videos"]})
        if result.fallbacks > max_fallback * result.videos:
            bad = [f"  {v['filename']}: {v['status']}: {v['reason']}" for v in run["videos"] if v["status"] != "ok"]
            share = f"{result.fallbacks} of {result.videos} videos were not scored, more than {max_fallback:.0%}"
            if "skipped_by_budget" in statuses:
                share += self._slow(statuses["ok"])
            raise DfdcError("\n".join([share, *bad[:LINES]]))
        return result

    def _behaved(self) -> None:
        """Nothing was tried that Kaggle would not let pass, whatever became of it."""
        if self.ended.attempts:
            tried = "\n".join(f"  {attempt}" for attempt in self.ended.attempts[:LINES])
            raise self._failed(f"the kernel tried to open a connection, and Kaggle has no network for it:\n{tried}")
        if self.ended.changed:
            raise self._failed(f"the kernel wrote into its input, which is read-only: {', '.join(self.ended.changed)}")

    def _ended_well(self) -> None:
        if self.ended.code is None:
            late = f"the kernel ran on {GRACE:g} s after its budget of {self.budget:g} s and was ended"
            raise self._failed(late + self._slow(self._journalled()))
        if self.ended.code:
            slow = self._slow(self._journalled()) if self.ended.seconds >= self.budget else ""
            raise self._failed(f"the kernel failed with exit code {self.ended.code}{slow}{self._lacking()}")

    def _slow(self, finished: int) -> str:
        """What a user can do about a machine that is too slow for the budget."""
        return (
            f": this machine is too slow for them in {self.budget:g} s, it finished {finished}; give it more time, as "
            f"in --budget {math.ceil(self.budget / 30)}m, or fewer --videos"
        )

    def _journalled(self) -> int:
        from inference.journal import results_of

        journal = journal_of(self.sandbox.working / "submission.csv")
        return len(results_of(journal)) if journal.exists() else 0

    def _lacking(self) -> str:
        """Which file the dataset lacks, or which distribution the environment, as far as the log says."""
        dataset = self.program.folder / "dataset"
        if gone := [e["name"] for e in self.program.manifest["files"] if not (dataset / e["name"]).exists()]:
            return f": the dataset lacks {', '.join(gone)}, which its manifest names"
        text = last_lines(self.sandbox.err, 1000)
        if found := UNMET.findall(text):
            return f": pip found no wheel of {found[-1]} in the dataset"
        if not (found := MISSING.findall(text)):
            return ""
        module = found[-1].split(".")[0]
        known = importlib.metadata.packages_distributions().get(module, [])
        name = " or ".join(sorted(set(known))) or f"the one with the module {module}"
        return (
            f": the distribution {name} is missing (module {module}): it is not on the list of what Kaggle's image "
            f"has, and the dataset has no wheel of it"
        )

    def _fits(self) -> None:
        if self.ended.memory > MEMORY:
            raise self._failed(f"it took {self.ended.memory / 1e9:.1f} GB of memory; a session has {MEMORY / 1e9:g} GB")
        if self.ended.disk > DISK:
            raise self._failed(f"it wrote {self.ended.disk / 1e9:.1f} GB; a session has {DISK / 1e9:g} GB")

    def _scored(self, videos: int) -> dict[str, Any]:
        """What predicting reported on stdout; without a report it did not come to its end."""
        out = self.sandbox.out.read_text(encoding="utf-8", errors="replace")
        try:
            run = json.JSONDecoder().raw_decode(out[re.search(r"^\{", out, re.MULTILINE).start() :])[0]  # type: ignore[union-attr]
            if len(run["videos"]) == videos and float(run["seconds"]) >= 0:
                return dict(run)
        except (AttributeError, ValueError, KeyError, TypeError):
            pass
        done = self._journalled()
        slow = self._slow(done) if self.ended.seconds >= self.budget else ""
        told = f"predicting did not come to its end: {done} of {videos} videos journalled, and no report{slow}"
        raise self._failed(told)

    def _check_submission(self, names: list[str], statuses: dict[str, str]) -> None:
        """Every row once, in the order of the sample, finite; inside the clip unless it is the prior."""
        from inference.result import PRIOR
        from inference.submission import validate_submission

        path = self.sandbox.working / "submission.csv"
        if not path.is_file():
            raise self._failed("the kernel left no /kaggle/working/submission.csv")
        validate_submission(path, names)
        low, high = self.program.clip
        for line in path.read_text(encoding="utf-8").splitlines()[1:]:
            name, _, label = line.rpartition(",")
            value = float(label)
            if not math.isfinite(value) or not (low <= value <= high or value == PRIOR):
                raise self._failed(f"submission.csv: {name} has {value}, outside the blend's clip [{low}, {high}]")
            if statuses.get(name, "") == "":
                raise self._failed(f"submission.csv: the kernel's report does not speak of {name}")

    def _failed(self, what: str) -> DfdcError:
        # The report goes to stdout, and would push out what is of interest.
        lines = (last_lines(self.sandbox.err, LINES) or last_lines(self.sandbox.out, LINES)).splitlines()
        log = "\n".join(f"  {line}" for line in lines) or "  (nothing)"
        return DfdcError(f"{what}\nthe kernel's last lines:\n{log}")
