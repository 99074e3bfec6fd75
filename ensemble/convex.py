"""The loss that blends are tuned for, and its optimum where it is convex: what certifies a study.

A blend of members with logits x_m: in logit space sigmoid(sum of w_m (x_m / T + shift)), in probability space
sum of w_m sigmoid(x_m / T + shift), weights w on the simplex. Scaling each member and not their mixture changes
nothing in logit space, and makes the log loss convex in the weights in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ensemble.metrics import Floats, sigmoid
from ensemble.truth import Truth

# scipy.optimize is imported where something is solved: to apply a blend does not need its half a second.
if TYPE_CHECKING:
    from scipy.optimize import LinearConstraint

    from ensemble.width import WidthCalibration

Space = Literal["logit", "probability"]

TEMPERATURES = (0.1, 10.0)  # beyond the second a blend says 0.5 of everything
SHIFTS = (-4.0, 4.0)  # logits; the prior of DFDC's training videos, 84 % fake, is a shift of 1.66
TINY = 1e-300


@dataclass(frozen=True)
class Mix:
    """The numbers of a blend."""

    weights: Floats  # (M,) on the simplex
    temperature: float = 1.0
    shift: float = 0.0  # logits, added after the division by the temperature
    width: WidthCalibration | None = None  # what the width of the faces changes after that

    @classmethod
    def equal(cls, members: int) -> Mix:
        """Every member weighs the same and is taken at its word."""
        return cls(np.full(members, 1 / members))


def mix_logit(values: Floats, mix: Mix, space: Space, face_pixels: Floats | None = None) -> Floats:
    """(V, M) logits of members, (V,) widths of faces as far as known -> (V,) logits of their blend, not clipped."""
    scaled = values / mix.temperature + mix.shift
    if space == "logit":
        logit = np.asarray(scaled @ mix.weights)
    else:
        fake, real = sigmoid(scaled) @ mix.weights, sigmoid(-scaled) @ mix.weights
        logit = np.asarray(np.log(np.maximum(fake, TINY)) - np.log(np.maximum(real, TINY)))
    return logit if mix.width is None or face_pixels is None else mix.width.apply(logit, face_pixels)


def penalty(mix: Mix, ridge: float) -> float:
    """ridge x the squared distance of w / T from equal weights: what shrinks a blend towards them, in nats."""
    spread = (mix.weights - mix.weights.mean()) / mix.temperature
    return float(ridge * spread @ spread)


def doubt_of(truth: Truth) -> float:
    """How strongly a calibration is pulled towards none: half a nat for a unit, shared by the groups.

    That is a normal prior of spread 1 about a scale of 1 and a shift of 0. Groups count and not videos: those of one
    group err together. It keeps few videos from making a blend sure, and is nothing for many.
    """
    return 0.5 / truth.groups


def calibration_penalty(mix: Mix, doubt: float) -> float:
    """doubt x ((1 / T - 1)^2 + shift^2), in nats: convex in 1 / T and the shift, unlike the square of log T."""
    return doubt * ((1 / mix.temperature - 1) ** 2 + mix.shift**2)


def objective(values: Floats, truth: Truth, mix: Mix, space: Space, ridge: float) -> float:
    """The weighted log loss of a blend, plus both penalties.

    Args:
        values: (V, M) logits of the members.
        truth: of the V videos.
        mix: the blend.
        space: in which it mixes.
        ridge: strength of the pull towards equal weights.

    Returns:
        Nats.
    """
    sign = 1 - 2 * truth.label
    loss = float(truth.weight @ np.logaddexp(0.0, sign * mix_logit(values, mix, space)))
    return loss + penalty(mix, ridge) + calibration_penalty(mix, doubt_of(truth))


def optimum(values: Floats, truth: Truth, ridge: float) -> Mix:
    """The best weights, temperature and shift in logit space: a convex problem, so the best there is.

    Solved by SLSQP in b_m = w_m / T >= 0, in which the loss and both penalties are convex; sum(b) = 1 / T stays
    above 1 / TEMPERATURES[1], where the weights of members that know nothing would be 0 / 0.
    """
    weight, sign, doubt = truth.weight, 1 - 2 * truth.label, doubt_of(truth)
    members = values.shape[1]

    def loss(x: Floats) -> tuple[float, Floats]:
        z = sign * (values @ x[:-1] + x[-1])
        spread = x[:-1] - x[:-1].mean()
        slope = weight * sign * sigmoid(z)
        excess = x[:-1].sum() - 1
        gradient = np.append(slope @ values + 2 * ridge * spread + 2 * doubt * excess, slope.sum() + 2 * doubt * x[-1])
        pull = ridge * spread @ spread + doubt * (excess**2 + x[-1] ** 2)
        return float(weight @ np.logaddexp(0.0, z) + pull), gradient

    from scipy.optimize import LinearConstraint

    least, most = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    bounds = [*[(0.0, most)] * members, SHIFTS]
    whole = LinearConstraint(np.append(np.ones(members), 0.0)[None], least, most)
    found = _solve(loss, np.append(np.full(members, 1 / members), 0.0), bounds, whole)
    scale = found[:-1].sum()
    return Mix(found[:-1] / scale, float(1 / scale), float(found[-1]))


def best_mix(values: Floats, truth: Truth, space: Space, ridge: float) -> Mix:
    """The best weights, temperature and shift: `optimum` in logit space, else a local search from equal ones."""
    if space == "logit":
        return optimum(values, truth, ridge)
    weight, sign, members, doubt = truth.weight, 1 - 2 * truth.label, values.shape[1], doubt_of(truth)

    def loss(x: Floats) -> tuple[float, Floats]:
        w, scale, shift = x[:-2], x[-2], x[-1]
        right = sigmoid(-sign[:, None] * (values * scale + shift))
        prob = np.maximum(right @ w, TINY)
        spread = w - 1 / members
        inner = -sign[:, None] * right * (1 - right)  # how the truth's probability rises with a logit
        slope = -weight / prob
        gradient = np.concatenate(
            [
                slope @ right + 2 * ridge * scale**2 * spread,
                [slope @ ((inner * values) @ w) + 2 * ridge * scale * spread @ spread + 2 * doubt * (scale - 1)],
                [slope @ (inner @ w) + 2 * doubt * shift],
            ]
        )
        pull = ridge * scale**2 * spread @ spread + doubt * ((scale - 1) ** 2 + shift**2)
        return float(-weight @ np.log(prob) + pull), gradient

    from scipy.optimize import LinearConstraint

    whole = LinearConstraint(np.append(np.ones(members), [0.0, 0.0])[None], 1.0, 1.0)
    bounds = [*[(0.0, 1.0)] * members, (1 / TEMPERATURES[1], 1 / TEMPERATURES[0]), SHIFTS]
    found = _solve(loss, np.append(np.full(members, 1 / members), [1.0, 0.0]), bounds, whole)
    return Mix(found[:-2] / found[:-2].sum(), float(1 / found[-2]), float(found[-1]))


def best_weights(values: Floats, truth: Truth, space: Space, ridge: float, at: Mix) -> Mix:
    """The best weights at the temperature and shift of `at`: convex in both spaces."""
    weight, sign = truth.weight, 1 - 2 * truth.label
    members = values.shape[1]
    scaled = values / at.temperature + at.shift
    right = sigmoid(-sign[:, None] * scaled)  # each member's probability of the truth
    strength = ridge / at.temperature**2

    def loss(w: Floats) -> tuple[float, Floats]:
        spread = w - 1 / members
        if space == "logit":
            z = sign * (scaled @ w)
            value, gradient = weight @ np.logaddexp(0.0, z), (weight * sign * sigmoid(z)) @ scaled
        else:
            prob = np.maximum(right @ w, TINY)
            value, gradient = -weight @ np.log(prob), -(weight / prob) @ right
        return float(value + strength * spread @ spread), gradient + 2 * strength * spread

    from scipy.optimize import LinearConstraint

    whole = LinearConstraint(np.ones(members)[None], 1.0, 1.0)
    found = _solve(loss, np.full(members, 1 / members), [(0.0, 1.0)] * members, whole)
    return Mix(found / found.sum(), at.temperature, at.shift)


def _solve(loss, start: Floats, bounds, constraint: LinearConstraint) -> Floats:  # type: ignore[no-untyped-def]
    """SLSQP, begun again where it stopped until that helps no more: one run stops early on flat ground."""
    from scipy.optimize import minimize

    best, value = start, loss(start)[0]
    for _ in range(10):
        found = minimize(
            loss,
            best,
            jac=True,
            method="SLSQP",
            bounds=bounds,
            constraints=[constraint],
            options={"ftol": 1e-14, "maxiter": 500},
        ).x
        found = np.clip(found, [b[0] for b in bounds], [b[1] for b in bounds])
        now = loss(found)[0]
        if not now < value - 1e-13:
            break
        best, value = found, now
    return best
