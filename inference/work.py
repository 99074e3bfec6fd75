"""A video on its way through the pipeline, and the order in which results leave it."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from faces.crop import Boxes, CropSpec, Image
from faces.decode.pool import DecodeOutcome
from faces.detect import FrameFaces
from faces.video import Frames, VideoInfo
from inference.result import PRIOR, ScoredFace, Thumbnail, VideoResult
from inference.schedule.plans import Plan


@dataclass
class VideoWork:
    """A video between detection and verdict; its frames are gone by then."""

    name: str
    reason: str  # why there are no frames; empty when there were
    seconds: dict[str, float]
    cpu: dict[str, float]
    outcome: DecodeOutcome  # of decoding
    plan: Plan
    info: VideoInfo | None = None
    note: str = ""
    looked: int = 0  # frames that were searched for faces
    faces: list[ScoredFace] = field(default_factory=list)  # logits still empty
    crops: dict[CropSpec, list[Image]] = field(default_factory=dict)
    thumbnails: tuple[Thumbnail, ...] = ()
    pictures: list[bytes] = field(default_factory=list)  # of each face, a JPEG; none where no report is made
    points: list[tuple[Boxes, bool]] = field(default_factory=list)  # of each face: its five points; is it mirrored


def scored_face(frames: Frames, number: int, faces: FrameFaces, index: int, person: int) -> ScoredFace:
    """Make the record of a face that was found, before the members have scored it."""
    return ScoredFace(
        frame=int(frames.indices[number]),
        second=float(frames.seconds[number]),
        person=person,
        box_xyxy=faces.boxes_xyxy[index],
        score=float(faces.scores[index]),
        detector=faces.detector,
        logits={},
        prob_fake=PRIOR,
    )


def with_logits(
    face: ScoredFace, index: int, logits: dict[str, NDArray[np.float64]], prob_fake: NDArray[np.float64]
) -> ScoredFace:
    """Put the members' logits, and what the blend makes of them, into a face's record."""
    mine = {name: float(values[index]) for name, values in logits.items()}
    return replace(face, logits=mine, prob_fake=float(prob_fake[index]))


def in_order(names: Sequence[str], finished: Generator[VideoResult, None, None]) -> Iterator[VideoResult]:
    """Give results in the order of their videos' names, each as soon as it and those before it are there.

    Those whose turn never comes, as the run ended before a video in front of them, come last.
    """
    early: dict[str, deque[VideoResult]] = {}
    turns = deque(names)
    with contextlib.closing(finished):
        for result in finished:
            early.setdefault(result.filename, deque()).append(result)
            while turns and early.get(turns[0]):
                yield early[turns.popleft()].popleft()
    for name in turns:
        if early.get(name):
            yield early[name].popleft()
