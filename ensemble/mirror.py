"""Whether showing the members every other frame mirrored lowers the loss: a test-time augmentation that costs nothing.

Over the frames of a video half of the answers are then of mirrored faces. What that gives is measured on tables of the
same faces, once as they are and once with the mean over both views (`dfdc holdout --flip`). The idea is NTech-Lab's
(third place of the DFDC).
"""

from __future__ import annotations

import numpy as np

from ensemble.aggregate import PLAIN, aggregate
from ensemble.convex import mix_logit
from ensemble.folds import OUTER, group_folds
from ensemble.metrics import Estimate, sigmoid
from ensemble.table import Faces
from ensemble.validate import compare, equal_mix


def mirror_gain(plain: Faces, both: Faces, seed: int = 0) -> Estimate:
    """Log loss with both views minus the one without, classes half each, paired, 95 % by group; below 0 it helps.

    plain, both: the same faces. Equal weights, temperature and shift fitted without the video's fold. Raises ValueError
    when the tables are of other members, videos or faces.
    """
    same = plain.members == both.members and np.array_equal(plain.filename, both.filename)
    if not (same and np.array_equal(plain.frame, both.frame)):
        raise ValueError(f"the mirrored table is of other faces, {both}, than the first, {plain}: score the same ones")
    truth = plain.known()
    folds = group_folds(truth, OUTER, seed)
    prob = {}
    for name, faces in (("plain", plain), ("both", both)):
        values, logit = aggregate(faces.logit, faces.layout, PLAIN), np.empty(len(truth))
        for fit, held in folds:
            logit[held] = mix_logit(values[held], equal_mix(values[fit], truth[fit]), "logit")
        prob[name] = sigmoid(logit)
    return compare(truth, prob, [("both", "plain")], seed).difference["both", "plain"]
