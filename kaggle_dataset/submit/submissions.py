"""The submissions of a competition as Kaggle lists them: what was sent before is found here, and its score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from common.errors import DfdcError
from kaggle_dataset.submit.kaggle_client import Kaggle
from kaggle_dataset.submit.polling import Timer, ask


@dataclass(frozen=True)
class Listed:
    """A submission as Kaggle lists it."""

    ref: str
    when: datetime
    message: str
    status: str  # pending, complete, error
    public_score: float | None
    private_score: float | None


def submissions_to(competition: str, kaggle: Kaggle, timer: Timer) -> list[Listed]:
    """Ask for our submissions to a competition, the newest first; DfdcError for a list that cannot be read."""
    answer = ask(
        *(kaggle, timer, "competitions", "submissions", competition),
        *("--format", "json", "--page-size", "200"),
    )
    if "No submissions found" in answer.out:
        return []
    try:
        return [_to_listed(values) for values in answer.json()]
    except (KeyError, TypeError, ValueError) as error:
        raise DfdcError(
            f"the list of submissions to {competition} cannot be read ({error!r}): {answer.words}"
        ) from error


def find(listed: list[Listed], message: str) -> Listed | None:
    """The submission with a message; None where it is not in the list."""
    return next((found for found in listed if message in found.message), None)


def _to_listed(values: Mapping[str, Any]) -> Listed:
    when = datetime.fromisoformat(str(values["date"]))
    scores = [float(values[key]) if values.get(key) else None for key in ("publicScore", "privateScore")]
    return Listed(
        str(values["ref"]),
        when if when.tzinfo else when.replace(tzinfo=UTC),  # the client prints UTC and does not say so
        str(values.get("description") or ""),
        str(values["status"]).rsplit(".", maxsplit=1)[-1].lower(),
        *scores,
    )
