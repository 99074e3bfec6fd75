"""Which files a run is about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.files import files_in


def journal_of(output: Path) -> Path:
    """Where a run that writes `output` keeps its journal."""
    return output.with_name(output.name + ".journal")


def find_videos(inputs: Sequence[Path]) -> list[Path]:
    """Videos among `inputs`: a file as it is, of a folder all entries that end like a video, sorted by name.

    A name is an identity here (it is the row of the submission), so two files of one name are a ValueError, as are an
    input that does not exist and a folder without videos. Whether a file can be read is found out later.
    """
    found = files_in(inputs)
    names: dict[str, Path] = {}
    for path in found:
        if path.name in names:
            raise ValueError(f"{path} and {names[path.name]} have one name; a submission has one row per name")
        names[path.name] = path
    return sorted(found, key=lambda path: path.name)
