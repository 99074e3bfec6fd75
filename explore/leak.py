"""Does metadata alone tell fakes from reals? Then a model can learn the encoder instead of the face."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from ensemble.metrics import Estimate, Floats, auc, bootstrap

FOLDS = 5
LEAST = FOLDS  # groups of each class, so that each fold can have both
SHUFFLES = 5  # of each column in each fold
CHANCE = 0.6  # an interval that lies above this is more than chance
NUMBERS = [
    *("width", "height", "frames", "bit_rate", "duration", "start_time", "fps", "rotation", "video_streams"),
    *("channels", "sample_rate", "audio_frames", "audio_bit_rate", "audio_duration", "audio_start_time"),
    *("audio_streams", "bytes"),
]
WORDS = ["format", "video_codec", "audio_codec"]


@dataclass(frozen=True)
class Column:
    """What one column gives away."""

    name: str
    importance: float  # AUC lost on held-out videos when its values are shuffled
    alone: float  # AUC of the column by itself, above 0.5 where fakes have more of it; NaN for a column of words


@dataclass(frozen=True)
class Leak:
    """How well metadata alone predicts the label."""

    auc: Estimate  # of predictions for held-out groups, with its 95 % interval by bootstrap of groups
    columns: tuple[Column, ...]  # all that vary, the most important first
    videos: int
    groups: int
    warning: str  # empty unless the interval lies above CHANCE


def why_none(table: pd.DataFrame) -> str:
    """Why `leak` cannot tell, empty when it can."""
    known = _known(table)
    real, fake = (known.loc[known["label"] == label, "group"].nunique() for label in ("REAL", "FAKE"))
    if min(real, fake) < LEAST:
        have = f"{real} groups with a real and {fake} with a fake"
        return f"{have} among the readable videos; {LEAST} of each are needed to measure what metadata gives away"
    return "" if len(_features(known).columns) else "all readable videos have the same metadata"


def leak(table: pd.DataFrame, seed: int = 0) -> Leak | None:
    """Predict the label from metadata alone, cross-validated by group.

    Gradient boosted trees take missing values as they are (a missing sound track tells too). The width over the height
    is one more column, since it gave away fakes of the challenge of 2020, beside the time base of the sound.

    Args:
        table: of `metadata_table`.
        seed: the same table and seed give the same numbers.

    Returns:
        How well it works, or None where it cannot be measured; `why_none` says why.
    """
    if why_none(table):
        return None
    known = _known(table)
    features, label = _features(known), (known["label"] == "FAKE").to_numpy(dtype=np.float64)
    group = known["group"].to_numpy(dtype=object)
    prob = np.zeros(len(known))
    lost: list[Floats] = []
    # One thread: so small a model only waits for others, for minutes where the cores are busy.
    with threadpool_limits(1, user_api="openmp"):
        for train, held in _folds(label, group, seed):
            model = _model(len(train), seed).fit(features.iloc[train], label[train])
            prob[held] = model.predict_proba(features.iloc[held])[:, 1]
            lost.append(_importance(model, features.iloc[held], label[held], prob[held], seed))
    estimate = bootstrap(label, prob, group, seed=seed)["auc"]
    importance = np.mean(np.nan_to_num(lost), axis=0)  # a held-out fold of one class has no AUC to lose
    columns = [
        Column(name, float(importance[at]), _alone(features[name], label)) for at, name in enumerate(features.columns)
    ]
    columns.sort(key=lambda column: (-column.importance, -abs(np.nan_to_num(column.alone, nan=0.5) - 0.5), column.name))
    return Leak(estimate, tuple(columns), len(known), len(set(group)), _warning(estimate, columns))


def _known(table: pd.DataFrame) -> pd.DataFrame:
    """Readable videos with a label, in an order that does not depend on the table's."""
    rows = table[(table["status"] == "ok") & table["label"].isin(["REAL", "FAKE"])]
    return rows.sort_values("filename", ignore_index=True)


def _features(known: pd.DataFrame) -> pd.DataFrame:
    """Columns that vary: numbers, NaN where missing, and words as categories."""
    numbers = known[NUMBERS].astype("float64")
    numbers["width_over_height"] = numbers["width"] / numbers["height"]
    words = known[WORDS].astype("category")
    features = pd.concat([numbers, words], axis=1)
    return features.loc[:, features.nunique(dropna=False) > 1]


def _model(rows: int, seed: int) -> HistGradientBoostingClassifier:
    """Small trees; leaves that shrink with the data, or a hundred videos would never be split."""
    return HistGradientBoostingClassifier(
        max_iter=60,
        max_leaf_nodes=8,
        min_samples_leaf=max(3, min(20, rows // 10)),
        categorical_features="from_dtype",
        early_stopping=False,
        random_state=seed,
    )


def _folds(label: Floats, group: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for train, held in folds.split(np.zeros(len(label)), label, group):
        if len(held) and len(np.unique(label[train])) == 2:
            yield train, held


def _importance(
    model: HistGradientBoostingClassifier, held: pd.DataFrame, label: Floats, prob: Floats, seed: int
) -> Floats:
    """(columns,) AUC lost when one column is shuffled (Breiman 2001, permutation importance); NaN for one class."""
    rng = np.random.default_rng(seed)
    mixed = []
    for name in held.columns:
        for _ in range(SHUFFLES):
            order = rng.permutation(len(held))
            mixed.append(held.assign(**{name: held[name].iloc[order].set_axis(held.index)}))
    # One call for all: each has a price of its own.
    after = model.predict_proba(pd.concat(mixed, ignore_index=True))[:, 1].reshape(-1, SHUFFLES, len(held))
    return auc(label, prob) - np.array([np.mean([auc(label, one) for one in column]) for column in after])


def _alone(values: pd.Series, label: Floats) -> float:
    """AUC of a column of numbers, missing ones below all others; NaN for words."""
    if not pd.api.types.is_numeric_dtype(values):
        return float("nan")
    return auc(label, values.rank(na_option="top").to_numpy())


def _warning(estimate: Estimate, columns: list[Column]) -> str:
    if not estimate.low > CHANCE:
        return ""
    names = ", ".join(column.name for column in columns[:3] if column.importance > 0) or columns[0].name
    return (
        f"Metadata alone tells fakes from reals: AUC {estimate.value:.2f} (95 % {estimate.low:.2f} to "
        f"{estimate.high:.2f}), mostly {names}. A model that sees traces of it learns how files were encoded and fails "
        "on other videos. Train nothing on metadata, encode all videos of a fixture or a test alike and strip their "
        "metadata, and look whether a member's score follows these columns."
    )
