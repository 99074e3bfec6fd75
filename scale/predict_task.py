"""Predict the videos of a unit: `dfdc predict` for a few videos, whose results go into one file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.device import Device
from faces.decode.watchdog import VideoLimits
from inference.journal import to_values
from inference.pipeline import Pipeline, PredictOptions, make_pipeline
from inference.result import PRIOR, VideoResult
from models.checkpoint import WEIGHTS_DIR, find_cards
from scale.manifest import refuse_other
from scale.rows import ROWS, blend_of
from scale.units import Unit
from scale.worker import Aside, Made, Tick, WorkerSetup


class PredictTask:
    """The pipeline of `dfdc predict` with the options of a manifest."""

    def __init__(self, options: Mapping[str, Any], setup: WorkerSetup, device: Device) -> None:
        """Load the networks.

        Args:
            options: of the manifest.
            setup: of the worker.
            device: where the networks run.

        Raises:
            OtherRunError: the members are others than the run's.
        """
        members = Path(setup.members) if setup.members else WEIGHTS_DIR
        blend = blend_of(options["blend"])
        found = {card.name: card.sha256 for card in find_cards(members) if card.name in blend.members}
        refuse_other("the weights of this run", options["members"], found)
        limits = VideoLimits.of(options["video_seconds"])
        how = PredictOptions(options["frames"], decoders=setup.threads, limits=limits)
        self.pipeline: Pipeline = make_pipeline(how, device, members, setup.threads, blend)

    def make(self, unit: Unit, paths: Mapping[str, Path], work: Path, aside: Aside, tick: Tick | None) -> Made:
        """Write a line for each video of a unit, in their order."""
        todo = {key: path for key, path in paths.items() if key not in aside}
        results = dict(zip(todo, self._predict(todo, tick), strict=True))
        statuses: Counter[str] = Counter()
        with (work / ROWS).open("w", encoding="ascii") as file:
            for item in unit.items:
                result = results.get(item.key) or _given_up(item.key, *aside[item.key])
                statuses[result.status] += 1
                file.write(json.dumps(to_values(result), separators=(",", ":")) + "\n")
        return Made({ROWS: work / ROWS}, statuses)

    def _predict(self, todo: Mapping[str, Path], tick: Tick | None) -> Iterator[VideoResult]:
        if tick is None:
            results = self.pipeline.run(list(todo.values()))
            yield from (_named(result, key, path) for (key, path), result in zip(todo.items(), results, strict=True))
            return
        for key, path in todo.items():
            tick(key)
            yield _named(next(self.pipeline.run([path])), key, path)


def _named(result: VideoResult, key: str, path: Path) -> VideoResult:
    """Call a result by the video's key, and never by where a worker had the file."""
    return replace(result, filename=key, reason=result.reason.replace(str(path), key))


def _given_up(key: str, status: str, reason: str) -> VideoResult:
    return VideoResult(key, status, PRIOR, reason)  # type: ignore[arg-type] # timed_out or crashed
