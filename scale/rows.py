"""What a unit of predictions leaves, a line for each video, and how it is read back: without any network."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ensemble.blend import Blend
from inference.journal import from_values
from inference.result import VideoResult

ROWS = "rows.jsonl"  # a line for each video, as in a journal


def blend_of(text: str) -> Blend:
    """Read a blend from the text of its file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "blend.json"
        path.write_text(text, encoding="utf-8")
        return Blend.read(path)


def results_in(data: bytes) -> Iterator[VideoResult]:
    """Read the results of a unit from its rows."""
    return (from_values(json.loads(line)) for line in data.splitlines())
