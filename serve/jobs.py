"""What a worker process does: it holds the ensemble on one device, and answers jobs.

Jobs come as lines of JSON on stdin, answers go to stdout. A job is {"id":, "path":, "name":}. The process says
{"ready": the device} or {"failed": why} once; of each job {"id":, "stage": "decoding"}, then "scoring", and at last
{"id":, "result":, "report":}. Videos are decoded in processes of its own (faces/decode/pool.py), so one that crashes or
stops a decoder is a result like any other. It ends when stdin does.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common.device import find_device
from common.errors import DfdcError
from inference.blends import load_blend
from inference.outputs import to_json_line
from inference.pipeline import Pipeline, PredictOptions, make_pipeline
from inference.predict import REPORT_THUMBNAILS
from inference.report.page import render_section
from inference.result import VideoResult
from inference.schedule.plans import TOLERANCE, Plan, is_sparing
from inference.schedule.scheduler import FixedScheduler
from inference.verdict import verdict_of
from models.checkpoint import WEIGHTS_DIR


class Voice:
    """Says lines of JSON to the server, from any thread."""

    def __init__(self) -> None:
        # What libraries print must not come between: it goes to stderr.
        self._file = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._turn = threading.Lock()

    def say(self, **message: Any) -> None:
        """Say a message."""
        with self._turn:
            self._file.write(json.dumps(message) + "\n")
            self._file.flush()


class JobsOfServer(FixedScheduler):
    """Jobs as the server sends them, all with one plan; decoding of the next begins while the last is scored."""

    def __init__(self, plan: Plan, voice: Voice) -> None:
        super().__init__(plan)
        self.voice = voice
        self.known: dict[str, dict[str, str]] = {}  # by the name of the file, which is the id of the video

    def jobs(self, paths: Sequence[Path]) -> Iterator[tuple[Path, int]]:
        """Read jobs until stdin ends."""
        for line in sys.stdin:
            job = json.loads(line)
            path = Path(job["path"])
            self.known[path.name] = job
            self.voice.say(id=job["id"], stage="decoding")
            yield path, self.plan.frames

    def scoring(self, name: str) -> None:
        """The frames of a video are there, and native code begins to work on them."""
        self.voice.say(id=self.known[name]["id"], stage="scoring")


def answer(pipeline: Pipeline, voice: Voice) -> None:
    """Predict what comes until no more does."""
    jobs = JobsOfServer(pipeline.plan, voice)
    members = [loaded.card.name for loaded in pipeline.loaded_members]
    for result in pipeline.run_as_finished([], jobs, jobs.scoring):
        job = jobs.known.pop(result.filename)
        named = _named(result, job)
        values = json.loads(to_json_line(named, verdict_of(named, pipeline.blend)))
        voice.say(id=job["id"], result=values, report=render_section(named, members, pipeline.blend))


def _named(result: VideoResult, job: dict[str, str]) -> VideoResult:
    """The result with the user's name for the video in place of ours."""
    reason = result.reason.replace(job["path"], job["name"])
    return dataclasses.replace(result, filename=job["name"], reason=reason)


def work(arguments: Sequence[str]) -> None:
    """Load the ensemble, then answer.

    Args:
        arguments: --device, and --members, --blend and --frames where they are given.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", required=True)
    parser.add_argument("--members", type=Path, default=WEIGHTS_DIR)
    parser.add_argument("--blend", type=Path)
    parser.add_argument("--frames", type=int)
    asked = parser.parse_args(arguments)
    voice = Voice()
    try:
        device, blend = find_device(asked.device), load_blend(asked.members, asked.blend, competition=False)
        frames = asked.frames or blend.frames
        options = PredictOptions(
            frames=frames,
            sparing=is_sparing(asked.frames, TOLERANCE),
            tolerance=TOLERANCE,
            thumbnails=REPORT_THUMBNAILS,
            heatmap=True,
            prompt=True,
        )
        pipeline = make_pipeline(options, device, asked.members, blend=blend)
    except (DfdcError, ValueError) as error:
        voice.say(failed=str(error))
        sys.exit(1)
    voice.say(ready=str(device))
    answer(pipeline, voice)
