"""What a probability means, in a sentence: likely fake, no sign found, or cannot say, and on what grounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ensemble.blend import TEST_PRIOR, Blend
from ensemble.rates import Rates, Share
from inference.answer import answer_again
from inference.result import PersonResult, ScoredFace, VideoResult

Kind = Literal["likely fake", "no sign found", "cannot say"]

# Without measured rates, from where on a video is called likely fake: nobody knows how often that is wrong.
UNMEASURED = 0.9
TELLING = 0.25  # share of a person's faces that "most clearly at" is about


@dataclass(frozen=True)
class Verdict:
    """What is said of one video."""

    kind: Kind
    grounds: str  # who, in how many frames, when; or why nothing can be said
    caution: str  # how often such a verdict is wrong
    unlike: str  # in what the video is unlike all that the ensemble was measured on; empty for nothing

    @property
    def sentence(self) -> str:
        """All of it, for people."""
        told = [f"{self.kind.capitalize()}: {self.grounds}", self.unlike, self.caution]
        return " ".join(f"{part}." for part in told if part)


def verdict_of(result: VideoResult, blend: Blend) -> Verdict:
    """Put a result into words.

    Args:
        result: of one video.
        blend: which gave its probability; its rates say how often such a verdict is wrong.

    Returns:
        The verdict. "likely fake" starts where few real videos of any data set lie; "no sign found" is below 0.5;
        between them, and for a video without a probability of its own, nothing can be said. It does not depend on the
        share of fakes that the blend assumes: the error rates are of half and half.
    """
    if result.status != "ok":
        return Verdict("cannot say", result.reason or result.status, "", "")
    if not math.isfinite(result.prob_fake):
        return Verdict("cannot say", "its probability is no number", "", "")
    rates, fake_from = blend.facts.rates, fake_from_of(blend)
    unlike = _unlike(result, blend)
    prob, number = _at_half(result, blend)
    if prob >= fake_from:
        return Verdict("likely fake", f"{number}, {_telling(result)}", _of_alarms(rates), unlike)
    if prob < TEST_PRIOR:
        seen = f"in {result.evidence['frames_with_face']} of {result.looked} frames" if result.looked else ""
        grounds = ", ".join(part for part in (number, f"a face {seen}" if seen else "") if part)
        return Verdict("no sign found", f"{grounds}, which is no proof", _of_misses(rates), unlike)
    between = f"{number} lies between 0.50 and {fake_from:.2f}, where real videos and fakes are both found"
    return Verdict("cannot say", between, "", unlike)


def _at_half(result: VideoResult, blend: Blend) -> tuple[float, str]:
    """P(fake) where half of the videos are fake, and its words: the error rates are of such numbers."""
    if blend.prior == TEST_PRIOR:
        return result.prob_fake, f"P(fake) {result.prob_fake:.2f}"
    prob = answer_again(result, replace(blend, prior=TEST_PRIOR)).prob_fake
    return prob, f"P(fake) {prob:.2f} if half of the videos were fake"


def fake_from_of(blend: Blend) -> float:
    """The P(fake) from which a video is called likely fake."""
    return UNMEASURED if blend.facts.rates is None else blend.facts.rates.fake_from


def legend_of(blend: Blend) -> str:
    """What the words mean and how often they are wrong: a sentence or two below a list of verdicts."""
    rates = blend.facts.rates
    likely = f"Likely fake starts at {fake_from_of(blend):.2f}. {_of_alarms(rates)}."
    return f"{likely} No sign found is no proof. {_of_misses(rates)}."


def person_name(person: int) -> str:
    """How a person of a video is called for people, who count from 1."""
    return f"person {person + 1}"


def clock(second: float) -> str:
    """A moment as m:ss, or h:mm:ss; n/a for one that nobody knows."""
    if not math.isfinite(second):
        return "n/a"
    whole = int(second)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def telling_faces(result: VideoResult) -> list[ScoredFace]:
    """The faces that speak most for a fake: a stretch of the most fake person's, in the order of time."""
    who = _most_fake(result.people)
    faces = sorted((face for face in result.faces if who and face.person == who.person), key=lambda face: face.second)
    if not faces:
        return []
    length = max(1, round(TELLING * len(faces)))
    values = np.convolve([face.prob_fake for face in faces], np.ones(length), "valid")
    first = int(np.argmax(values))
    return faces[first : first + length]


def _most_fake(people: Sequence[PersonResult]) -> PersonResult | None:
    """The person that a verdict is about, as far as several are there."""
    return max(people, key=lambda who: (who.prob_fake, who.frames), default=None)


def _telling(result: VideoResult) -> str:
    who, faces = _most_fake(result.people), telling_faces(result)
    if who is None or not faces:
        return "no face is kept"
    name = f"the face of {person_name(who.person)}" if len(result.people) > 1 else "the face"
    frames = f"in {who.frames} of {result.looked} frames" if result.looked else f"in {who.frames} frames"
    start, end = clock(faces[0].second), clock(faces[-1].second)
    if result.looked == 1:
        return f"{name} {frames}"
    return f"{name} {frames}, most clearly at {start}" + (f"-{end}" if end != start else "")


def _unlike(result: VideoResult, blend: Blend) -> str:
    usual = blend.facts.usual
    if usual is None or not result.faces:
        return ""
    names = [name for name in blend.members if name in result.faces[0].logits]
    means = np.array([np.mean([face.logits[name] for face in result.faces]) for name in names])
    said = usual.unusual(means, result.evidence["face_pixels"])
    return f"This video is unlike all that the ensemble was measured on: {'; '.join(said)}" if said else ""


def _of_alarms(rates: Rates | None) -> str:
    if rates is None:
        return "Nobody has measured how often this ensemble is wrong: dfdc tune does"
    source, worst = rates.worst_alarms
    return f"Of the real videos that were held out{_of(source)}, {_in_100(worst.false_alarms)} get such a number"


def _of_misses(rates: Rates | None) -> str:
    if rates is None:
        return "How many fakes it misses is not known"
    source, worst = rates.worst_misses
    return f"Of the fakes that were held out{_of(source)}, {_in_100(worst.misses)} are not called likely fake"


def _of(source: str) -> str:
    return f" ({source})" if source else ""


def _in_100(share: Share) -> str:
    low, high = round(100 * share.low), round(100 * share.high)
    return f"{round(100 * share.value)} of 100 [{low}, {high}]"
