import numpy as np
import pandas as pd
import pytest

from ensemble.metrics import auc, log_loss_balanced, sigmoid
from train.scores import MEAN, render, summarise


def table(**members):
    parts = []
    for name, logits in members.items():
        faces = pd.DataFrame(
            {
                "face": [f"f{i}" for i in range(6)],
                "label": ["REAL", "FAKE", "FAKE"] * 2,
                "group": [f"g{i}" for i in range(6)],
                "fold": ["0"] * 3 + ["1"] * 3,
                "logit": logits,
            }
        )
        parts.append(faces.assign(member=name))
    return pd.concat(parts, ignore_index=True)


FIRST, SECOND = [-1.0, 2.0, 0.5, 1.0, 3.0, -0.5], [-2.0, 1.0, 1.5, -1.0, -2.0, 2.0]
LABEL = np.array([0, 1, 1, 0, 1, 1])


def test_members_and_their_mean_are_scored():
    summary = summarise(table(a=FIRST, b=SECOND).sample(frac=1, random_state=0))  # the order of rows says nothing
    mean = (np.array(FIRST) + SECOND) / 2
    for name, logit in (("a", FIRST), ("b", SECOND), (MEAN, mean)):
        score = summary.scores[name]
        assert score.faces == 6
        assert score.auc == pytest.approx(auc(LABEL, sigmoid(logit)))
        assert score.log_loss_balanced == pytest.approx(log_loss_balanced(LABEL, sigmoid(logit)))
    assert summary.by_fold["1"].auc == pytest.approx(auc(LABEL[3:], mean[3:]))
    assert summary.correlation.loc["a", "b"] == pytest.approx(np.corrcoef(FIRST, SECOND)[0, 1])


def test_one_member_is_its_own_mean():
    summary = summarise(table(a=FIRST))
    assert set(summary.scores) == {"a"}
    assert "correlation" not in render(summary)


def test_a_member_that_scored_fewer_faces_is_refused():
    with pytest.raises(ValueError, match="'b' has not scored all faces"):
        summarise(table(a=FIRST, b=SECOND).iloc[:-1])


def test_the_table_for_people_lines_up():
    text = render(summarise(table(a_long_name=FIRST, b=SECOND)))
    lines = text.splitlines()
    assert lines[1].startswith("a_long_name           6  0.75000")
    assert lines[-1].split() == ["2", "b", *(f"{v:.3f}" for v in (np.corrcoef(FIRST, SECOND)[1]))]
    assert len(lines[-1]) == len(lines[-2]) == len(lines[-3])


def test_a_mean_that_is_not_sure_enough_is_told_by_its_calibrated_loss():
    """Two members, each right about how sure it is, with errors of their own: the mean's logits are too small."""
    rng, count = np.random.default_rng(0), 2000
    fake = rng.random(count) < 0.5
    parts = []
    for name in "ab":
        logit = rng.normal(np.where(fake, 1.0, -1.0), np.sqrt(2))  # its log odds are the logit itself
        parts.append(
            pd.DataFrame(
                {
                    "face": [f"f{i}" for i in range(count)],
                    "label": np.where(fake, "FAKE", "REAL"),
                    "group": [f"g{i}" for i in range(count)],
                    "fold": "0",
                    "logit": logit,
                    "member": name,
                }
            )
        )
    scores = summarise(pd.concat(parts)).scores
    for name in "ab":
        assert scores[name].log_loss_calibrated == pytest.approx(scores[name].log_loss_balanced, abs=0.005)
    assert scores[MEAN].log_loss_calibrated < scores[MEAN].log_loss_balanced - 0.02


def test_too_few_groups_are_not_calibrated():
    assert np.isnan(summarise(table(a=FIRST)).scores["a"].log_loss_calibrated)
