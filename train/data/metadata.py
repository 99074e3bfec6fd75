"""Which videos there are, and what is known of them: by metadata.json, a CSV of labels, or a known data set's names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from common.files import VIDEO_ENDINGS
from common.labels import GROUPS, VIDEO_METADATA, read_label_table
from train.data.layouts import read_layout


@dataclass(frozen=True)
class Video:
    """One video of a training set, whether its file is there or not."""

    filename: str  # unique over all inputs; with "/" a path below one of them
    path: Path | None  # None when the metadata names it and no file is there
    label: str  # REAL, FAKE or as given; empty when nothing is known of it
    original: str = ""  # filename of the video that a fake was made from, empty when unknown or real
    group: str = ""  # what must stay together: as given, else the original's filename, else the own
    part: str = ""  # number of a DFDC part without leading zeros, else the folder's name
    split: str = ""

    @property
    def known(self) -> bool:
        """Whether any metadata names it."""
        return bool(self.label)


def read_videos(inputs: Sequence[Path], labels: Path | None = None) -> list[Video]:
    """Find videos and what is known of them.

    Args:
        inputs: files, folders of videos, parts of DFDC (a folder with metadata.json), folders of such parts, or the
            folder of FaceForensics++ or Celeb-DF as it is distributed.
        labels: a CSV with filename, label and optionally original, original_group or group, part, split; then nothing
            else is asked. A filename with "/" is the path of a video below one of the inputs.

    Returns:
        The videos and all that the metadata names, sorted by part and filename.

    Raises:
        ValueError: an input does not exist or holds no video, a name is there twice, metadata cannot be read, or
            nothing is known of any video.
    """
    facts = _facts_of_labels(labels) if labels else {}
    below = [source for source in inputs if _is_deep(source, facts)]
    folders, files = _find([source for source in inputs if source not in below])
    paths = _by_name([*files, *(p for folder in folders for p in _videos_in(folder))])
    for source in below:
        facts |= {} if labels else read_layout(source) or {}
        _add_below(paths, source, facts if not labels else None)
    if not labels:
        facts |= _facts_of_parts(folders)
    videos = [_video(name, paths.get(name), facts.get(name)) for name in sorted(paths.keys() | facts.keys())]
    if not any(video.known and video.path for video in videos):
        where = str(labels) if labels else f"no {VIDEO_METADATA} in {', '.join(map(str, inputs))}"
        raise ValueError(f"nothing is known of the {len(paths)} videos ({where}); give --labels a CSV: filename,label")
    _check_stems(videos)
    return sorted(videos, key=lambda video: (part_order(video.part), video.filename))


def part_order(part: str) -> tuple[float, str]:
    """A key that puts parts in the order of their numbers, those without number behind them by name."""
    return (int(part) if is_numbered(part) else float("inf"), part)


def is_numbered(part: str) -> bool:
    """Whether this is the number of a DFDC part."""
    return part.isascii() and part.isdigit()


def part_name(folder: str) -> str:
    """`dfdc_train_part_07` -> 7; a name without a number at its end stays as it is."""
    number = re.search(r"(?:^|[^0-9])([0-9]{1,4})$", folder)
    return str(int(number.group(1))) if number else folder


def _is_deep(source: Path, facts: dict[str, dict[str, str]]) -> bool:
    """Whether videos of this folder are known by their paths in it, not by the ends of these."""
    if not source.is_dir():
        return False
    named = any("/" in name and (source / name).is_file() for name in facts)
    return named or (not facts and read_layout(source) is not None)


def _add_below(paths: dict[str, Path], source: Path, names: Iterable[str] | None) -> None:
    """Add videos of a folder by their paths in it: those that are named, or all of them."""
    if names is None:
        videos = (p for p in sorted(source.rglob("*")) if p.suffix.lower() in VIDEO_ENDINGS and p.is_file())
        names = [path.relative_to(source).as_posix() for path in videos]
    for name in names:
        if (path := source / name).is_file():
            if name in paths and paths[name].resolve() != path.resolve():
                raise ValueError(f"{path} and {paths[name]} have one name; give one of the two folders")
            paths[name] = path


def _find(inputs: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Folders to look into, and single files."""
    folders: list[Path] = []
    files: list[Path] = []
    for source in inputs:
        if source.is_dir():
            parts = sorted(p.parent for p in source.glob(f"*/{VIDEO_METADATA}"))
            here = (source / VIDEO_METADATA).is_file() or bool(_videos_in(source))
            if not parts and not here:
                raise ValueError(
                    f"{source} holds no video ({', '.join(VIDEO_ENDINGS)}), no part with {VIDEO_METADATA} and neither "
                    f"FaceForensics++ nor Celeb-DF{_hint(source)}"
                )
            folders += ([source] if here else []) + parts
        elif source.is_file():
            files.append(source)
        else:
            raise ValueError(f"{source} does not exist")
    return folders, files


def _hint(source: Path) -> str:
    """What may be meant instead, as the rest of a sentence."""
    if zipped := sorted(source.glob("*.zip")):
        return f"; unpack {zipped[0].name} first (unzip -n '{source}/*.zip' -d {source})"
    for path in sorted(source.glob(f"*/*/{VIDEO_METADATA}")):
        return f"; its parts lie a level deeper: give {path.parent.parent}"
    for path in sorted(source.glob("*/")):
        if path.is_dir() and read_layout(path) is not None:
            return f"; the data set lies a level deeper: give {path}"
    return ""


def _videos_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in VIDEO_ENDINGS and p.is_file())


def _by_name(paths: Sequence[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        # The same file given twice, alone and in its folder, is one video.
        if path.name in found and found[path.name].resolve() != path.resolve():
            raise ValueError(f"{path} and {found[path.name]} have one name; rename one, faces are named after it")
        found.setdefault(path.name, path)
    return found


def face_stem(filename: str) -> str:
    """Return what the faces of a video are named after: its name without ending, and without folders of its own."""
    return str(PurePosixPath(filename).with_suffix("")).replace("/", "__")


def _check_stems(videos: Sequence[Video]) -> None:
    stems: dict[str, str] = {}
    for video in videos:
        other = stems.setdefault(face_stem(video.filename), video.filename)
        if other != video.filename:
            raise ValueError(f"{video.filename} and {other} would have faces of one name; rename one")


def _video(name: str, path: Path | None, facts: dict[str, str] | None) -> Video:
    if facts is None:
        part = part_name(path.parent.name) if path else ""
        return Video(name, path, "", group=name, part=part)
    original = facts.get("original", "")
    return Video(
        filename=name,
        path=path,
        label=facts["label"],
        original=original,
        group=facts.get("group", "") or original or name,
        part=part_name(facts.get("part", "").strip()),
        split=facts.get("split", "").strip(),
    )


def _facts_of_parts(folders: Sequence[Path]) -> dict[str, dict[str, str]]:
    """What metadata.json in each of the folders says, by filename."""
    facts: dict[str, dict[str, str]] = {}
    for path in (folder / VIDEO_METADATA for folder in folders):
        if path.is_file():
            part = part_name(path.parent.resolve().name)
            for row in read_label_table(path, "filename").to_dict("records"):
                if row["filename"] in facts:
                    other = facts[row["filename"]]["part"]
                    raise ValueError(f"{path} names {row['filename']!r}, which is in part {other!r} too")
                facts[row["filename"]] = row | {"part": part}
    return facts


def _facts_of_labels(path: Path) -> dict[str, dict[str, str]]:
    """What a table of labels says, by filename."""
    table = read_label_table(path, "filename")
    if group := next((name for name in GROUPS if name in table), None):
        table = table.rename(columns={group: "group"})
    columns = [c for c in ("filename", "label", "original", "group", "part", "split") if c in table]
    # A table of faces has several rows of one video; what it says of the video must be one thing.
    unique = table[columns].drop_duplicates()
    if twice := sorted(unique.loc[unique["filename"].duplicated(), "filename"]):
        raise ValueError(f"{path} says different things of {twice[0]!r}; one row per video")
    return {row["filename"]: row for row in unique.to_dict("records")}
