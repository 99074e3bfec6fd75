#!/usr/bin/env python3
"""What fewer frames cost: log loss, AUC and the error of P(fake) by the number of frames, from one table of logits.

dfdc predict VIDEOS... --tolerance 0 --probabilities faces.csv
python benchmarks/frames.py faces.csv --labels LABELS.csv --blend models/weights/blend_any.json

One choice of frames is one draw of many. So each number of frames is tried at 16 offsets, from the first to the last
frame of its segments, and the means over them are told beside their standard deviation. Nothing is predicted anew.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.tolerance import read_table
from ensemble.blend import Blend
from ensemble.metrics import auc, log_loss_balanced
from inference.result import face_pixels_of
from inference.work import VideoWork

COUNTS = (1, 2, 4, 6, 8, 10, 12, 16, 24)
OFFSETS = np.linspace(0.02, 0.98, 16)  # of a segment


def prob_fake(work: VideoWork, logits: np.ndarray, blend: Blend, frames: set[int]) -> float:
    """P(fake) of one video by the faces of some of its frames; what an unseen video gets where they show none."""
    rows = [row for row, face in enumerate(work.faces) if face.frame in frames]
    if not rows:
        return blend.unseen
    faces = [work.faces[row] for row in rows]
    by_member = dict(zip(blend.members, logits[rows].T, strict=True))
    return blend.predict(by_member, np.array([face.person for face in faces]), face_pixels_of(faces)).prob_fake


def main() -> None:
    """Choose frames, print a table."""
    read = read_table(__doc__)
    works, logits, blend, fake = read.works, read.logits, read.blend, read.fake
    parts = np.split(logits, np.cumsum([len(work.faces) for work in works])[:-1])
    shown = [sorted({face.frame for face in work.faces}) for work in works]
    videos = list(zip(works, parts, shown, strict=True))
    whole = np.array([prob_fake(work, mine, blend, set(frames)) for work, mine, frames in videos])
    print(f"{len(works)} videos; all frames: log loss {log_loss_balanced(fake, whole):.4f}, AUC {auc(fake, whole):.4f}")
    print("frames  log loss (sd)      AUC (sd)           error of P(fake): rms  largest")
    for count in COUNTS:
        rows = []
        for offset in OFFSETS:
            prob = np.array([prob_fake(w, mine, blend, chosen(frames, count, offset)) for w, mine, frames in videos])
            off = np.abs(prob - whole)
            rows.append((log_loss_balanced(fake, prob), auc(fake, prob), np.sqrt(np.mean(off**2)), off.max()))
        loss, area, rms, most = np.mean(rows, axis=0)
        spread = np.std(rows, axis=0)
        print(f"{count:>6}  {loss:.4f} ({spread[0]:.4f})   {area:.4f} ({spread[1]:.4f})   {rms:>22.4f}  {most:>7.3f}")


def chosen(frames: list[int], count: int, offset: float) -> set[int]:
    """A frame of each of `count` equal segments, at one place in it."""
    places = ((np.arange(min(count, len(frames))) + offset) * len(frames) / min(count, len(frames))).astype(int)
    return {frames[place] for place in np.minimum(places, len(frames) - 1)}


if __name__ == "__main__":
    main()
