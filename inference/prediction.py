"""What the public API gives for videos: predictions, one by one and as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import overload

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from inference.result import VideoResult
from inference.verdict import Verdict

UNKNOWN = Verdict("cannot say", "", "", "")


@dataclass(frozen=True)
class Prediction(VideoResult):
    """What the ensemble says of one video: `prob_fake`, `status`, `reason`, `people`, `faces` and more.

    `status` is "ok" unless the video has no probability of its own; then `prob_fake` is the prior 0.5 and `reason` says
    why. `verdict.sentence` says in words what is known and how often such a verdict is wrong.
    """

    verdict: Verdict = UNKNOWN

    def to_frame(self) -> pd.DataFrame:
        """Make a table of the faces.

        Returns:
            One row per face: frame, second, person, left, top, right, bottom (pixels), score, detector, prob_fake and
            one column per member with its logit. No rows for a video without faces.
        """
        columns = ["frame", "second", "person", "left", "top", "right", "bottom", "score", "detector", "prob_fake"]
        rows = []
        for face in self.faces:
            box = [float(value) for value in face.box_xyxy]
            values = [face.frame, face.second, face.person, *box, face.score, face.detector, face.prob_fake]
            rows.append(dict(zip(columns, values, strict=True)) | face.logits)
        return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)


class Predictions(Sequence[Prediction]):
    """The predictions of several videos, in the order in which the videos were given."""

    def __init__(self, predictions: Iterable[Prediction]) -> None:
        """Keep the predictions of some videos.

        Args:
            predictions: One for each video.
        """
        self._all = tuple(predictions)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> Predictions: ...
    def __getitem__(self, index: int | slice) -> Prediction | Predictions:
        """Give one prediction, or several of them."""
        return Predictions(self._all[index]) if isinstance(index, slice) else self._all[index]

    def __len__(self) -> int:
        """Count the videos."""
        return len(self._all)

    def __repr__(self) -> str:
        """Show how many videos there are and how many of them have a probability of their own."""
        return f"Predictions({len(self)} videos, {self.status.count('ok')} ok)"

    @property
    def prob_fake(self) -> NDArray[np.float64]:
        """P(fake) of each video, (V,)."""
        return np.array([each.prob_fake for each in self._all], dtype=np.float64)

    @property
    def status(self) -> list[str]:
        """The status of each video."""
        return [each.status for each in self._all]

    @property
    def people(self) -> pd.DataFrame:
        """One row per person of each video: filename, person, frames, prob_fake."""
        rows = [{"filename": each.filename} | asdict(person) for each in self._all for person in each.people]
        return pd.DataFrame(rows, columns=["filename", "person", "frames", "prob_fake"])

    @property
    def faces(self) -> pd.DataFrame:
        """One row per face of each video: filename, then the columns of `Prediction.to_frame`."""
        tables = [each.to_frame().assign(filename=each.filename) for each in self._all if each.faces]
        table = pd.concat(tables, ignore_index=True) if tables else Prediction("", "ok", 0.5).to_frame()
        return table[["filename", *(name for name in table.columns if name != "filename")]] if tables else table

    def to_frame(self) -> pd.DataFrame:
        """Make a table of the videos.

        Returns:
            One row per video: filename, prob_fake, verdict (its kind), status, reason, people and faces (how many),
            width and height (pixels), fps, duration (seconds).
        """
        rows = [
            {
                "filename": each.filename,
                "prob_fake": each.prob_fake,
                "verdict": each.verdict.kind,
                "status": each.status,
                "reason": each.reason,
                "people": len(each.people),
                "faces": len(each.faces),
                "width": each.width,
                "height": each.height,
                "fps": each.fps,
                "duration": each.duration,
            }
            for each in self._all
        ]
        columns = [
            "filename",
            "prob_fake",
            "verdict",
            "status",
            "reason",
            "people",
            "faces",
            "width",
            "height",
            "fps",
            "duration",
        ]
        return pd.DataFrame(rows, columns=columns)
