"""What an evaluation tells: scores with intervals, and a table with a row for each video or face."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.files import atomic_path, harmless
from ensemble.blend import Blend
from ensemble.metrics import METRICS, Estimate, bootstrap
from inference.result import VideoResult

BLEND_NAME = "blend"  # its row among the members, in tables and JSON
MOST_GROUPS = 50  # with more groups than that a table by group is not read, and each group is small


@dataclass(frozen=True)
class Evaluation:
    """The scores of each member and of the blend, and what could not be scored."""

    scores: dict[str, dict[str, Estimate]]  # member or "blend" -> metric -> estimate with its interval
    rows: int  # scored
    fakes: int  # of them
    groups: int  # that the bootstrap draws
    by_group: dict[str, dict[str, float]]  # group -> AUC and size, for at most MOST_GROUPS groups
    not_found: list[str]  # labelled, absent from the input
    not_labelled: list[str]  # in the input, without a REAL or FAKE label
    not_predicted: dict[str, str]  # name -> why; they are scored with the prior

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """JSON without NaN, which other programs refuse: an undefined number is null."""

        def clean(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: clean(inner) for key, inner in value.items()}
            if isinstance(value, list):
                return [clean(inner) for inner in value]
            return None if isinstance(value, float) and not math.isfinite(value) else value

        return json.dumps(clean(self.to_dict()), indent=2)


def probabilities_of(
    names: Iterable[str], members: Sequence[str], done: Mapping[str, VideoResult]
) -> dict[str, list[float]]:
    """P(fake) of each name by every member alone and by the blend; what has no face gets the result's own."""
    alone = {member: Blend.equal([member]) for member in members}
    prob: dict[str, list[float]] = {member: [] for member in (*members, BLEND_NAME)}
    for result in (done[name] for name in names):
        prob[BLEND_NAME].append(result.prob_fake)
        person = np.array([face.person for face in result.faces])
        for member, blend in alone.items():
            logits = {member: np.array([face.logits[member] for face in result.faces])}
            prob[member].append(blend.predict(logits, person).prob_fake if len(person) else result.prob_fake)
    return prob


@contextmanager
def kept(
    output: Path | None, rows: pd.DataFrame, key: str, members: Sequence[str], done: Mapping[str, VideoResult]
) -> Iterator[None]:
    """Write the table of what is done when the work inside ends, also where the user stops it."""
    try:
        yield
    finally:
        if output is not None:
            finished = rows[rows[key].isin(list(done))]
            write_evaluated(output, finished, key, probabilities_of(finished[key], members, done), done)


def write_evaluated(
    path: Path,
    rows: pd.DataFrame,
    key: str,
    prob: Mapping[str, Sequence[float]],
    done: Mapping[str, VideoResult],
) -> None:
    """Write a CSV with a row for each video or face: its label and group, what it was given, and how it went.

    Args:
        path: the CSV.
        rows: with the columns `key`, label and group.
        key: filename or face.
        prob: member or "blend" -> P(fake) of each row.
        done: name -> result.
    """
    given = {"prob_fake": prob[BLEND_NAME]} | {name: prob[name] for name in prob if name != BLEND_NAME}
    table = rows[[key, "label", "group"]].assign(**{name: np.round(values, 6) for name, values in given.items()})
    table = table.assign(status=[done[name].status for name in rows[key]], reason=[done[n].reason for n in rows[key]])
    with atomic_path(path) as temporary:
        table.map(harmless).to_csv(temporary, index=False, lineterminator="\n", errors="surrogateescape")


def score(
    table: pd.DataFrame,
    rows: pd.DataFrame,
    key: str,
    prob: dict[str, list[float]],
    present: set[str],
    done: Mapping[str, VideoResult],
) -> Evaluation:
    label, group = rows["target"].to_numpy(dtype=np.float64), rows["group"].to_numpy(dtype=object)
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in prob.items()}
    labelled = table[table["target"].notna()]
    return Evaluation(
        scores={name: bootstrap(label, values, group) for name, values in arrays.items()},
        rows=len(rows),
        fakes=int(label.sum()),
        groups=len(set(group)),
        by_group=_by_group(label, arrays[BLEND_NAME], group),
        not_found=sorted(set(labelled[key]) - present),
        not_labelled=sorted(present - set(labelled[key])),
        not_predicted={name: f"{r.status}: {r.reason}" for name, r in done.items() if r.status != "ok"},
    )


def _by_group(label: NDArray[np.float64], prob: NDArray[np.float64], group: NDArray[np.str_]) -> dict[str, Any]:
    """AUC of the blend inside each group; empty where the groups are many."""
    names = sorted(set(group.tolist()))
    if len(names) > MOST_GROUPS:
        return {}
    found = {}
    for name in names:
        mine = group == name
        found[name] = {
            "rows": int(mine.sum()),
            "fakes": int(label[mine].sum()),
            "auc": METRICS["auc"](label[mine], prob[mine]),
        }
    return found


def format_evaluation(evaluation: Evaluation) -> str:
    """The evaluation as a table for people."""
    lines = [f"{evaluation.rows} scored, {evaluation.fakes} fake, {evaluation.groups} groups; 95 % intervals by group"]
    width = max(len(name) for name in evaluation.scores)
    lines.append(" " * width + "".join(f"  {metric:>23}" for metric in METRICS))
    for name, scores in evaluation.scores.items():
        cells = [f"{e.value:.4f} [{e.low:.4f}, {e.high:.4f}]" for e in scores.values()]
        lines.append(f"{name:<{width}}" + "".join(f"  {cell:>23}" for cell in cells))
    for name, facts in evaluation.by_group.items():
        lines.append(f"group {name}: {facts['rows']} rows, {facts['fakes']} fake, AUC {facts['auc']:.4f}")
    lost = {"labelled but not found": evaluation.not_found, "found but not labelled": evaluation.not_labelled}
    lines += [f"{len(names)} {what}: {', '.join(names[:5])}" for what, names in lost.items() if names]
    lines += [f"not predicted, scored with the prior: {name}: {why}" for name, why in evaluation.not_predicted.items()]
    return "\n".join(lines)
