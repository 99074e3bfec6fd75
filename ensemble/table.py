"""Tables of probabilities, read, joined and checked: what `dfdc holdout`, `dfdc oof` and `dfdc predict` wrote."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.files import sha256_of
from common.labels import TARGETS, label_of
from ensemble.aggregate import Layout
from ensemble.metrics import Floats, Names
from ensemble.read import read_rows
from ensemble.truth import Truth

TRUTH = ("label", "group")
MOST_LOST = 0.1  # share of the videos: members that scored other videos are more often a mistake than meant
DEGRADATION = "degradation"
FACE_PIXELS = "face_pixels"  # the width of the detector's box in the full frame


@dataclass(frozen=True)
class Faces:
    """The faces of videos, each scored by every member."""

    members: tuple[str, ...]
    logit: NDArray[np.float32]  # (N, M), by video, person, frame
    frame: NDArray[np.int64]  # (N,)
    layout: Layout
    filename: Names  # (V,) sorted
    truth: Truth | None
    lost: tuple[str, ...] = ()  # what the table had and this has not, for people to read
    unscored: dict[str, str] = field(default_factory=dict)  # filename -> status of a video without a scored face
    sha256: str = ""  # of the files it was read from
    # (V,) the median width of a video's faces, NaN where it is not known; None where no table tells.
    face_pixels: Floats | None = None

    def __repr__(self) -> str:
        videos, faces = len(self.filename), len(self.logit)
        return f"Faces({videos} videos, {len(self.layout.person_starts) - 1} people, {faces} faces, {self.members})"

    def of(self, members: Sequence[str]) -> Faces:
        """The same faces with these members only, in this order."""
        return replace(self, members=tuple(members), logit=self.logit[:, [self.members.index(m) for m in members]])

    def known(self) -> Truth:
        """The truth; ValueError where the table has none."""
        if self.truth is None:
            raise ValueError(f"the table has no columns {', '.join(TRUTH)}; give them with --labels LABELS.csv")
        return self.truth if self.face_pixels is None else replace(self.truth, face_pixels=self.face_pixels)

    def with_frames(self, count: int) -> Faces:
        """At most `count` frames of each video, evenly spread over those it has: as if no more had been scored."""
        video = np.repeat(np.arange(len(self.filename)), np.diff(self.layout.person_starts[self.layout.video_starts]))
        width = self.frame.max() + 1
        pairs, inverse = np.unique(video * width + self.frame, return_inverse=True)
        of = pairs // width
        first = np.searchsorted(of, np.arange(len(self.filename)))
        total = np.bincount(of)[of]
        rank = np.arange(len(of)) - first[of]
        keep = (((rank + 1) * count) // total > (rank * count) // total) | (total <= count)
        return self._rows(keep[inverse], video)

    def _rows(self, keep: NDArray[np.bool_], video: NDArray[np.int64]) -> Faces:
        people = np.diff(self.layout.person_starts)
        person = np.repeat(np.arange(len(people)), people)
        layout = Layout.of(video[keep], person[keep])
        return replace(self, logit=self.logit[keep], frame=self.frame[keep], layout=layout)


def read_faces(
    paths: Sequence[Path],
    labels: pd.DataFrame | None = None,
    members: Sequence[str] | None = None,
    truth: bool = True,
    most_lost: float = MOST_LOST,
) -> Faces:
    """Read tables (CSV or Parquet) of any number of members and keep the faces that every member has scored.

    Args:
        paths: the tables.
        labels: what `common.labels.read_labels` gives, for tables without label and group; videos it does not name
            are lost, and named in `lost`.
        members: read only these, in this order; None is all, by name.
        truth: False keeps videos whatever is known of them.
        most_lost: the share of the videos that may be lost because not all members have scored them.

    Returns:
        The faces, by video, person and frame.

    Raises:
        ValueError: a column or a member is missing, a member scored one face twice, a logit is not a finite number, a
            member says the same of every face, a video has two labels or groups, too many videos are lost, or nothing
            is left.
    """
    rows = read_rows([Path(path) for path in paths])
    unscored = _unscored(rows)
    rows = _scored_by(members, rows)
    if rows.empty:
        raise ValueError(f"no face was scored in {', '.join(map(str, paths))}")
    known, lost = _truth(rows, labels) if truth else (None, [])
    if known is not None:
        kept = rows["filename"].isin(known.index)
        rows = rows[kept].reset_index(drop=True)
        unscored = {name: why for name, why in unscored.items() if labels is None or name in set(labels["filename"])}
    if rows.empty:
        raise ValueError("no video of the tables has a label REAL or FAKE; are the file names the same?")
    faces, dropped = _join(rows, most_lost)
    sha256 = hashlib.sha256("".join(sha256_of(Path(path)) for path in paths).encode()).hexdigest()
    aligned = None if known is None else _aligned(known, faces.filename)
    if members is not None:
        faces = faces.of(members)
    elif known is not None:
        _refuse_constant(faces)
    return replace(
        faces,
        truth=aligned,
        lost=(*lost, *dropped),
        unscored=unscored,
        sha256=sha256,
        face_pixels=_face_pixels(rows, faces.filename),
    )


def _face_pixels(rows: pd.DataFrame, filename: Names) -> Floats | None:
    """(V,) the median width of each video's faces, NaN where it is not known; None where a table does not tell."""
    if FACE_PIXELS not in rows:
        return None
    width = pd.to_numeric(rows[FACE_PIXELS], errors="coerce").groupby(rows["filename"], observed=True).median()
    values = width.reindex(filename).to_numpy(dtype=np.float64)
    return values if np.isfinite(values).any() else None


def _scored_by(members: Sequence[str] | None, rows: pd.DataFrame) -> pd.DataFrame:
    scored = rows[rows["member"].notna() & rows["logit"].notna()]
    if members is not None:
        there = set(scored["member"].unique())
        if missing := [name for name in members if name not in there]:
            raise ValueError(f"the tables have no rows of member {missing[0]!r}; they have {', '.join(sorted(there))}")
        scored = scored[scored["member"].isin(members)]
    return scored.reset_index(drop=True)


def refuse_leaks(faces: Faces, trained: Mapping[str, Collection[str]]) -> None:
    """Refuse members that were trained on a group of these videos.

    Args:
        faces: a labelled table.
        trained: member -> the groups that its weights were trained on.

    Raises:
        ValueError: a member has seen a group; the message names both.
    """
    group = set(faces.known().group.tolist())
    for member in faces.members:
        if seen := sorted(group & set(trained.get(member, ()))):
            raise ValueError(
                f"member {member!r} was trained on {len(seen)} of the {len(group)} groups that it would be tuned on, "
                f"the first is {seen[0]!r}; score held-out videos: dfdc holdout, or dfdc oof"
            )


def _unscored(rows: pd.DataFrame) -> dict[str, str]:
    """Videos without a scored face, and why."""
    scored = rows["member"].notna()
    names = sorted(set(rows["filename"][~scored]) - set(rows["filename"][scored]))
    status = rows[~scored].drop_duplicates("filename").set_index("filename")
    return {name: str(status["status"].get(name, "no_face")) if "status" in status else "no_face" for name in names}


def _truth(rows: pd.DataFrame, labels: pd.DataFrame | None) -> tuple[pd.DataFrame | None, list[str]]:
    """A table label (1 fake), group and perhaps degradation by filename, and what it does not name."""
    if labels is not None:
        known = labels[labels["target"].notna()].assign(label=lambda t: t["target"])
    elif all(name in rows for name in TRUTH):
        # Labels may be written in as many ways here as in a table of labels; a category is mapped once.
        known = rows.assign(label=rows["label"].map(lambda text: TARGETS.get(label_of(text), np.nan)).astype(float))
        known = known[known["label"].notna()]
    else:
        return None, []
    if "filename" not in known:
        raise ValueError("the labels need a column 'filename', by which they are joined to the tables")
    columns = ["filename", "label", "group", *([DEGRADATION] if DEGRADATION in known else [])]
    once = known[columns].drop_duplicates()
    once = once.assign(**{name: _texts(once[name]) for name in columns if name != "label"})
    lost = _groups_of_their_own(once)
    if (twice := once["filename"].duplicated()).any():
        raise ValueError(f"video {once['filename'][twice].iloc[0]!r} has two labels or groups; leave one of them")
    names = set(rows["filename"].unique())
    missing = sorted(names - set(once["filename"]))
    if missing:
        lost.append(f"{len(missing)} of {len(names)} videos have no label, the first is {missing[0]!r}")
    return once[once["filename"].isin(names)].set_index("filename"), lost


def _texts(column: pd.Series) -> pd.Series:
    """Python strings, "" for what is empty: neither a number's NaN nor arrays of fixed width."""
    return column.astype(object).where(column.notna(), "").map(str)


def _groups_of_their_own(once: pd.DataFrame) -> list[str]:
    """Fill empty groups in place with the video's own name, and say so."""
    blank = once["group"].str.strip() == ""
    if not blank.any():
        return []
    once.loc[blank, "group"] = once.loc[blank, "filename"]
    first = once.loc[blank, "filename"].iloc[0]
    return [f"{int(blank.sum())} videos have no group and count as one of their own each, the first is {first!r}"]


def _aligned(truth: pd.DataFrame, filename: Names) -> Truth:
    table = truth.loc[filename]
    degradation = table[DEGRADATION].to_numpy(dtype=object) if DEGRADATION in table else None
    return Truth(table["label"].to_numpy(dtype=np.float64), table["group"].to_numpy(dtype=object), degradation)


def _join(rows: pd.DataFrame, most_lost: float = 1.0) -> tuple[Faces, list[str]]:
    """Faces by member, those that all have scored; and what each member scored that others did not."""
    filename = rows["filename"].cat.remove_unused_categories()
    names, place = np.unique(filename.cat.categories.to_numpy(dtype=object), return_inverse=True)
    video = place[filename.cat.codes].astype(np.int64)
    # Ranks and not the numbers themselves: a frame counted in nanoseconds would overflow the key.
    (frames, frame), (people, person) = (
        np.unique(_whole(rows, name), return_inverse=True) for name in ("frame", "person")
    )
    key = (video * len(people) + person) * len(frames) + frame
    codes, members = rows["member"].cat.codes.to_numpy(), rows["member"].cat.categories
    logit = rows["logit"].to_numpy(dtype=np.float32)
    keys, logits = {}, {}
    for code, member in sorted(enumerate(map(str, members)), key=lambda pair: pair[1]):
        mine = np.flatnonzero(codes == code)
        if not len(mine):
            continue
        mine = mine[np.argsort(key[mine], kind="stable")]
        keys[member], logits[member] = key[mine], logit[mine]
        if (twice := np.flatnonzero(np.diff(key[mine]) == 0)).size:
            row = rows.iloc[mine[twice[0]]]
            face = f"{row['filename']!r}, frame {row['frame']:.0f}, person {row['person']:.0f}"
            raise ValueError(f"member {member!r} has scored one face twice ({face}); give each table once")
    common = _common(list(keys.values()))
    if not len(common):
        raise ValueError(f"no face was scored by all of {', '.join(keys)}; give tables of the same videos")
    stacked = np.stack([logits[m][np.searchsorted(keys[m], common)] for m in keys], axis=1)
    of_person = common // len(frames)
    here, index = np.unique(of_person // len(people), return_inverse=True)
    layout = Layout.of(index.astype(np.int64), (of_person % len(people)).astype(np.int64))
    lost = [
        f"{len(own) - len(common)} of {len(own)} faces scored by {m} were not scored by all members"
        for m, own in keys.items()
        if len(own) > len(common)
    ]
    if len(here) < len(names):
        gone = sorted(set(names.tolist()) - set(names[here].tolist()))
        told = f"{len(gone)} of {len(names)} videos have no face that all members scored, the first is {gone[0]!r}"
        if len(gone) > most_lost * len(names):
            counts = ", ".join(f"{m} {len(np.unique(own // len(people) // len(frames)))}" for m, own in keys.items())
            raise ValueError(
                f"{told} (videos by member: {counts}); give tables of the same videos, or allow it with --most-lost 1"
            )
        lost.append(told)
    return Faces(tuple(keys), stacked, frames[common % len(frames)], layout, names[here], None), lost


def _whole(rows: pd.DataFrame, name: str) -> NDArray[np.int64]:
    values = pd.to_numeric(rows[name], errors="coerce")
    if values.isna().any() or (values < 0).any() or (values % 1 != 0).any():
        bad = rows[values.isna() | (values < 0) | (values % 1 != 0)].iloc[0]
        raise ValueError(f"{bad['filename']!r} has the {name} {bad[name]}; it counts from 0")
    return np.asarray(values, dtype=np.int64)


def _common(keys: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    common = keys[0]
    for other in keys[1:]:
        common = np.intersect1d(common, other, assume_unique=True)
    return common


def _refuse_constant(faces: Faces) -> None:
    for member, spread in zip(faces.members, np.ptp(faces.logit, axis=0), strict=True):
        if len(faces.logit) > 1 and not spread > 0:
            raise ValueError(f"member {member!r} says the same of every face ({faces.logit[0, 0]:g}); leave it out")
