"""Which files a run is about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

VIDEO_ENDINGS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp")


def journal_of(output: Path) -> Path:
    """Where a run that writes `output` keeps its journal."""
    return output.with_name(output.name + ".journal")


def find_videos(inputs: Sequence[Path]) -> list[Path]:
    """Videos among `inputs`: a file as it is, of a folder all entries that end like a video, sorted by name.

    A name is an identity here (it is the row of the submission), so two files of one name are a ValueError, as are an
    input that does not exist and a folder without videos. Whether a file can be read is found out later.
    """
    found: list[Path] = []
    for source in inputs:
        if source.is_dir():
            inside = sorted(p for p in source.iterdir() if p.suffix.lower() in VIDEO_ENDINGS)
            if not inside:
                raise ValueError(f"{source} holds no video ({', '.join(VIDEO_ENDINGS)}); sub-folders are not searched")
            found += inside
        elif source.exists() or source.is_symlink():
            found.append(source)
        else:
            raise ValueError(f"{source} does not exist")
    names: dict[str, Path] = {}
    for path in found:
        if path.name in names:
            raise ValueError(f"{path} and {names[path.name]} have one name; a submission has one row per name")
        names[path.name] = path
    return sorted(found, key=lambda path: path.name)
