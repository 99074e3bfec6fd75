"""What an answer stands on, in words: on few frames, on one picture, on faces that are seen only once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from faces.detect import FrameFaces, MtcnnDetector
from faces.track import STRAY, lone_faces
from inference.result import ScoredFace

# Below this share of the frames with a face a reader is told: the answer stands on few of them.
FEW_FACES = 0.25


def evidence_notes(faces: Sequence[ScoredFace], looked: int, there: int) -> list[str]:
    """Say where an answer stands on little.

    Args:
        faces: those of a video that count.
        looked: frames that were searched for faces.
        there: frames that the video has.

    Returns:
        At most two sentences without a full stop.
    """
    said = ["a still picture"] if looked == 1 and there <= 1 else []
    with_face = len({face.frame for face in faces})
    if faces and with_face < FEW_FACES * looked:
        said.append(f"a face in only {with_face} of {looked} frames")
    return said


def use_lone_faces(found: Sequence[FrameFaces], people: Sequence[NDArray[np.intp]]) -> str:
    """Say how many sure faces are seen in a single frame, and make persons of them where there is nobody else.

    Args:
        found: the faces of a video.
        people: the person of each, which is changed.

    Returns:
        What a reader should know of it; empty where there is nothing.
    """
    lone = lone_faces(found, people)
    if not lone:
        return ""
    # MTCNN, the last resort, finds letters and leaves at any confidence: it is believed where it finds them twice.
    kept = [(number, face) for number, face in lone if found[number].detector != MtcnnDetector.name]
    nobody = all((persons == STRAY).all() for persons in people)
    if not (nobody and kept):
        return f"{len(lone)} faces seen in a single frame each are left out"
    for person, (number, face) in enumerate(kept):
        people[number][face] = person
    return f"the {len(kept)} faces are seen in a single frame each"
