"""Which files a run is about, and which it leaves out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from common.files import VIDEO_ENDINGS, files_in

# The first bytes of containers whose files often have another ending: .ts, .mts, .m2ts, .gif, .ogv, .vob, none at all.
MAGIC = {
    b"\x1aE\xdf\xa3": 0,  # Matroska, WebM
    b"ftyp": 4,  # mp4 and its kin
    b"moov": 4,
    b"FLV\x01": 0,
    b"GIF8": 0,
    b"AVI ": 8,
    b"\x00\x00\x01\xba": 0,  # MPEG program stream
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": 0,  # ASF
}
SOUND = (b"M4A ", b"M4B ", b"M4P ")  # brands of mp4 with nothing but sound
SYNC = 0x47  # begins each packet of a transport stream: every 188 bytes, on Blu-ray every 192 behind 4 others
SIDECAR = b"\x00\x05\x16\x07"  # AppleDouble: what macOS keeps beside a file on disks that have no place for it
NAMED = 5  # skipped files of one kind that are named; more are counted


def journal_of(output: Path) -> Path:
    """Where a run that writes `output` keeps its journal."""
    return output.with_name(output.name + ".journal")


@dataclass(frozen=True)
class Gathered:
    """The videos of a run."""

    named: dict[str, Path]  # name in the submission -> video, sorted by name
    skipped: dict[str, list[Path]] = field(default_factory=dict)  # reason -> files that are no videos

    @property
    def videos(self) -> list[Path]:
        """The files, in the order of their names."""
        return list(self.named.values())

    def sentences(self) -> list[str]:
        """A line for each reason, with the names of some files."""
        lines = []
        for reason, paths in sorted(self.skipped.items()):
            names = ", ".join(path.name for path in paths[:NAMED]) + (", ..." if len(paths) > NAMED else "")
            lines.append(f"skipped {len(paths)}, {reason}: {names}")
        return lines


def gather_videos(inputs: Sequence[Path], recursive: bool = False) -> Gathered:
    """Find the videos among the inputs.

    Args:
        inputs: files, taken whatever they are, and folders, of which those entries are taken that end like a video or
            begin like one.
        recursive: search the folders inside the folders as well. A video is then called by its path in the folder.

    Returns:
        The videos and what was left out of folders. Whether a video can be read is found out later.

    Raises:
        ValueError: an input does not exist, a folder has no video, or two files have one name: it is the row of the
            submission.
    """
    found: list[tuple[str, Path]] = []
    skipped: dict[str, list[Path]] = {}
    for source in inputs:
        if not source.is_dir():
            found += [(path.name, path) for path in files_in([source])]
            continue
        inside = 0
        for path in _entries(source, recursive):
            if reason := _why_skipped(path):
                skipped.setdefault(reason, []).append(path)
            else:
                found.append((path.relative_to(source).as_posix(), path))
                inside += 1
        if not inside:
            there = Gathered({}, skipped).sentences()
            raise ValueError("; ".join([f"{source} holds no video ({', '.join(VIDEO_ENDINGS)})", *there]))
    return Gathered(_named_once(found), skipped)


def videos_below(folder: Path) -> list[Path]:
    """The videos in a folder and in all folders inside it, whatever they are called, sorted within each folder."""
    return [path for path in _entries(folder, recursive=True) if not _why_skipped(path)]


def find_videos(inputs: Sequence[Path]) -> list[Path]:
    """The videos that `gather_videos` finds, without what it leaves out."""
    return gather_videos(inputs).videos


def read_list(lines: Iterable[str]) -> list[Path]:
    """The paths of a list of files, one a line; empty lines are passed over."""
    return [Path(line.rstrip("\r\n")) for line in lines if line.strip()]


def _named_once(found: list[tuple[str, Path]]) -> dict[str, Path]:
    names: dict[str, Path] = {}
    for name, path in found:
        if name in names and path.resolve() == names[name].resolve():
            raise ValueError(f"{path} is given twice; name it once, or the folder that holds it")
        if name in names:
            raise ValueError(
                f"{path} and {names[name]} have one name, and a submission has one row per name; give the folder that "
                "holds both, with --recursive"
            )
        names[name] = path
    return dict(sorted(names.items()))


def as_named(videos: Mapping[str, Path], order: Sequence[str]) -> dict[str, Path]:
    """Call videos as a sample submission does, where that has their file names and they have paths.

    Args:
        videos: by their names.
        order: the names of the sample.

    Returns:
        The videos by their names, those of the sample among them.

    Raises:
        ValueError: two videos may be meant by one name.
    """
    named = dict(videos)
    by_end: dict[str, list[str]] = {}
    for name in videos:
        by_end.setdefault(PurePosixPath(name).name, []).append(name)
    for wanted in order:
        if wanted not in videos and wanted in by_end:
            if len(by_end[wanted]) > 1:
                either = " or ".join(by_end[wanted][:2])
                raise ValueError(f"{wanted!r} of the sample may be {either}; name it by its path")
            named[wanted] = named.pop(by_end[wanted][0])
    return named


def _entries(folder: Path, recursive: bool, above: frozenset[Path] = frozenset()) -> list[Path]:
    """What lies in a folder, sorted; of folders inside it what they hold, or themselves where they are not searched.

    above: the folders that hold this one; a link to one of them leads nowhere new.
    """
    entries: list[Path] = []
    above = above | {folder.resolve()}
    for path in sorted(folder.iterdir()):
        # A folder that is called like a video is an input gone wrong, and has a row that says so.
        if not recursive or not path.is_dir() or path.suffix.lower() in VIDEO_ENDINGS or not _opens(path):
            entries.append(path)
        elif path.resolve() not in above:
            entries += _entries(path, recursive, above)
    return entries


def _opens(folder: Path) -> bool:
    """Whether a folder may be searched."""
    return os.access(folder, os.R_OK | os.X_OK)


def _why_skipped(path: Path) -> str:
    """Why an entry of a folder is no video; empty for one that is taken."""
    by_name = path.suffix.lower() in VIDEO_ENDINGS
    if path.is_dir():
        if by_name:
            return ""
        return "folders, which --recursive searches" if _opens(path) else "folders that may not be read"
    start = _start_of(path)
    if path.name.startswith("._") and start[:4] == SIDECAR:
        return "files that macOS keeps beside others"
    if by_name:
        return ""
    if start[8:12] in SOUND and start[4:8] == b"ftyp":
        return "sound without a picture"
    is_stream = len(start) > 196 and ((start[0] == start[188] == SYNC) or (start[4] == start[196] == SYNC))
    is_video = is_stream or any(start[at : at + len(magic)] == magic for magic, at in MAGIC.items())
    return "" if is_video else "no videos by name or content"


def _start_of(path: Path) -> bytes:
    """The first bytes of a regular file; none of what cannot be read, or would wait for a writer."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as handle:
            return handle.read(200)
    except OSError:
        return b""
