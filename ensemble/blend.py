"""blend.json: how the members' logits become one probability."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from common.errors import DfdcError
from common.files import write_text
from ensemble.aggregate import PLAIN, Aggregation, Layout, aggregate, person_logits
from ensemble.convex import Mix, Space, mix_logit
from ensemble.facts import Facts
from ensemble.metrics import Floats, sigmoid
from ensemble.prior import HALF
from ensemble.width import WidthCalibration

FILE = "blend.json"  # for the competition
ANY_FILE = "blend_any.json"  # for videos from anywhere: tuned on several data sets, none of which outvotes another
CLIP = (0.01, 0.99)  # of a blend that nobody tuned: one confident error then costs 4.6, at the scorer's bound 34.5
TEST_PRIOR = HALF  # share of fakes in the test set


@dataclass(frozen=True)
class VideoVerdict:
    """What the faces of one video come to."""

    prob_fake: float  # inside the clip
    free: float  # the same, not clipped
    people: tuple[tuple[int, int, float], ...]  # (person, faces seen, prob_fake), the most seen first
    faces: Floats  # (N,) prob_fake of each face by itself, not clipped


@dataclass(frozen=True)
class FallbackEnsemble:
    """The blend of some of the members, for a run that has no time for all."""

    members: tuple[str, ...]
    mix: Mix
    log_loss: float  # validated, classes half each


@dataclass(frozen=True)
class Blend:
    """Members to one probability: aggregation, weights, temperature, shift, clip; and what is known of its log loss."""

    members: tuple[str, ...]
    mix: Mix
    space: Space = "logit"
    aggregation: Aggregation = PLAIN
    clip: tuple[float, float] = CLIP
    frames: int = 32  # that a video was scored on, or that the limits leave time for
    mirror: bool = False  # whether members see every other scored frame mirrored
    sha256: dict[str, str] = field(default_factory=dict)  # member -> hash of the weights that were scored, if known
    fallbacks: tuple[FallbackEnsemble, ...] = ()  # smaller subsets, the least contribution per second left out
    facts: Facts = field(default_factory=Facts)  # expected log loss with its interval, table, what was refused
    prior: float = TEST_PRIOR  # share of fakes that probabilities assume; the odds move by its odds, before the clip

    def __post_init__(self) -> None:
        weights, (low, high) = self.mix.weights, self.clip
        if not self.members or len(set(self.members)) < len(self.members) or len(weights) != len(self.members):
            raise ValueError(f"a blend has one weight for each of its members, {self.members} have {len(weights)}")
        if not ((weights >= 0).all() and abs(weights.sum() - 1) < 1e-6):
            raise ValueError(f"weights {weights} must be 0 or more and sum to 1")
        if not (self.mix.temperature > 0 and np.isfinite(self.mix.temperature) and np.isfinite(self.mix.shift)):
            raise ValueError(f"temperature {self.mix.temperature} must be above 0, shift {self.mix.shift} finite")
        if self.space not in ("logit", "probability"):
            raise ValueError(f"space is {self.space!r}; it is logit or probability")
        if self.frames < 1:
            raise ValueError(f"frames is {self.frames}; it starts at 1")
        if not 0 <= low <= TEST_PRIOR <= high <= 1:
            raise ValueError(f"clip {self.clip} must be 0 <= low <= {TEST_PRIOR} <= high <= 1")
        if not 0 < self.prior < 1:
            raise ValueError(f"prior is {self.prior}; a share of fakes lies between 0 and 1")

    @property
    def unseen(self) -> float:
        """P(fake) of a video that has no face, or cannot be read: the prior, inside the clip."""
        return float(np.clip(self.prior, *self.clip))

    @property
    def expected_log_loss(self) -> float | None:
        """The validated log loss in nats; None where nobody measured it."""
        loss = self.facts.expected_log_loss
        return None if loss is None else loss.value

    @classmethod
    def equal(cls, members: Sequence[str]) -> Blend:
        """Equal weights, members taken at their word: what is used where nothing was tuned."""
        return cls(tuple(members), Mix.equal(len(members)))

    def free(self, values: Floats, face_pixels: Floats | None = None) -> Floats:
        """(V, M) logits of videos, (V,) widths of their faces or NaN, where known -> (V,) P(fake), not clipped."""
        return sigmoid(mix_logit(values, self.mix, self.space, face_pixels) + math.log(self.prior / (1 - self.prior)))

    def prob_fake(self, values: Floats, face_pixels: Floats | None = None) -> Floats:
        """(V, M) logits of videos, (V,) widths of their faces or NaN, where known -> (V,) P(fake) inside the clip."""
        return np.clip(self.free(values, face_pixels), *self.clip)

    def predict_all(self, logit: NDArray[np.floating], layout: Layout, face_pixels: Floats | None = None) -> Floats:
        """Predict videos.

        Args:
            logit: (N, M) of faces, M in the order of `members`.
            layout: which faces belong to which video.
            face_pixels: (V,) the median width of each video's faces, NaN where it is not known.

        Returns:
            (V,) P(fake) inside the clip.
        """
        return self.prob_fake(aggregate(logit, layout, self.aggregation), face_pixels)

    def predict(
        self, logits: Mapping[str, Floats], person: NDArray[np.integer], face_pixels: float = math.nan
    ) -> VideoVerdict:
        """Predict one video.

        Args:
            logits: member -> (N,) of its faces.
            person: (N,) ids.
            face_pixels: the median width of the faces; NaN where it is not known.

        Returns:
            What the faces come to. The width moves single faces and people as it moves the video.

        Raises:
            ValueError: there is no face.
        """
        order = np.argsort(person, kind="stable")
        faces = np.stack([np.asarray(logits[name], dtype=np.float64) for name in self.members], axis=1)[order]
        ids = np.asarray(person)[order].astype(np.int64)
        layout = Layout.of(np.zeros(len(ids), dtype=np.int64), ids)
        by_person = person_logits(faces, layout, self.aggregation)
        people = self.free(by_person, np.full(len(by_person), face_pixels))
        seen, who = np.diff(layout.person_starts), ids[layout.person_starts[:-1]]
        by_face = np.empty(len(ids))
        by_face[order] = self.free(faces, np.full(len(ids), face_pixels))
        free = self.free(aggregate(faces, layout, self.aggregation), np.array([face_pixels]))
        return VideoVerdict(
            float(np.clip(free, *self.clip)[0]),
            float(free[0]),
            tuple((int(who[i]), int(seen[i]), float(people[i])) for i in np.lexsort((who, -seen))),
            by_face,
        )

    def needed(self) -> Blend:
        """The same blend without the members of weight 0, which need not run."""
        used = np.flatnonzero(self.mix.weights > 0)
        return replace(
            self, members=tuple(self.members[i] for i in used), mix=replace(self.mix, weights=self.mix.weights[used])
        )

    def fallback(self, number: int) -> Blend:
        """The blend for a run that is short of time: itself for 0, else that of the fallback with this number.

        Raises ValueError beyond the last fallback.
        """
        if not 0 <= number <= len(self.fallbacks):
            raise ValueError(f"the blend has the fallbacks 0 to {len(self.fallbacks)}, not {number}")
        if number == 0:
            return self
        chosen = self.fallbacks[number - 1]
        # The mixes of fallbacks are fitted in logit space.
        return replace(self, members=chosen.members, mix=chosen.mix, space="logit")

    def check(self, have: Mapping[str, str]) -> None:
        """DfdcError when a member is missing, or its weights are not those the blend was tuned with.

        have: member -> SHA-256 of its weights.
        """
        for name in self.members:
            if name not in have:
                raise DfdcError(f"the blend needs member {name!r}; there are {', '.join(sorted(have)) or 'none'}")
            if name in self.sha256 and self.sha256[name] != have[name]:
                raise DfdcError(
                    f"member {name!r} has other weights than the blend was tuned with (SHA-256 {have[name][:12]}, "
                    f"expected {self.sha256[name][:12]}); tune again: dfdc holdout, then dfdc tune"
                )

    def to_json(self) -> str:
        """The text of blend.json. The shift is also told as a prior: P(fake) that members behave as if they expect."""
        expects = float(sigmoid(np.array(-self.mix.shift * self.mix.temperature)))
        values = {
            "members": {
                name: {"weight": round(float(weight), 9), **_known("sha256", self.sha256.get(name))}
                for name, weight in zip(self.members, self.mix.weights, strict=True)
            },
            "space": self.space + (BY_WIDTH if self.mix.width else ""),
            "aggregation": asdict(self.aggregation),
            "temperature": round(self.mix.temperature, 9),
            "prior": {"shift": round(self.mix.shift, 9), "from": round(expects, 4), "to": self.prior},
            **_width(self.mix),
            "clip": [round(bound, 9) for bound in self.clip],
            "frames": self.frames,
            "mirror": self.mirror,
            **self.facts.to_dict(),
            "ladder": [_fallback(fallback) for fallback in self.fallbacks],
        }
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"

    def write(self, path: Path) -> None:
        """Write blend.json, whole or not at all."""
        write_text(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> Blend:
        """Read a blend.json; DfdcError naming the file and what is wrong with it."""
        try:
            return _from_values(json.loads(path.read_text(encoding="utf-8")))
        except KeyError as error:
            raise DfdcError(f"{path} is not a blend: it lacks {error}; make one with: dfdc tune") from error
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise DfdcError(f"{path} is not a blend: {error}; make one with: dfdc tune") from error


KNOWN = {"members", "space", "aggregation", "temperature", "prior", "clip", "frames", "mirror", "ladder", "face_pixels"}
# Stands in "space" of a blend that needs the width of the faces. A reader keeps keys that it does not know, and would
# predict without them; it refuses a space that it does not know.
BY_WIDTH = " by face_pixels"


def _from_values(values: dict[str, Any]) -> Blend:
    members, low_high = values["members"], values["clip"]
    weights = np.array([entry["weight"] for entry in members.values()], dtype=np.float64)
    if abs(weights.sum() - 1) > 1e-6:
        raise ValueError(f"the weights sum to {weights.sum():g}, not to 1")
    space = str(values["space"])
    if space.endswith(BY_WIDTH) != ("face_pixels" in values):
        raise ValueError(f"space is {space!r}, which goes with a key 'face_pixels' if it ends in {BY_WIDTH!r}")
    return Blend(
        members=tuple(members),
        mix=Mix(
            weights / weights.sum(), float(values["temperature"]), float(values["prior"]["shift"]), _to_width(values)
        ),
        space=cast(Space, space.removesuffix(BY_WIDTH)),
        aggregation=Aggregation(**values["aggregation"]),
        clip=(float(low_high[0]), float(low_high[1])),
        frames=int(values["frames"]),
        mirror=bool(values.get("mirror", False)),
        sha256={name: entry["sha256"] for name, entry in members.items() if "sha256" in entry},
        fallbacks=tuple(_to_fallback(fallback) for fallback in values.get("ladder", [])),
        facts=Facts.from_dict({key: value for key, value in values.items() if key not in KNOWN}),
        prior=float(values["prior"].get("to", TEST_PRIOR)),
    )


def _fallback(fallback: FallbackEnsemble) -> dict[str, Any]:
    return {
        "weights": {name: round(float(w), 9) for name, w in zip(fallback.members, fallback.mix.weights, strict=True)},
        "temperature": round(fallback.mix.temperature, 9),
        "shift": round(fallback.mix.shift, 9),
        **_width(fallback.mix),
        "log_loss": round(fallback.log_loss, 6),
    }


def _to_fallback(values: dict[str, Any]) -> FallbackEnsemble:
    weights = np.array(list(values["weights"].values()), dtype=np.float64)
    mix = Mix(weights / weights.sum(), float(values["temperature"]), float(values["shift"]), _to_width(values))
    return FallbackEnsemble(tuple(values["weights"]), mix, float(values["log_loss"]))


def _width(mix: Mix) -> dict[str, Any]:
    return {} if mix.width is None else {"face_pixels": mix.width.to_dict()}


def _to_width(values: Mapping[str, Any]) -> WidthCalibration | None:
    return WidthCalibration.from_dict(values["face_pixels"]) if "face_pixels" in values else None


def _known(key: str, value: str | None) -> dict[str, str]:
    return {} if value is None else {key: value}
