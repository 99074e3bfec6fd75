"""The answer of a blend to what the members have said of a video: again, where the share of fakes is another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ensemble.blend import Blend, VideoVerdict
from ensemble.prior import EM, HALF, Prior
from inference.result import VideoResult, face_pixels_of, people_of


def answer_again(result: VideoResult, blend: Blend) -> VideoResult:
    """Give a video the probabilities of `blend`, without looking at its pixels.

    Args:
        result: of one video, by a blend of the same members.
        blend: the same one with another share of fakes.

    Returns:
        The result with other probabilities: of the video, its people, its faces and its close-ups. A video that could
        not be scored has the prior.
    """
    if not result.faces:
        return replace(result, prob_fake=blend.unseen)
    verdict = _verdict(result, blend)
    moved = zip(result.faces, verdict.faces, strict=True)
    faces = tuple(replace(face, prob_fake=float(prob)) for face, prob in moved)
    return replace(
        result,
        prob_fake=verdict.prob_fake,
        faces=faces,
        people=people_of(verdict, {who.person: who.frames for who in result.people}),
        closeups=tuple(replace(closeup, prob_fake=faces[closeup.face].prob_fake) for closeup in result.closeups),
    )


def share_of_fakes(results: Iterable[VideoResult], blend: Blend) -> Prior:
    """Estimate the share of fakes among videos that `blend` has scored; half where it has scored none."""
    half = replace(blend, prior=HALF)
    free = np.array([_verdict(result, half).free for result in results if result.faces])
    return Prior.of(EM, free) if len(free) else Prior()


def _verdict(result: VideoResult, blend: Blend) -> VideoVerdict:
    """By the blend or by that of its fallbacks whose members have scored the video."""
    scored = set(result.faces[0].logits)
    every = (blend.fallback(number).needed() for number in range(len(blend.fallbacks) + 1))
    mine = next((each for each in every if set(each.members) == scored), blend)
    logits = {name: np.array([face.logits[name] for face in result.faces]) for name in mine.members}
    person = np.array([face.person for face in result.faces])
    return mine.predict(logits, person, face_pixels_of(result.faces))
