"""Put together what units made: what `dfdc merge` does. One unit is in memory at a time."""

from __future__ import annotations

import csv
import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pandas as pd

from common.errors import DfdcError
from common.storage import Folder
from scale.store import Store
from scale.units import Unit

SHOWN = 3  # units that are named where some are missing


@dataclass(frozen=True)
class MergeSummary:
    """What was written; `str` gives lines for people."""

    output: str
    videos: int
    statuses: Counter[str]
    predicts: bool

    @property
    def fallback_share(self) -> float:
        """The share of the videos that have no result of their own, 0..1."""
        return 1 - self.statuses["ok"] / max(1, self.videos)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in self.statuses.most_common())
        return f"{self.output}: {self.videos} videos: {counts}"


def merge(store_url: str, output: str, probabilities: str | None = None) -> MergeSummary:
    """Write the result of a run whose units are all done.

    Args:
        store_url: of the run.
        output: for predict the CSV, the same bytes as `dfdc predict` writes for a folder of these videos; for extract
            the folder of shards. A path or an fsspec URL.
        probabilities: for predict, also the table of every member's logit of every face.

    Returns:
        What was written.

    Raises:
        DfdcError: a unit is not done, or what it made is damaged; then nothing is written.
        ValueError: the store holds no run.
    """
    store = Store(store_url)
    manifest = store.manifest()
    done = {"predict": _merge_predict, "extract": _merge_extract}[manifest["task"]]
    _refuse_missing(store)
    return done(store, manifest, output, probabilities)


def _refuse_missing(store: Store) -> None:
    missing = [unit.number for unit in store.units() if not store.is_done(unit)]
    if missing:
        named = ", ".join(map(str, missing[:SHOWN])) + (", ..." if len(missing) > SHOWN else "")
        raise DfdcError(f"{len(missing)} units are not done (numbers {named}); run: dfdc run-units {store.url}")


def _parts(store: Store) -> Iterator[tuple[Unit, dict[str, Any]]]:
    for unit in store.units():
        index = store.index_of(unit)
        if index is None:
            raise DfdcError(f"unit {unit.number} is not done any more; run: dfdc run-units {store.url}")
        yield unit, index


def _merge_predict(store: Store, manifest: dict[str, Any], output: str, probabilities: str | None) -> MergeSummary:
    from inference.outputs import PROBABILITIES, probability_rows
    from scale.predict_task import ROWS, blend_of, results_in

    low, high = blend_of(manifest["options"]["blend"]).clip
    statuses: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="dfdc-merge-") as folder:
        rows, table = Path(folder) / "rows.csv", Path(folder) / "table.csv"
        with _text(rows) as out, _text(table) as logits:
            out.write("filename,label\n")
            writer = csv.writer(logits, lineterminator="\n")
            writer.writerow(PROBABILITIES)
            for unit, index in _parts(store):
                results = list(results_in(store.read(unit, index, ROWS)))
                names, values = [r.filename for r in results], [r.prob_fake for r in results]
                if names != [item.key for item in unit.items]:
                    raise DfdcError(f"unit {unit.number} has results of other videos; remove its index and run it anew")
                if bad := [v for v in values if not (math.isfinite(v) and low <= v <= high)]:
                    raise DfdcError(f"unit {unit.number} has the probability {bad[0]}, not in [{low}, {high}]")
                statuses.update(r.status for r in results)
                part = pd.DataFrame({"filename": pd.Series(names, dtype=object), "label": values})
                out.write(part.to_csv(index=False, header=False, float_format="%.6f", lineterminator="\n"))
                if probabilities:
                    writer.writerows(row for result in results for row in probability_rows(result))
        _put(rows, output)
        if probabilities:
            _put(table, probabilities)
    return MergeSummary(output, statuses.total(), statuses, True)


def _merge_extract(store: Store, manifest: dict[str, Any], output: str, probabilities: str | None) -> MergeSummary:
    from scale.extract_task import INDEX, TAR, VIDEOS

    if probabilities:
        raise ValueError("--probabilities is of predictions; this run extracts")
    target, statuses = Folder(output), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="dfdc-merge-") as folder:
        tables = {INDEX: Path(folder) / "index.csv", VIDEOS: Path(folder) / "videos.csv"}
        part = Path(folder) / "part"
        for unit, index in _parts(store):
            name = f"shard_{unit.number:05d}"
            for role, ending in ((TAR, "tar"), (VIDEOS, "videos.csv"), (INDEX, "csv")):
                store.fetch(unit, index, role, part)
                target.put(part, f"{name}.{ending}")
                if role in tables:
                    _append(part, tables[role])
            statuses.update(index["statuses"])
        for path in tables.values():
            target.put(path, path.name)
    return MergeSummary(output, statuses.total(), statuses, False)


def _append(part: Path, table: Path) -> None:
    """Add the rows of a CSV to another; the header of the first one stays."""
    first = not table.exists()
    with part.open("rb") as source, table.open("ab") as out:
        header = source.readline()
        out.write(header if first else b"")
        out.writelines(source)


def _text(path: Path) -> IO[str]:
    """A text in which names of files keep their bytes, whatever those are."""
    return path.open("w", encoding="utf-8", errors="surrogateescape", newline="")


def _put(source: Path, output: str) -> None:
    """Copy a finished file to a path or a URL."""
    folder, _, name = output.rpartition("/") if "://" in output else ("", "", "")
    if name:
        Folder(folder).put(source, name)
    else:
        path = Path(os.path.abspath(output))  # noqa: PTH100 - a link stays the link that it is
        Folder(str(path.parent)).put(source, path.name)
