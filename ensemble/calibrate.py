"""Make logits mean what they say: a scale and a shift, fitted with the two classes weighted half each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from sklearn.model_selection import GroupKFold

from ensemble.metrics import Floats, Names, class_weights


@dataclass(frozen=True)
class Calibration:
    """Calibrated logit = scale x logit + shift (Platt 1999); 1 / scale is a temperature (Guo et al. 2017)."""

    scale: float
    shift: float

    def apply(self, logit: Floats) -> Floats:
        """(N,) logits in, (N,) logits out."""
        return np.asarray(logit, dtype=np.float64) * self.scale + self.shift


def fit_calibration(logit: Floats, label: Floats) -> Calibration:
    """The scale (always positive) and shift with the lowest class-balanced log loss on these rows.

    A Gaussian prior about "leave it as it is", as strong as one row, keeps the fit finite where the rows separate
    perfectly.

    Args:
        logit: (N,) logits.
        label: (N,) 1 fake, 0 real.

    Raises:
        ValueError: the rows are of one class.
    """
    x, fake = np.asarray(logit, dtype=np.float64), np.asarray(label) > 0.5
    weight = class_weights(label)
    sign = np.where(fake, -1.0, 1.0)

    def loss(parameters: Floats) -> float:
        log_scale, shift = parameters
        losses = np.logaddexp(0.0, sign * (np.exp(log_scale) * x + shift))
        return float(weight @ losses + (log_scale**2 + shift**2) / 2 / len(x))

    log_scale, shift = minimize(loss, np.zeros(2), method="BFGS").x
    return Calibration(float(np.exp(log_scale)), float(shift))


def cross_fit(logit: Floats, label: Floats, group: Names, folds: int = 5) -> Floats:
    """Calibrated logits in which no row was calibrated by its own group: what calibration gains on new data."""
    out = np.empty(len(logit), dtype=np.float64)
    splitter = GroupKFold(min(folds, len(np.unique(group))))
    for fit, held in splitter.split(logit, groups=group):
        out[held] = fit_calibration(logit[fit], label[fit]).apply(logit[held])
    return out
