"""The facts of a run that its report states."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
from collections.abc import Sequence

from ensemble.blend import Blend
from inference.pipeline import Pipeline
from inference.report.run_section import RunFacts
from inference.run import Run
from models.backend import words_of

STATED = ("torch", "openvino", "timm", "av", "opencv-python-headless", "numpy")


def facts_of(pipeline: Pipeline, run: Run, blend: Blend, arguments: Sequence[str]) -> RunFacts:
    """What a reader needs to understand or repeat the run."""
    versions = {"python": platform.python_version()}
    for name in STATED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return RunFacts(
        title="P(fake) of each video",
        members=tuple(loaded.card.name for loaded in pipeline.loaded_members),
        frames_per_video=pipeline.options.frames,
        sparing=pipeline.options.sparing,
        wall_seconds=run.seconds,
        profile=run.profile,
        plans=run.plans,
        device=words_of(pipeline.device),
        versions=versions,
        clip=blend.clip,
        blend=blend,
        prior=run.prior.sentence(),
        command=shlex.join(["dfdc", *arguments]),
    )
