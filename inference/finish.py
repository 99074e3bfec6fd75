"""A submission out of what a run that is no more has left: its CSV for the order, its journal for the numbers."""

from __future__ import annotations

from pathlib import Path

from inference.journal import results_of
from inference.result import PRIOR
from inference.submission import read_sample, write_submission


def finish_from_journal(output: Path, journal: Path) -> int:
    """Write what the journal knows into the submission, the prior into the other rows; returns how many it knew."""
    order = read_sample(output)
    prob = results_of(journal) if journal.exists() else {}
    known = {name: prob[name] for name in order if name in prob}
    write_submission(output, {name: known.get(name, PRIOR) for name in order}, order, (0.0, 1.0))
    return len(known)
