"""A calibration that follows the width of the faces: of small ones a blend should say less.

The logit z of a blend becomes scale(w) z + shift(w) for faces w pixels wide. Both are straight lines in log2(w) between
knots and constant beyond them, so that no two videos of nearly the same width are treated differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ensemble.convex import SHIFTS, TEMPERATURES, doubt_of
from ensemble.metrics import Floats, sigmoid
from ensemble.truth import Truth

QUANTILES = (0.1, 0.9)  # of the widths: where the knots lie
# Times as strongly as the common calibration it is pulled towards none. Where nothing follows the width, it then costs
# .0006, .0005 and .0000 nats on fresh videos at 100, 300 and 600 groups, were it shipped always; where something
# does, it gains .02 to .07 (python benchmarks/tune.py width --seeds 2).
PULL = 4.0
SCALES = (1 / TEMPERATURES[1], 1 / TEMPERATURES[0])


@dataclass(frozen=True)
class WidthCalibration:
    """Scale and shift of a blend's logit at some widths of a face."""

    knots: tuple[float, ...]  # (K,) pixels in the full frame, growing
    scale: tuple[float, ...]  # (K,) above 0
    shift: tuple[float, ...]  # (K,) logits

    def __post_init__(self) -> None:
        if not len(self.knots) == len(self.scale) == len(self.shift) >= 2:
            raise ValueError(f"face_pixels has {len(self.knots)} knots; it needs two, each with a scale and a shift")
        if not (self.knots[0] > 0 and np.isfinite(self.knots).all() and (np.diff(self.knots) > 0).all()):
            raise ValueError(f"the knots {self.knots} of face_pixels are not growing numbers above 0")
        if not (min(self.scale) > 0 and np.isfinite(self.scale).all() and np.isfinite(self.shift).all()):
            raise ValueError(f"face_pixels: the scales {self.scale} must be above 0, the shifts {self.shift} finite")

    def apply(self, logit: Floats, face_pixels: Floats) -> Floats:
        """(V,) logits and (V,) widths -> (V,) logits. Where a width is NaN the logit stays as it is."""
        known = np.isfinite(face_pixels)
        parts = _parts(np.where(known, face_pixels, self.knots[0]), self.knots)
        return np.where(known, parts @ self.scale * logit + parts @ self.shift, logit)

    def to_dict(self) -> dict[str, list[float]]:
        """The value of "face_pixels" in blend.json."""
        values = (("knots", self.knots), ("scale", self.scale), ("shift", self.shift))
        return {name: [round(value, 6) for value in own] for name, own in values}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> WidthCalibration:
        """Read the value of "face_pixels" in blend.json; raises KeyError, TypeError or ValueError."""
        return cls(*(tuple(float(value) for value in values[name]) for name in ("knots", "scale", "shift")))


def fit_width(logit: Floats, truth: Truth) -> WidthCalibration | None:
    """Fit a calibration that follows the width of the faces to the logits of a blend.

    It is pulled towards none, PULL times as strongly as the calibration of all videos is (`ensemble.convex.doubt_of`).
    The problem is convex, so there is one answer.

    Args:
        logit: (V,) of a blend, not clipped.
        truth: of the V videos.

    Returns:
        The calibration; None where the widths are not known or hardly differ.
    """
    from scipy.optimize import minimize  # here: to apply a calibration does not need its half a second

    knots = knots_of(truth)
    if knots is None or truth.face_pixels is None:
        return None
    known = np.isfinite(truth.face_pixels)
    weight, sign = truth.weight[known], 1 - 2 * truth.label[known]
    parts = _parts(truth.face_pixels[known], knots)
    inputs = np.hstack([parts * logit[known, None], parts])
    none = np.repeat([1.0, 0.0], len(knots))
    pull = PULL * doubt_of(truth)

    def loss(x: Floats) -> tuple[float, Floats]:
        z, away = sign * (inputs @ x), x - none
        value = float(weight @ np.logaddexp(0.0, z) + pull * away @ away)
        return value, (weight * sign * sigmoid(z)) @ inputs + 2 * pull * away

    bounds = [SCALES] * len(knots) + [SHIFTS] * len(knots)
    options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000}
    found = minimize(loss, none, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return WidthCalibration(knots, tuple(found[: len(knots)].tolist()), tuple(found[len(knots) :].tolist()))


def knots_of(truth: Truth) -> tuple[float, ...] | None:
    """The quantiles of the known widths as knots; None where fewer than two of them differ."""
    if truth.face_pixels is None or not np.isfinite(truth.face_pixels).any():
        return None
    quantiles = np.nanquantile(truth.face_pixels, QUANTILES).round(1)
    knots = tuple(sorted({float(pixels) for pixels in quantiles if pixels > 0}))
    return knots if len(knots) > 1 else None


def _parts(face_pixels: Floats, knots: tuple[float, ...]) -> Floats:
    """(V, K) by how much each knot counts: from 0 to 1, 1 together."""
    at, width = np.log2(knots), np.log2(np.maximum(face_pixels, np.finfo(np.float64).tiny))
    return np.stack([np.interp(width, at, one) for one in np.eye(len(knots))], axis=1)
