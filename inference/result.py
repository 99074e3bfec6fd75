"""What is known of one video when it is finished: the value that the table, the CSV and the report are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from ensemble.blend import VideoVerdict
from faces.crop import Boxes

Status = Literal["ok", "no_face", "unreadable", "timed_out", "crashed", "skipped_by_budget"]

PRIOR = 0.5  # P(fake) of a video that could not be predicted: the test set is half and half


@dataclass(frozen=True)
class ScoredFace:
    """One face in one frame and what the members say of it."""

    frame: int  # index in the video
    second: float
    person: int  # 0 is the person seen in most frames
    box_xyxy: Boxes  # (4,) pixels of the full frame
    score: float  # the detector's confidence, 0..1
    detector: str  # the step of the cascade that found it
    logits: dict[str, float]  # member -> logit of P(fake)
    prob_fake: float  # of this face alone, after the mean over members

    @property
    def width(self) -> float:
        """Of the box, in pixels of the full frame, to a tenth."""
        return round(float(self.box_xyxy[2] - self.box_xyxy[0]), 1)


def face_pixels_of(faces: Sequence[ScoredFace]) -> float:
    """The median width of a video's faces in pixels; each to a tenth, as the table of probabilities has them."""
    return float(median(face.width for face in faces))


@dataclass(frozen=True)
class PersonResult:
    """One person over the whole video."""

    person: int
    frames: int  # in how many of the searched frames the person was seen
    prob_fake: float


def people_of(verdict: VideoVerdict, seen: Mapping[int, int]) -> tuple[PersonResult, ...]:
    """The people of a video, the most seen first.

    Args:
        verdict: of the faces that were scored.
        seen: person -> in how many frames, whether the face was scored there or not.
    """
    people = [PersonResult(person, seen[person], prob_fake) for person, _, prob_fake in verdict.people]
    return tuple(sorted(people, key=lambda who: (-who.frames, who.person)))


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of one scored frame, for the report."""

    frame: int
    second: float
    jpeg: bytes
    scale: float  # pixels of the thumbnail per pixel of the full frame


@dataclass(frozen=True)
class Closeup:
    """A picture of one face, for the report."""

    face: int  # index in the faces of the result
    second: float
    person: int
    prob_fake: float  # of this face alone
    jpeg: bytes
    heat: bytes = b""  # the same picture with the parts in red on which the answer hangs, a JPEG; empty: not measured


@dataclass(frozen=True)
class VideoResult:
    """One row of the submission and why it says what it says."""

    filename: str
    status: Status
    prob_fake: float  # inside the clip; the prior unless status is ok
    reason: str = ""  # why the status is not ok, or what was odd about a video that is; for people to read
    width: int = 0  # pixels, after rotation; 0 when unreadable
    height: int = 0
    fps: float = 0.0
    frames: int = 0  # as the header says
    duration: float = 0.0  # seconds
    faces: tuple[ScoredFace, ...] = ()  # those that were scored
    people: tuple[PersonResult, ...] = ()
    thumbnails: tuple[Thumbnail, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)  # stage, a key of inference.stages.NAMES -> wall clock
    looked: int = 0  # frames that were searched for faces; 0 in journals of older versions
    cpu: dict[str, float] = field(default_factory=dict)  # stage -> seconds of CPU, of all threads; cut videos have none
    closeups: tuple[Closeup, ...] = ()  # of the faces that speak most for a fake
    with_face: int = 0  # frames in which a face was found, scored or not; 0 in journals of older versions

    @property
    def evidence(self) -> dict[str, float]:
        """What the answer stands on: frames searched, frames with a face, and the median width of a face in pixels."""
        return {
            "frames": self.looked,
            "frames_with_face": self.with_face or len({face.frame for face in self.faces}),
            "face_pixels": round(face_pixels_of(self.faces), 1) if self.faces else 0.0,
        }
