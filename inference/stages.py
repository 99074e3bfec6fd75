"""Where the time of a run went: what each stage took, how busy it was, and what bounds the run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.cores import cores
from inference.result import VideoResult

SATURATED = 0.85  # share of all cores that counts as all: the system and the main thread take the rest
NAMES = {"decode": "decoding", "detect": "detection", "judge": "the members"}
COLUMNS = {"decode": "decode", "detect": "detect", "judge": "members"}  # the same where there is little room


@dataclass
class Took:
    """Seconds between two moments."""

    seconds: float = 0.0  # wall clock
    cpu: float = 0.0  # of all threads of this process


@contextlib.contextmanager
def clocked(
    clock: Callable[[], float] = time.perf_counter, cpu_clock: Callable[[], float] = time.process_time
) -> Iterator[Took]:
    """Measure what happens inside; what is given is filled in at the end.

    Args:
        clock: gives seconds.
        cpu_clock: gives seconds of CPU, of all threads.
    """
    took = Took()
    began, cpu = clock(), cpu_clock()
    yield took
    took.seconds, took.cpu = clock() - began, cpu_clock() - cpu


@dataclass(frozen=True)
class Profile:
    """Sums over a run. The stages are decode, detect and judge: the last is the members, under its name on disk."""

    wall: float  # seconds
    workers: int  # videos decoded at a time
    cores: int
    seconds: dict[str, float] = field(default_factory=dict)  # stage -> wall clock of whoever did it
    cpu: dict[str, float] = field(default_factory=dict)  # stage -> seconds of CPU

    def busy(self, stage: str) -> float:
        """The share of the run in which a stage was at work, 0..1; decoding counts all its workers."""
        hands = self.workers if stage == "decode" else 1
        return min(1.0, self.seconds.get(stage, 0.0) / max(1e-9, self.wall * hands))

    def cpu_share(self, stage: str) -> float:
        """The share of a stage in the CPU time of all stages, 0..1."""
        return self.cpu.get(stage, 0.0) / max(1e-9, sum(self.cpu.values()))

    @property
    def cores_busy(self) -> float:
        """Cores at work, on average; what is done beside the stages is not counted."""
        return sum(self.cpu.values()) / max(1e-9, self.wall)

    @property
    def waiting(self) -> float:
        """Share of the run in which neither detection nor members were at work, 0..1."""
        return max(0.0, 1 - (self.seconds.get("detect", 0.0) + self.seconds.get("judge", 0.0)) / max(1e-9, self.wall))

    def bound(self) -> str:
        """What would have to be faster for the run to be faster."""
        if not self.seconds or self.wall <= 0:
            return "nothing was predicted"
        if self.cores_busy >= SATURATED * self.cores:
            most = max(self.cpu, key=lambda stage: self.cpu[stage])
            return f"the CPU, most of all {NAMES[most]}"
        if self.busy("decode") > 1 - self.waiting:
            return NAMES["decode"]
        return NAMES[max(("detect", "judge"), key=self.busy)]

    def sentence(self) -> str:
        """The profile in one line, for people."""
        busy = ", ".join(f"{NAMES[stage]} {self.busy(stage):.0%}" for stage in self.seconds)
        cores = f"{self.cores_busy:.1f} of {self.cores} cores at work"
        return f"busy: {busy}; {cores}; bound by {self.bound()}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        stages = {
            stage: {
                "seconds": round(seconds, 3),
                "busy": round(self.busy(stage), 4),
                "cpu_seconds": round(self.cpu.get(stage, 0.0), 3),
            }
            for stage, seconds in self.seconds.items()
        }
        return {
            "stages": stages,
            "waiting": round(self.waiting, 4),
            "cores_busy": round(self.cores_busy, 2),
            "bound_by": self.bound(),
        }


def profile(results: Sequence[VideoResult], wall: float, workers: int) -> Profile:
    """Add up what the videos of a run took.

    Args:
        results: of the videos.
        wall: seconds of the run that predicted exactly these videos.
        workers: videos decoded at a time.
    """
    totals: list[dict[str, float]] = []
    for each in ([result.seconds for result in results], [result.cpu for result in results]):
        stages = [stage for stage in NAMES if any(stage in values for values in each)]
        totals.append({stage: sum(values.get(stage, 0.0) for values in each) for stage in stages})
    return Profile(wall, workers, cores(), *totals)
