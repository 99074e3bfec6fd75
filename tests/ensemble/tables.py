"""Tables with a known answer."""

import numpy as np
from scipy.optimize import root

from ensemble.aggregate import Layout
from ensemble.metrics import class_weights, sigmoid
from ensemble.table import Faces
from ensemble.truth import Truth


def faces_of(logit, label, per_video=1, group=None, degradation=None):
    """(N, M) logits, `per_video` faces of one person for each of the labels."""
    videos = len(label)
    layout = Layout.of(np.repeat(np.arange(videos), per_video), np.zeros(len(logit), dtype=np.int64))
    names = np.array([f"v{i:06d}.mp4" for i in range(videos)])
    group = names if group is None else group
    members = tuple(f"m{i}" for i in range(logit.shape[1]))
    frame = np.tile(np.arange(per_video), videos)
    truth = Truth(np.asarray(label, dtype=np.float64), np.asarray(group), degradation)
    return Faces(members, np.asarray(logit, dtype=np.float64), frame, layout, names, truth, sha256="0" * 64)


def noisy(videos, spreads, seed=0, shared=0.8, per_video=1):
    """Members that see the truth through noise of their own, of the given spreads, and noise they share."""
    rng = np.random.default_rng(seed)
    label = np.arange(videos) % 2
    side = (2.0 * label - 1)[:, None] + rng.normal(0, shared, (videos, 1))
    logit = side + rng.normal(0, 1, (videos, len(spreads))) * np.asarray(spreads)
    group = np.array([f"g{i // 4:05d}" for i in range(videos)])
    logit = np.repeat(logit, per_video, axis=0)
    return faces_of(logit + rng.normal(0, 0.5 * (per_video > 1), logit.shape), label, per_video, group)


def planted(members, videos=2000, seed=0):
    """Logits whose best blend is known exactly: weights, with temperature 1 and shift 0. Returns (faces, weights).

    The blend z is made calibrated on these very rows, so that temperature 1 and shift 0 are best for it; then a
    multiple of the residual r, which leaves z as it is, is added to the members until the loss has no slope in any
    weight: D = r (z.r 1 - L'r)' / r.r has D w = 0 and (L + D)'r = z.r 1.
    """
    rng = np.random.default_rng(seed)
    label = (rng.random(videos) < 0.4).astype(np.float64)
    logit = 1.2 * (2 * label - 1)[:, None] + rng.normal(0, 1.5, (videos, members)) + rng.normal(0, 0.8, (videos, 1))
    weights = rng.dirichlet(np.full(members, 3.0))
    weight, z = class_weights(label), logit @ weights

    def slope(x):
        residual = weight * (sigmoid(x[0] * z + x[1]) - label)
        return residual @ z, residual.sum()

    scale, shift = root(slope, [1.0, 0.0], tol=1e-14).x
    logit = scale * logit + shift
    z = logit @ weights
    residual = weight * (sigmoid(z) - label)
    logit = logit + np.outer(residual, z @ residual - logit.T @ residual) / (residual @ residual)
    return faces_of(logit, label), weights
