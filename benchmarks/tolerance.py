#!/usr/bin/env python3
"""What it costs to leave out faces: log loss, AUC and the error of P(fake) by tolerance, from one table of logits.

dfdc predict VIDEOS... --tolerance 0 --probabilities faces.csv
python benchmarks/tolerance.py faces.csv --labels LABELS.csv --blend models/weights/blend_any.json

The rule of prediction itself (inference/scoring.py) decides which faces are left out; nothing is predicted anew.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd

from ensemble.blend import Blend
from ensemble.metrics import auc, log_loss_balanced
from faces.crop import CropSpec, Image
from inference.result import ScoredFace, face_pixels_of
from inference.schedule.plans import Plan
from inference.scoring import score_faces
from inference.work import VideoWork
from models.backend import LoadedMember
from models.checkpoint import WEIGHTS_DIR

ROW = CropSpec("row", size=8, margin=0.0)  # stands for a crop: the row of the table that has the face's logits


@dataclass(frozen=True)
class Card:
    """What scoring asks of a member's card."""

    name: str
    crop: CropSpec = ROW


@dataclass(frozen=True)
class TableMember:
    """A member that reads its logits off a table."""

    card: Card
    known: np.ndarray  # (N,)

    def logits(self, crops: Sequence[int]) -> np.ndarray:
        """The logits of some rows."""
        return self.known[np.asarray(crops)]


def videos_of(table: pd.DataFrame, members: Sequence[str]) -> tuple[list[VideoWork], np.ndarray]:
    """The videos of a table of probabilities, and (N, M) logits of all of their faces."""
    faces = table.pivot_table(index=["filename", "frame", "person"], columns="member", values="logit")[list(members)]
    pixels = table.groupby(["filename", "frame", "person"])["face_pixels"].first()
    works: dict[str, VideoWork] = {}
    for row, (name, frame, person) in enumerate(faces.index):
        work = works.setdefault(name, VideoWork(Path(name), "", {}, {}, "ok", Plan(32, 0)))
        box = np.array([0, 0, pixels.iloc[row], pixels.iloc[row]], dtype=np.float32)
        work.faces.append(ScoredFace(int(frame), float(frame), int(person), box, 1.0, "", {}, 0.5))
        work.crops.setdefault(ROW, []).append(cast(Image, row))
    return list(works.values()), faces.to_numpy(dtype=np.float64)


def predict(works: list[VideoWork], members: list[LoadedMember], blend: Blend, tolerance: float) -> np.ndarray:
    """(V, 2): P(fake) of each video, and the share of its faces that were scored."""
    rows = []
    for work, scored in zip(works, score_faces(works, members, blend, tolerance), strict=True):
        person = np.array([work.faces[face].person for face in scored.faces])
        pixels = face_pixels_of([work.faces[face] for face in scored.faces])
        prob = blend.predict(scored.logits, person, pixels).prob_fake
        rows.append((prob, len(scored.faces) / len(work.faces)))
    return np.array(rows)


@dataclass(frozen=True)
class Table:
    """A table of logits, its blend and what is true."""

    works: list[VideoWork]
    logits: np.ndarray  # (N, M) of all faces, video after video
    blend: Blend
    fake: np.ndarray  # (V,) 1.0 for a fake


def read_table(description: str | None) -> Table:
    """Parse the command line, and read what it names; `frames.py` has the same options."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="of dfdc predict --tolerance 0 --probabilities")
    parser.add_argument("--labels", required=True, type=Path, help="CSV with filename and label")
    parser.add_argument("--blend", type=Path, default=WEIGHTS_DIR / "blend_any.json")
    options = parser.parse_args()
    blend = Blend.read(options.blend).needed()
    labels = pd.read_csv(options.labels).set_index("filename")["label"]
    table = pd.read_csv(options.table).dropna(subset=["member"])
    works, logits = videos_of(table[table["filename"].isin(labels.index)], blend.members)
    fake = np.array([labels[work.path.name] == "FAKE" for work in works], dtype=np.float64)
    return Table(works, logits, blend, fake)


def main() -> None:
    """Score, print a table."""
    read = read_table(__doc__)
    works, logits, blend, fake = read.works, read.logits, read.blend, read.fake
    members = [TableMember(Card(name), logits[:, at]) for at, name in enumerate(blend.members)]
    whole = predict(works, cast(list[LoadedMember], members), blend, 0.0)[:, 0]
    print(f"{len(works)} videos, {len(logits)} faces; log loss with the classes half each")
    print("tolerance  faces scored  log loss    AUC     error of P(fake): rms  largest")
    for tolerance in (0.0, 0.005, 0.0075, 0.01, 0.0125, 0.015, 0.02, 0.03, 0.05):
        prob, share = predict(works, cast(list[LoadedMember], members), blend, tolerance).T
        off = np.abs(prob - whole)
        print(
            f"{tolerance:>9}  {share.mean():>12.0%}  {log_loss_balanced(fake, prob):>8.4f}  {auc(fake, prob):.4f}  "
            f"{np.sqrt(np.mean(off**2)):>22.4f}  {off.max():>7.3f}"
        )


if __name__ == "__main__":
    main()
