"""What a dry run has shown, for people and for programs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.cores import cores
from common.files import write_text
from common.html import Cell, Table, render
from inference.schedule.duration import clock
from kaggle_dataset.bundle.checks import LIMIT_BYTES

HOURS = 9 * 3600.0  # of a submission's run, in the competition's rules
PLANNED = 4000  # videos of the test set that those hours are for
FORECASTS = (PLANNED, 10_000)  # the second: as many as the final evaluation had
MEMORY = 29 * 10**9  # bytes of a session
DISK = 20 * 10**9  # bytes of /kaggle/working and scratch


@dataclass(frozen=True)
class RunResult:
    """One run through the kernel, in one of the layouts of Kaggle's input."""

    dataset: str  # where the dataset lay: /kaggle/input/...
    seconds: float  # wall clock of the whole kernel
    predicting: float  # of these, seconds from the networks being loaded to the last video
    statuses: dict[str, int]  # status -> videos
    memory: int  # bytes at the peak, of all processes together; 0 where this machine does not tell
    disk: int  # bytes at the peak

    @property
    def videos(self) -> int:
        """Rows of the submission."""
        return sum(self.statuses.values())

    @property
    def fallbacks(self) -> int:
        """Rows that are the prior."""
        return self.videos - self.statuses.get("ok", 0)

    def forecast(self, videos: int) -> float:
        """Seconds for that many videos: the start once, and every video as long as the mean of these."""
        return self.seconds - self.predicting + self.predicting / self.videos * videos


@dataclass(frozen=True)
class DryRunReport:
    """A dry run that passed."""

    id: str  # of the built folder
    apart: str  # how it was kept apart
    python: str
    linked: dict[str, str]  # distribution of the image's list -> version of this machine, which was used
    below: dict[str, str]  # what these require here, beyond the list
    absent: tuple[str, ...]  # on the list, but not on this machine
    wheels: tuple[str, ...]  # installed from the dataset
    external_bytes: int  # of all attached datasets
    budget: float  # seconds that the kernel was given
    runs: tuple[RunResult, ...]

    def forecast(self, videos: int) -> float:
        """Seconds for that many videos on this machine, by the slower run."""
        return max(result.forecast(videos) for result in self.runs)

    def to_dict(self) -> dict[str, Any]:
        """All of it, and the forecasts in seconds."""
        return dataclasses.asdict(self) | {"forecast": {str(n): round(self.forecast(n), 1) for n in FORECASTS}}

    def render(self) -> str:
        """A short table for people."""
        each, count = HOURS / PLANNED, cores()
        lines = [
            f"dry run of {self.id}: passed",
            f"kept apart     {self.apart}",
            f"environment    Python {self.python} with {len(self.linked)} distributions of the image's list and "
            f"{len(self.below)} that they require; from the dataset: {', '.join(self.wheels) or 'none'}",
            *([f"               the image has, this machine has not: {', '.join(self.absent)}"] if self.absent else []),
            f"external data  {self.external_bytes:,} of {LIMIT_BYTES:,} bytes",
            f"budget         {self.budget:g} s ({each:g} s a video, as in {HOURS / 3600:g} h for {PLANNED:,}, and at "
            f"least what the start takes)",
            "",
            f"{'dataset at':<44} {'seconds':>8} {'start':>7} {'a video':>8} {'memory':>8} {'disk':>8}  not scored",
            *(_row(result) for result in self.runs),
            "",
            *(_forecast(n, self.forecast(n)) for n in FORECASTS),
            f"Start + N times a video, as measured on this machine ({count} cores). Kaggle's is another one.",
        ]
        return "\n".join(lines)


def write_report(path: Path, report: DryRunReport) -> None:
    """Write the HTML page of `report` to `path`, whole or not at all; it opens anywhere, offline.

    Raises:
        OSError: `path` cannot be written.
    """
    head = ("dataset at", "seconds", "start", "a video", "memory", "disk", "not scored")
    write_text(
        path,
        render(
            "kaggle_dataset/dry_run/report.html.j2",
            title=f"Dry run of {report.id}: passed",
            cards=[_card(videos, report.forecast(videos)) for videos in FORECASTS],
            cores=cores(),
            runs=Table(head, [_cells(result) for result in report.runs], "numbers", "runs of the kernel"),
            facts=_facts(report),
        ),
    )


def _card(videos: int, seconds: float) -> tuple[str, str, str]:
    late = "" if seconds <= HOURS else "; more, so the kernel would use fewer frames and members, to end in time"
    return f"{videos:,} videos", clock(seconds), f"of {clock(HOURS)}{late}"


def _cells(p: RunResult) -> tuple[object, ...]:
    memory = f"{p.memory / 1e9:.2f} GB" if p.memory else "?"
    seconds = (f"{p.seconds:.1f}", f"{p.seconds - p.predicting:.1f}", f"{p.predicting / p.videos:.2f}")
    return Cell(names=(p.dataset,)), *seconds, memory, f"{p.disk / 1e9:.2f} GB", f"{p.fallbacks} of {p.videos}"


def _facts(report: DryRunReport) -> list[tuple[str, str]]:
    each = HOURS / PLANNED
    image = f"Python {report.python} with {len(report.linked)} distributions of the image's list"
    facts = [
        ("kept apart", report.apart),
        ("environment", f"{image} and {len(report.below)} that they require"),
        ("from the dataset", ", ".join(report.wheels) or "none"),
        ("not on this machine", ", ".join(report.absent) or "none"),
        ("external data", f"{report.external_bytes:,} of {LIMIT_BYTES:,} bytes"),
        ("budget", f"{report.budget:g} s: {each:g} s a video, and at least what the start takes"),
    ]
    return facts + [(f"version of {name}", version) for name, version in sorted(report.linked.items())]


def _row(p: RunResult) -> str:
    memory = f"{p.memory / 1e9:.2f} GB" if p.memory else "?"
    numbers = f"{p.seconds:>8.1f} {p.seconds - p.predicting:>7.1f} {p.predicting / p.videos:>8.2f} {memory:>8}"
    return f"{p.dataset:<44} {numbers} {p.disk / 1e9:>5.2f} GB  {p.fallbacks} of {p.videos}"


def _forecast(videos: int, seconds: float) -> str:
    late = "" if seconds <= HOURS else ": more, so the kernel would use fewer frames and members, to end in time"
    return f"{videos:>6,} videos  {clock(seconds)} of {clock(HOURS)}{late}"
