"""A video on its way through the pipeline, and the order in which results leave it."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.crop import Boxes, CropSpec, Image
from faces.decode.pool import DecodeOutcome
from faces.detect import FrameFaces
from faces.video import Frames, VideoInfo
from inference.result import PRIOR, ScoredFace, Thumbnail, VideoResult
from inference.schedule.plans import Plan

SKIPPED = "the budget was used up before its turn came"


@dataclass
class VideoWork:
    """A video between detection and verdict; its frames are gone by then."""

    path: Path
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

    def keep(self, faces: NDArray[np.intp]) -> None:
        """Let go of all but some of the faces, with what belongs to each.

        Args:
            faces: (K,) their indices, rising.
        """
        self.faces = [self.faces[i] for i in faces]
        self.crops = {spec: [crops[i] for i in faces] for spec, crops in self.crops.items()}
        self.pictures = [self.pictures[i] for i in faces] if self.pictures else []
        self.points = [self.points[i] for i in faces]


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
    face: ScoredFace, index: int, logits: Mapping[str, NDArray[np.float64]], prob_fake: NDArray[np.float64]
) -> ScoredFace:
    """Put the members' logits, and what the blend makes of them, into a face's record."""
    mine = {name: float(values[index]) for name, values in logits.items()}
    return replace(face, logits=mine, prob_fake=float(prob_fake[index]))


def called(result: VideoResult, name: str, path: Path) -> VideoResult:
    """Call a result by the name that its video has in the input, and never by where its file lies."""
    return replace(result, filename=name, reason=result.reason.replace(str(path), name))


def in_order(paths: Sequence[Path], finished: Generator[tuple[Path, VideoResult], None, None]) -> Iterator[VideoResult]:
    """Give one result for each path, in their order, as soon as it and those before it are there.

    A video that the run did not reach is `skipped_by_budget`, so that no result stands in another video's place. Paths
    and not names are compared: two folders may hold videos of one name.
    """
    early: dict[Path, deque[VideoResult]] = {}
    turns = deque(paths)
    with contextlib.closing(finished):
        for path, result in finished:
            early.setdefault(path, deque()).append(result)
            while turns and early.get(turns[0]):
                yield early[turns.popleft()].popleft()
    for path in turns:
        yield early[path].popleft() if early.get(path) else VideoResult(path.name, "skipped_by_budget", PRIOR, SKIPPED)
