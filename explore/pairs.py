"""Real beside fake: the same moments of an original and of each fake made from it, and what differs in them."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from common.files import write_text
from explore.difference import AMPLIFIED, CHANGED, PANEL, difference, draw_difference
from faces.crop import Image
from faces.detect import Detector
from faces.media import VideoError, decoded, open_video, packets_of, upright
from faces.video import choose_frames

Numbers = tuple[int, ...]

ALIKE = 0.35  # two videos of one recording differ in a smaller share of their pixels than this
CHANGE_FIELDS = ("changed_share", "on_face", "x0", "y0", "x1", "y1")
FIELDS = ("fake", "original", "found_by", "status", "reason", "frames", *CHANGE_FIELDS)
FRAME_FIELDS = ("fake", "original", "frame", "second", *CHANGE_FIELDS, "whole", "close")


@dataclass(frozen=True)
class PairOptions:
    """How closely pairs are looked at."""

    frames: int = 16  # measured per pair, spread over what both videos have
    moments: int = 2  # of them drawn: in each equal stretch of time the one that differs most


@functools.lru_cache(maxsize=2)  # fakes of one original follow each other
def frames_at(path: Path, numbers: Numbers) -> tuple[tuple[Image, ...], tuple[float, ...]]:
    """Decode the frames with these numbers.

    Args:
        path: a video, decoded up to the last of them.
        numbers: of the frames, from 0.

    Returns:
        The frames, upright (H, W, 3) uint8 RGB, and their seconds; fewer where the video ends sooner.

    Raises:
        VideoError: the file is no video.
    """
    images, seconds, wanted = [], [], set(numbers)
    with open_video(path, threads=0) as (container, stream):
        for number, frame in enumerate(decoded(stream, packets_of(container, stream))):
            if number in wanted:
                images.append(upright(frame))
                seconds.append(float("nan") if frame.time is None else float(frame.time))
            if number >= numbers[-1]:
                break
    return tuple(images), tuple(seconds)


def pair_up(table: pd.DataFrame, videos: Mapping[str, Path]) -> list[dict[str, str]]:
    """Find the original of each fake.

    Args:
        table: a row per video: filename, label, original, group, status, width, height, fps, frames.
        videos: the files by name.

    Returns:
        For each fake {fake, original, found_by, reason}; `original` is "" with a reason why. Where labels name none, it
        is the real video of the fake's group with frames of the same size that differs least from the fake.
    """
    fakes = table[table["label"] == "FAKE"].sort_values("filename")
    rows = [_original_of(fake, table, videos) for fake in fakes.to_dict("records")]
    # Together by original, which is then decoded once.
    return sorted(rows, key=lambda row: (row["original"] == "", row["original"], row["fake"]))


def _original_of(fake: dict[str, Any], table: pd.DataFrame, videos: Mapping[str, Path]) -> dict[str, str]:
    row = {"fake": fake["filename"], "original": "", "found_by": "", "reason": ""}
    if named := _words(fake.get("original")):
        if named not in set(table["filename"]):
            return row | {"reason": f"its original {named} is not among these videos"}
        return row | {"original": named, "found_by": "labels"}
    group = _words(fake.get("group"))
    if not group or group == fake["filename"]:
        return row | {"reason": "the labels name neither an original nor a group"}
    reals = table[(table["label"] == "REAL") & (table["group"] == group) & (table["status"] == "ok")]
    if reals.empty:
        return row | {"reason": f"no real video of group {group} is among these videos"}
    fit = reals[(reals["width"] == fake["width"]) & (reals["height"] == fake["height"])]
    if fit.empty:
        sizes = ", ".join(sorted({f"{int(r.width)}x{int(r.height)}" for r in reals.itertuples()}))
        size = f"{fake['width']:g}x{fake['height']:g}"
        return row | {"reason": f"its frames are {size}, those of the real videos of group {group} {sizes}"}
    names = sorted(fit["filename"])
    best = min(names, key=lambda name: (_distance(videos[name], videos[fake["filename"]]), name))
    return row | {"original": best, "found_by": "group, least difference" if len(names) > 1 else "group, frame size"}


def _words(value: Any) -> str:
    """The text, "" for what is missing, also for the NaN of a table."""
    return value if isinstance(value, str) else ""


def _distance(original: Path, fake: Path) -> float:
    """Mean absolute difference over three early frames; infinite where one of both cannot be read."""
    numbers = tuple(choose_frames(48, 3).tolist())
    with contextlib.suppress(VideoError):
        pairs = list(zip(frames_at(original, numbers)[0], frames_at(fake, numbers)[0], strict=False))
        if pairs and all(a.shape == b.shape for a, b in pairs):
            return float(np.mean([cv2.absdiff(a, b).mean() for a, b in pairs]))
    return float("inf")


def look_at_pairs(
    table: pd.DataFrame,
    videos: Mapping[str, Path],
    folder: Path,
    cache: Path,
    detector: Detector,
    options: PairOptions | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare every fake with its original, frame by frame.

    Args:
        table: as for `pair_up`.
        videos: the files by name.
        folder: where strips of pictures are written.
        cache: a folder that keeps what was compared.
        detector: finds the face on the original, to say how much of the change lies on it.
        options: how closely pairs are looked at.
        progress: called with 1 for each fake.

    Returns:
        A row per fake (FIELDS: shares from 0 to 1 as means over frames; the box in pixels around the changed regions of
        all frames; status ok, no_original, differ or unreadable with a reason), and a row per frame compared
        (FRAME_FIELDS; whole and close name the strips original | fake | difference where one was drawn).
    """
    options = options or PairOptions()
    table = table.astype(dict.fromkeys(("width", "height", "fps", "frames"), "float64"))  # missing numbers become NaN
    facts = {row["filename"]: row for row in table.to_dict("records")}
    pairs: list[dict[str, Any]] = []
    frames: list[dict[str, Any]] = []
    for pair in pair_up(table, videos):
        kept = cache / f"{sha256(pair['fake'].encode()).hexdigest()[:16]}.json"
        key = _key(pair, videos, options)
        found = _read(kept, key, folder)
        if found is None:
            found = _compare(pair, facts, videos, folder, detector, options)
            write_text(kept, json.dumps({"key": key, "pair": found[0], "frames": found[1]}))
        pairs.append(found[0])
        frames += found[1]
        progress(1)
    by_name = sorted(pairs, key=lambda row: (row["original"], row["fake"]))
    return pd.DataFrame(by_name, columns=FIELDS), pd.DataFrame(frames, columns=FRAME_FIELDS)


def _key(pair: dict[str, str], videos: Mapping[str, Path], options: PairOptions) -> str:
    """What a kept answer is an answer to: the pair, its files as they are now, the options, the constants."""
    files = [videos[name] for name in (pair["fake"], pair["original"]) if name in videos]
    states = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files if p.exists()]
    return json.dumps([pair, states, asdict(options), CHANGED, AMPLIFIED, ALIKE, PANEL])


def _read(path: Path, key: str, folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """A kept answer, if it is one to this question and its pictures are still there."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    there = kept.get("key") == key and all(
        (folder / row[name]).is_file() for row in kept["frames"] for name in ("whole", "close") if row[name]
    )
    return (kept["pair"], kept["frames"]) if there else None


def _compare(
    pair: dict[str, str], facts: Mapping[str, dict[str, Any]], videos: Mapping[str, Path], folder: Path,
    detector: Detector, options: PairOptions,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:  # fmt: skip
    empty = dict.fromkeys(FIELDS) | pair | {"frames": 0}
    if not pair["original"]:
        return empty | {"status": "no_original"}, []
    original, fake = facts[pair["original"]], facts[pair["fake"]]
    if broken := [row for row in (original, fake) if row["status"] != "ok"]:
        return empty | {"status": "unreadable", "reason": f"{broken[0]['filename']} cannot be read"}, []
    if odd := _mismatch(original, fake):
        return empty | {"status": "differ", "reason": odd}, []
    numbers = tuple(choose_frames(int(min(original["frames"], fake["frames"])), options.frames).tolist())
    try:
        (real, _), (made, seconds) = (frames_at(videos[pair[name]], numbers) for name in ("original", "fake"))
    except VideoError as error:
        return empty | {"status": "unreadable", "reason": str(error)}, []
    count = min(len(real), len(made))
    if not count or any(a.shape != b.shape for a, b in zip(real, made, strict=False)):
        return empty | {"status": "unreadable", "reason": "no frame of both can be decoded in one size"}, []
    rows = _measure(pair, numbers[:count], seconds, real, made, detector, folder, options)
    said, share = _counts(original, fake), float(np.mean([row["changed_share"] for row in rows]))
    result = empty | _sum_up(rows) | {"changed_share": share, "reason": said}
    if share > ALIKE:
        odd = f"{share:.0%} of the pixels differ: not the same moments of one recording"
        result |= {"status": "differ", "reason": "; ".join(filter(None, (odd, said)))}
    return result, rows


def _mismatch(original: dict[str, Any], fake: dict[str, Any]) -> str:
    """Why frames of one number cannot show one moment, or "": another size, another rate, no frames counted."""
    sizes = [f"{row['width']:g}x{row['height']:g}" for row in (original, fake)]
    if sizes[0] != sizes[1]:
        return f"the original's frames are {sizes[0]}, the fake's {sizes[1]}"
    if abs(original["fps"] - fake["fps"]) > 0.01 * original["fps"]:
        return f"the original has {original['fps']:.3f} frames per second, the fake {fake['fps']:.3f}"
    if not min(original["frames"], fake["frames"]) >= 1:  # also for NaN
        return "the files do not say how many frames they have"
    return ""


def _counts(original: dict[str, Any], fake: dict[str, Any]) -> str:
    """What is to be said where one of both is longer."""
    ours, theirs = int(fake["frames"]), int(original["frames"])
    both = f"the original has {theirs} frames, the fake {ours}: the first {min(ours, theirs)} are compared by number"
    return "" if ours == theirs else both


def _measure(
    pair: dict[str, str], numbers: Numbers, seconds: Sequence[float], real: Sequence[Image], made: Sequence[Image],
    detector: Detector, folder: Path, options: PairOptions,
) -> list[dict[str, Any]]:  # fmt: skip
    """A row per frame; of each stretch of time the frame that differs most is drawn."""
    count = len(numbers)
    faces = detector(real[:count])
    rows: list[dict[str, Any]] = []
    for at in range(count):
        found = difference(real[at], made[at])
        face = faces[at].boxes_xyxy
        inside = max((found.share_inside(box) for box in face), default=float("nan"))
        x0, y0, x1, y1 = found.box_xyxy or (None,) * 4
        place = {"x0": x0, "y0": y0, "x1": x1, "y1": y1, "whole": "", "close": ""}
        told = {"frame": numbers[at], "second": _known(seconds[at]), "changed_share": found.share}
        rows.append({"fake": pair["fake"], "original": pair["original"]} | told | {"on_face": _known(inside)} | place)
    for part in np.array_split(np.arange(count), min(options.moments, count)):
        at = max(part.tolist(), key=lambda i: (rows[i]["changed_share"], -i))
        rows[at] |= draw_difference(pair["fake"], numbers[at], real[at], made[at], faces[at].boxes_xyxy, folder)
    return rows


def _known(value: float) -> float | None:
    """None for NaN, which JSON has not."""
    return None if np.isnan(value) else float(value)


def _sum_up(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    on_face = [row["on_face"] for row in rows if row["on_face"] is not None]
    boxes = [[row[name] for name in ("x0", "y0", "x1", "y1")] for row in rows if row["x0"] is not None]
    low, high = (np.min(boxes, axis=0), np.max(boxes, axis=0)) if boxes else ([None] * 4, [None] * 4)
    corners = [low[0], low[1], high[2], high[3]]
    place = {name: None if v is None else int(v) for name, v in zip(("x0", "y0", "x1", "y1"), corners, strict=True)}
    return {"status": "ok", "frames": len(rows), "on_face": float(np.mean(on_face)) if on_face else None} | place
