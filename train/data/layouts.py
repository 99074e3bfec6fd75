"""Data sets whose folders and names say what a video is: FaceForensics++ with DeepFakeDetection, and Celeb-DF."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from common.files import VIDEO_ENDINGS
from train.data.families import components

# What is known of the videos of one folder, by their paths in it with "/": the columns of a table of labels.
Facts = dict[str, dict[str, str]]

# FaceForensics++ (github.com/ondyari/FaceForensics, dataset/README.md): the sequences of YouTube are numbers, a fake is
# called <target>_<source>; those of actors are <actor>__<scene>, a fake <target>_<source>__<scene>__<id of the trial>.
PAIR = re.compile(r"(?P<target>\d{3})_(?P<source>\d{3})")
ACTORS = re.compile(r"(?P<target>\d{2})_(?P<source>\d{2})__(?P<scene>.+)__[A-Z0-9]{8}")
SPLITS = ("train", "val", "test")  # the files of pairs that belong to one, beside the two folders
# Celeb-DF (github.com/yuezunli/celeb-deepfakeforensics): id0_id16_0003 is id0_0003 with the face of id16.
CELEBRITIES = re.compile(r"(?P<target>id\d+)_(?P<source>id\d+)_(?P<number>\d+)")
TEST_LIST = "List_of_testing_videos.txt"
LAYOUT_FILES = (*(f"{split}.json" for split in SPLITS), TEST_LIST)  # at the root: what the names do not say


def read_layout(root: Path) -> Facts | None:
    """Read what the folders and names of a known data set say of its videos.

    Args:
        root: the folder of the data set, with `original_sequences` or `manipulated_sequences` of FaceForensics++, or
            `Celeb-real`, `Celeb-synthesis` or `YouTube-real` of Celeb-DF. Any part of it may be missing.

    Returns:
        For each video label, original (the video that a fake was made of, of the same compression; "" where it is not
        there), group (which must not be split) and split; None where the folder is of neither.

    Raises:
        ValueError: a video does not have a name of its data set, or a file of splits cannot be read.
    """
    here = {path.name.lower() for path in root.iterdir() if path.is_dir()}
    if here & {"original_sequences", "manipulated_sequences"}:
        return _faceforensics(root)
    if here & {"celeb-real", "celeb-synthesis", "youtube-real"}:
        return _celeb_df(root)
    return None


def _videos(root: Path, wanted: Callable[[str], bool]) -> Iterator[PurePosixPath]:
    """The videos below those folders of `root` whose names are wanted, in the order of their names."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and wanted(path.name.lower())):
        for path in sorted(folder.rglob("*")):
            hidden = path.name.startswith("._")  # macOS keeps attributes in such files
            if path.suffix.lower() in VIDEO_ENDINGS and path.is_file() and not hidden:
                yield PurePosixPath(path.relative_to(root).as_posix())


def _faceforensics(root: Path) -> Facts:
    # Of each trial there is a video of its masks too: .../<method>/masks/videos.
    found = [
        name
        for name in _videos(root, {"original_sequences", "manipulated_sequences"}.__contains__)
        if "masks" not in name.parts
    ]
    split_of = _splits(root)
    facts: Facts = {}
    for name in found:
        real = name.parts[0].lower() == "original_sequences"
        fact = _sequence(root, name) if real else _trial(root, name)
        if name.stem[:3] in split_of:
            fact["split"] = split_of[name.stem[:3]]
        facts[str(name)] = fact
    return _join_pairs(facts)


def _sequence(root: Path, name: PurePosixPath) -> dict[str, str]:
    """An original: a sequence of YouTube, or one of an actor (number, two underscores, scene)."""
    actor, _, scene = name.stem.partition("__")
    if not (actor.isdigit() and (scene or len(actor) == 3)):
        raise ValueError(f"{root / name} has no name of FaceForensics++ (033.mp4, or 01__walking.mp4); move it away")
    return {"label": "REAL", "group": f"actor {actor}" if scene else f"sequence {actor}"}


def _trial(root: Path, name: PurePosixPath) -> dict[str, str]:
    """A fake, made of a target's sequence; the source gave the face or its movements."""
    if match := PAIR.fullmatch(name.stem):
        group, folder, stem = f"sequence {match['target']}", "youtube", match["target"]
    elif match := ACTORS.fullmatch(name.stem):
        # All actors are tied by their pairs: only the target's scenes can stay together.
        group, folder, stem = f"actor {match['target']}", "actors", f"{match['target']}__{match['scene']}"
    else:
        raise ValueError(
            f"{root / name} has no name of FaceForensics++ (033_097.mp4, or 01_02__walking__AB12CD34.mp4); move it away"
        )
    original = PurePosixPath("original_sequences", folder, *name.parts[2:-1], stem + name.suffix)
    there = (root / original).is_file()
    return {"label": "FAKE", "original": str(original) if there else "", "group": group}


def _join_pairs(facts: Facts) -> Facts:
    """Put sequences whose faces were swapped, as in 033_097 and 097_033, into one group, named after the first."""
    trials = [PAIR.fullmatch(PurePosixPath(name).stem) for name in facts]
    ties = [
        [("group", fact["group"]), *([("group", f"sequence {trial['source']}")] if trial else [])]
        for fact, trial in zip(facts.values(), trials, strict=True)
    ]
    families = components(ties).tolist()
    first: dict[int, str] = {}
    for family, mine in zip(families, ties, strict=True):
        first[family] = min(first.get(family, mine[0][1]), *(group for _, group in mine))
    for family, fact in zip(families, facts.values(), strict=True):
        fact["group"] = first[family]
    return facts


def _splits(root: Path) -> dict[str, str]:
    """The split of each sequence, where the data set's three files of pairs are there."""
    found: dict[str, str] = {}
    for split in SPLITS:
        path = root / f"{split}.json"
        if path.is_file():
            try:
                pairs = json.loads(path.read_text(encoding="utf-8"))
                found |= {str(number): split for pair in pairs for number in pair}
            except (ValueError, TypeError) as error:
                raise ValueError(f'{path} cannot be read ({error}); it holds pairs: [["033", "097"], ...]') from error
    return found


def _celeb_df(root: Path) -> Facts:
    testing = _test_list(root)
    facts: Facts = {}
    for name in _videos(root, {"celeb-real", "celeb-synthesis", "youtube-real"}.__contains__):
        kind = name.parts[0].lower()
        fact = {"label": "REAL", "group": name.stem.partition("_")[0] if kind == "celeb-real" else str(name)}
        if kind == "celeb-synthesis":
            fact = _swap(root, name)
        if f"{kind}/{name.name}" in testing:
            fact["split"] = "test"
        facts[str(name)] = fact
    return facts


def _swap(root: Path, name: PurePosixPath) -> dict[str, str]:
    """A fake of Celeb-DF. Its 59 people are all tied by their pairs: only the target's videos can stay together."""
    match = CELEBRITIES.fullmatch(name.stem)
    if not match:
        raise ValueError(f"{root / name} has no name of Celeb-DF (id0_id16_0003.mp4); move it away")
    original = PurePosixPath("Celeb-real", *name.parts[1:-1], f"{match['target']}_{match['number']}{name.suffix}")
    there = (root / original).is_file()
    return {"label": "FAKE", "original": str(original) if there else "", "group": match["target"]}


def _test_list(root: Path) -> set[str]:
    """The videos of the data set's own test, folder in lower case; in its list 1 is a real video and 0 a fake."""
    path = root / TEST_LIST
    if not path.is_file():
        return set()
    names = [PurePosixPath(line.split()[1]) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {f"{name.parts[0].lower()}/{name.name}" for name in names}
