"""Whether a test set looks to the members like the held-out videos that the blend was tuned on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ensemble.aggregate import PLAIN, aggregate
from ensemble.metrics import Estimate, Floats, bootstrap
from ensemble.table import Faces

FOLDS = 5
ALL = "all members"
# An AUC above this is a drift worth a word, once its interval lies above one half; below it a calibration moves little.
NOTABLE = 0.6


@dataclass(frozen=True)
class Drift:
    """How well the logits of a member tell a test set from held-out videos."""

    member: str  # or ALL
    auc: Estimate  # of telling them apart out of fold: 0.5 is alike, 1 entirely different; 95 % interval by group
    shift: float  # median logit of the test set less that of the held-out videos; NaN for ALL

    @property
    def notable(self) -> bool:
        """Whether the two sets are clearly, and by much, unlike."""
        return self.auc.low > 0.5 and self.auc.value > NOTABLE


def drift(held_out: Faces, test: Faces) -> list[Drift]:
    """Let a classifier tell test from held-out videos: adversarial validation.

    A logistic regression on each member's logit and its square, so that both a shift and a spread show, scored out of
    fold. A test set with another share of fakes drifts as well; see `estimate_prior` for that.

    Args:
        held_out: the labelled table that the blend was tuned on.
        test: a table of the same members.

    Returns:
        One for each member of `test`, and one for all of them together where there are several.

    Raises:
        ValueError: a member is missing, or a set has fewer than FOLDS groups.
    """
    if missing := sorted(set(test.members) - set(held_out.members)):
        raise ValueError(f"the held-out table has no member {missing[0]!r}; it has {', '.join(held_out.members)}")
    known = held_out.of(test.members)
    values = [aggregate(faces.logit, faces.layout, PLAIN) for faces in (known, test)]
    group = np.concatenate([[f"held out {name}" for name in known.known().group], [f"test {n}" for n in test.filename]])
    label = np.repeat([0.0, 1.0], [len(part) for part in values])
    for part in (0.0, 1.0):
        if (count := len(set(group[label == part].tolist()))) < FOLDS:
            raise ValueError(f"{count} groups are too few to compare; at least {FOLDS} are needed on both sides")
    both = np.concatenate(values)
    shifts = np.median(values[1], axis=0) - np.median(values[0], axis=0)
    found = [Drift(name, _telling(both[:, [i]], label, group), float(shifts[i])) for i, name in enumerate(test.members)]
    together = [Drift(ALL, _telling(both, label, group), float("nan"))] if len(test.members) > 1 else []
    return [*found, *together]


def render(found: list[Drift]) -> list[str]:
    """Write it for people, a line each, and one that says what follows."""
    lines = ["drift from the held-out videos: AUC of telling the test set from them, 95 % interval by group"]
    width = max(len(one.member) for one in found)
    for one in found:
        shift = "" if np.isnan(one.shift) else f", median logit {one.shift:+.2f}"
        word = ": unlike" if one.notable else ""
        auc = f"{one.auc.value:.3f} [{one.auc.low:.3f}, {one.auc.high:.3f}]"
        lines.append(f"  {one.member:<{width}} {auc}{shift}{word}")
    unlike = [one.member for one in found if one.notable]
    said = (
        f"{', '.join(unlike)} see other videos than those that the blend was tuned on: do not expect its log loss here"
        if unlike
        else "the test set looks to the members like the held-out videos"
    )
    return [*lines, said]


def _telling(values: Floats, label: Floats, group: np.ndarray) -> Estimate:
    """AUC of telling label 1 from 0, of rows that the classifier has not seen; whole groups are kept together."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = np.hstack([values, values**2])
    told = np.zeros(len(label))
    for seen, unseen in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(features, label, group):
        classifier = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
        told[unseen] = classifier.fit(features[seen], label[seen]).predict_proba(features[unseen])[:, 1]
    return bootstrap(label, told, group, repeats=200)["auc"]
