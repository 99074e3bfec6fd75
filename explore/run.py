"""Everything that `dfdc explore` does, in order: each part keeps what it has found, so a stopped run goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd

from common.files import VIDEO_ENDINGS, atomic_path, files_in, harmless
from explore import landmarks
from explore.charts import draw_charts
from explore.detectors import ABSENT, CPU, DETECTORS, compare
from explore.gallery import GalleryOptions, draw_gallery
from explore.leak import leak, why_none
from explore.metadata import metadata_table, write_table
from explore.page import Findings, write_page
from explore.page_faces import Detected
from explore.pairs import FRAME_FIELDS, PairOptions, look_at_pairs
from explore.video_labels import read_video_labels
from explore.votes import agreement, false_boxes, summary, vote
from faces.detect import BlazeDetector
from faces.tiles import letterbox

# Of a folder, what is no video is told rather than passed over; other files (metadata.json) are none of ours.
PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
SOUND_ENDINGS = (".m4a", ".aac", ".mp3", ".wav", ".ogg", ".opus", ".flac")
MEDIA_ENDINGS = (*VIDEO_ENDINGS, *PICTURE_ENDINGS, *SOUND_ENDINGS)

# Called with a stage and how many steps it has; gives what is called with the number of steps done.
Progress = Callable[[str, int], Callable[[int], None]]


@dataclass(frozen=True)
class ExploreOptions:
    """How closely the videos are looked at."""

    frames: int = 4  # per video, under each detector
    detectors: tuple[str, ...] = ()  # names of detectors.DETECTORS, all that are installed when empty
    least: int = 2  # kinds of detector that must agree on a face
    iou: float = 0.4  # intersection over union from which on they do
    pairs: PairOptions = field(default_factory=PairOptions)
    dlib_points: Path | None = None  # dlib's model of 68 points, which comes with no package


def find_media(inputs: Sequence[Path]) -> list[Path]:
    """List the files of `inputs` whose names end like media.

    Args:
        inputs: files, taken whatever their names are, and folders.

    Returns:
        The files, sorted by name.

    Raises:
        ValueError: an input does not exist, a folder holds no media, or nothing was given.
    """
    found = files_in(inputs, MEDIA_ENDINGS)
    if not found:
        raise ValueError("no videos were given; give videos, or folders of videos")
    return sorted(dict.fromkeys(found), key=lambda path: (path.name, str(path)))


@pd.option_context("future.infer_string", False)  # pandas' own text refuses names that are no UTF-8
def explore(
    videos: Sequence[Path],
    labels: Path | None,
    output: Path,
    options: ExploreOptions | None = None,
    progress: Progress = lambda _stage, _total: lambda _done: None,
) -> Path:
    """Look at videos and write output/index.html, with its tables and pictures beside it.

    Run again, it goes on where it was stopped, and the same input gives the same page. The page says what is missing
    (labels, an extra package); a file that cannot be read is a row with a reason.

    Args:
        videos: files, as of `find_media`.
        labels: a metadata.json or a CSV; None: the metadata.json beside the videos, where there is one.
        output: folder of the page.
        options: how much is looked at.
        progress: called with a stage and its number of steps; what it returns is called with the steps done.

    Returns:
        The path of the page.

    Raises:
        ValueError: two files have one name, the labels cannot be read, or a detector is not known.
    """
    options = options or ExploreOptions()
    cache, paths = output / "cache", {video.name: video for video in videos}
    named = read_video_labels(labels, videos)
    table = metadata_table(videos, named, cache / "metadata.jsonl", progress("metadata", len(videos)))
    write_table(table, output)
    charts = draw_charts(table)
    readable = [paths[name] for name in table.loc[table["status"] == "ok", "filename"]]
    detected = _detect(readable, output, options, progress)
    pairs, pair_frames = _pair(table, paths, output, options, progress)
    findings = Findings(
        title=f"Explored: {', '.join(dict.fromkeys(video.absolute().parent.name for video in videos))}",
        videos=paths,
        table=table,
        charts=charts,
        leak=leak(table),
        why_no_leak=why_none(table),
        detected=detected,
        no_points=landmarks.absent(options.dlib_points),
        pairs=pairs,
        pair_frames=pair_frames,
    )
    return write_page(output, findings)


def _detect(videos: Sequence[Path], output: Path, options: ExploreOptions, progress: Progress) -> Detected | None:
    """Compare detectors, let them vote, draw what they saw; None where there is nothing to look at."""
    names = options.detectors or tuple(DETECTORS)
    if not videos:
        return None
    found = compare(videos, options.frames, names, output / "cache" / "detectors", progress("detectors", len(videos)))
    faces = vote(found.boxes, found.looked, options.least, options.iou)
    false = false_boxes(found.boxes, faces, options.iou)
    counts = summary(found.boxes, found.looked, found.timing, faces, options.iou)
    alike, overlap = agreement(found.boxes, names, options.iou)
    gallery = draw_gallery(
        videos, found.boxes, found.looked, faces, false,
        partial(landmarks.all_points, predictor=options.dlib_points), output,
        GalleryOptions(options.frames, names), progress("pictures", len(videos)),
    )  # fmt: skip
    tables = {"boxes": found.boxes, "faces": faces, "false_boxes": false, "detectors": counts}
    for name, rows in tables.items():
        _write(rows, output / f"{name}.csv")
    _write(alike.rename_axis("detector").reset_index(), output / "agreement.csv")
    return Detected(
        names, options.frames, options.least, options.iou, found.looked, faces, counts, alike, overlap, false, gallery,
        ABSENT,
    )  # fmt: skip


def _pair(
    table: pd.DataFrame, paths: dict[str, Path], output: Path, options: ExploreOptions, progress: Progress
) -> tuple[pd.DataFrame | None, pd.DataFrame]:
    """Hold fakes against their originals; nothing without labels."""
    if not (table["label"] != "").any():
        return None, pd.DataFrame(columns=FRAME_FIELDS)
    fakes = int((table["label"] == "FAKE").sum())
    detector = BlazeDetector("back", letterbox, CPU)
    pairs, frames = look_at_pairs(
        table, paths, output / "pictures" / "pairs", output / "cache" / "pairs", detector, options.pairs,
        progress("real beside fake", fakes),
    )  # fmt: skip
    _write(pairs, output / "pairs.csv")
    _write(frames, output / "pair_frames.csv")
    return pairs, frames


def _write(rows: pd.DataFrame, path: Path) -> None:
    with atomic_path(path) as temporary:
        rows.map(harmless).to_csv(temporary, index=False, lineterminator="\n", errors="surrogateescape")
