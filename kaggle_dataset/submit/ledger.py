"""submissions.csv: every submission that was begun, what it was made of and what it scored."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from common.errors import DfdcError
from common.files import write_text

# sending: it may or may not have arrived; refused: Kaggle did not take it, so it does not count.
STATUSES = ("sending", "pending", "complete", "error", "refused")


@dataclass(frozen=True)
class Entry:
    """One submission. Empty text and None: not known."""

    date: str  # ISO, UTC, when it was sent
    competition: str
    kernel: str  # owner/slug
    version: int  # of the kernel
    manifest: str  # SHA-256 of manifest.json
    blend: str  # SHA-256 of blend.json
    members: str  # names with a blank between them
    expected_log_loss: float | None
    expected_low: float | None  # of its 95 % interval
    expected_high: float | None
    status: str  # one of STATUSES
    public_score: float | None
    private_score: float | None
    ref: str  # Kaggle's number of the submission
    message: str  # as Kaggle shows it; names manifest, kernel and version, so that no two are alike

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status {self.status!r} is none of {', '.join(STATUSES)}")
        if not self.message or len(self.message.splitlines()) > 1:
            raise ValueError(f"the message {self.message!r} is not one line of text")
        if self.when.utcoffset() is None:
            raise ValueError(f"date {self.date!r} has no time zone")

    @property
    def when(self) -> datetime:
        """The date as a time."""
        return datetime.fromisoformat(self.date)


COLUMNS = tuple(field.name for field in fields(Entry))
NUMBERS = {field.name for field in fields(Entry) if field.type == "float | None"}


def timestamp(when: datetime) -> str:
    """A time as the ledger writes it: ISO, UTC, whole seconds."""
    return when.astimezone(UTC).isoformat(timespec="seconds")


def read_ledger(path: Path) -> list[Entry]:
    """All entries, the oldest first; none where there is no file. DfdcError naming the first damaged line."""
    if not path.exists():
        return []
    line = 1
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            rows = csv.reader(handle, strict=True)
            if tuple(header := next(rows, [])) != COLUMNS:
                raise ValueError(f"the columns are {header}, expected {list(COLUMNS)}")
            entries: list[Entry] = []
            for row in rows:
                line = rows.line_num
                entries.append(_to_entry(row))
                if entries[-1].message in {entry.message for entry in entries[:-1]}:
                    raise ValueError(f"the message {entries[-1].message!r} is there twice")
    except (ValueError, csv.Error) as error:
        raise DfdcError(
            f"{path} is damaged at line {line}: {error}; it is left as it is: repair that line, or move the file away "
            f"(the two submissions a day are then counted from Kaggle's list only)"
        ) from error
    return entries


def record(path: Path, entry: Entry) -> None:
    """Append an entry to the ledger, or put it in the place of the one with the same message."""
    entries = read_ledger(path)
    places = [i for i, other in enumerate(entries) if other.message == entry.message]
    if places:
        entries[places[0]] = entry
    else:
        entries.append(entry)
    write_text(path, _to_text(entries))


def _to_text(entries: Sequence[Entry]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(entry) for entry in entries)
    return text.getvalue()


def _to_entry(row: Sequence[str]) -> Entry:
    if len(row) != len(COLUMNS):
        raise ValueError(f"{len(row)} fields, expected {len(COLUMNS)}")
    values = dict(zip(COLUMNS, row, strict=True))
    numbers = {name: float(values[name]) if values[name] else None for name in NUMBERS}
    if wrong := [name for name, number in numbers.items() if number is not None and not math.isfinite(number)]:
        raise ValueError(f"{wrong[0]} is {values[wrong[0]]}")
    return Entry(**{**values, **numbers, "version": int(values["version"])})  # type: ignore[arg-type]
