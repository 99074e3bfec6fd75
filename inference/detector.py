"""The detector for other programs and notebooks: load once, then videos or frames in, P(fake) out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from common.device import find_device
from common.files import files_in
from ensemble.blend import Blend
from faces.cascade import Cascade
from faces.crop import Boxes, CropSpec, Image, cut
from faces.track import STRAY, track
from faces.turned import find_upright
from faces.video import Frames, VideoInfo, decode
from inference.blends import load_blend
from inference.pipeline import Pipeline, PredictOptions, make_pipeline
from inference.prediction import Prediction, Predictions
from inference.result import VideoResult
from inference.schedule.plans import TOLERANCE, is_sparing
from inference.verdict import verdict_of
from models.checkpoint import WEIGHTS_DIR
from models.registry import TIGHT

VideoPath = str | os.PathLike[str]
VideoPaths = list[str] | list[Path] | tuple[VideoPath, ...]  # not Sequence: a string is a sequence of strings

# Seconds between two frames of an array whose times are not given: what 32 frames of a DFDC clip of 10 s have.
FRAME_GAP = 10 / 32


class FakeDetector:
    """An ensemble that is loaded once and predicts any number of videos; `load` makes one."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Wrap a pipeline.

        Args:
            pipeline: What `dfdc predict` runs as well, so that both give the same probabilities.
        """
        self.pipeline = pipeline

    def __repr__(self) -> str:
        """Show the members and the device."""
        return f"FakeDetector({', '.join(self.members)} on {self.pipeline.device})"

    @property
    def members(self) -> list[str]:
        """The names of the members that vote."""
        return [loaded.card.name for loaded in self.pipeline.loaded_members]

    @property
    def blend(self) -> Blend:
        """How their logits become one probability."""
        return self.pipeline.blend

    @overload
    def predict(self, source: VideoPath, seconds: None = None) -> Prediction | Predictions: ...
    @overload
    def predict(self, source: NDArray[np.uint8], seconds: Sequence[float] | None = None) -> Prediction: ...
    @overload
    def predict(self, source: VideoPaths, seconds: None = None) -> Predictions: ...
    def predict(
        self,
        source: VideoPath | VideoPaths | NDArray[np.uint8],
        seconds: Sequence[float] | None = None,
    ) -> Prediction | Predictions:
        """Predict P(fake) of a video, of several, or of frames in memory.

        Args:
            source: The path of a video, a folder of videos, a list of either, or the frames of one video as a
                (N, H, W, 3) uint8 RGB array. All frames of an array are used, and none of a video beyond what the
                detector was loaded for.
            seconds: Of an array only: when each frame is shown, (N,), growing. People are followed by it. Without it
                the frames lie FRAME_GAP seconds apart.

        Returns:
            One Prediction for the path of a file and for an array, Predictions for a folder and for a list. A video
            that cannot be read, or that shows no face, has a status and the prior; it raises nothing.

        Raises:
            ValueError: A path does not exist, a folder holds no video, or the array is no (N, H, W, 3) uint8 RGB.
            TypeError: The source is none of these.
        """
        if isinstance(source, np.ndarray):
            return _prediction(self.pipeline.predict_frames(_frames(source, seconds)), self.blend)
        if seconds is not None:
            raise ValueError("seconds belong to an array of frames; a video says itself when its frames are shown")
        paths = [_path(each) for each in source] if isinstance(source, list | tuple) else [_path(source)]
        results = [_prediction(result, self.blend) for result in self.pipeline.run(files_in(paths))]
        return Predictions(results) if isinstance(source, list | tuple) or paths[0].is_dir() else results[0]


def load(
    members: VideoPath = WEIGHTS_DIR,
    device: str = "auto",
    blend: Blend | VideoPath | None = None,
    frames: int | None = None,
    tolerance: float = TOLERANCE,
    competition: bool = False,
    prior: float | None = None,
) -> FakeDetector:
    """Load the ensemble that `dfdc predict` uses.

    Args:
        members: A folder of members (each a .safetensors with its .json); by default the shipped one.
        device: "cuda", "cpu", or "auto": CUDA where there is a GPU that computes.
        blend: A Blend, or the path of a blend.json; by default one of those beside the members, and equal weights
            where there is none.
        frames: How many frames of a video are looked at, evenly spread. By default 12 of up to ten seconds, and one
            more for each 0.8 seconds, up to what the blend says; with tolerance 0 always what the blend says.
        tolerance: A video's faces are scored until the standard error of its P(fake) is no larger than this, against
            what all of them would give; 0 scores all.
        competition: The videos are DFDC's: take blend.json, tuned on DFDC alone, and not blend_any.json.
        prior: The share of fakes among the videos, between 0 and 1; by default what the blend assumes, which is half.
            Probabilities follow it, and verdicts do not.

    Returns:
        The detector. It takes seconds to load and can be used any number of times.

    Raises:
        ValueError: The device is unknown or not there, frames is below 1, tolerance not from 0 to 0.5, or prior no
            share.
        DfdcError: Weights are missing or damaged, or are others than those that the blend was tuned with.
    """
    folder = Path(members)
    chosen = (
        blend if isinstance(blend, Blend) else load_blend(folder, None if blend is None else Path(blend), competition)
    )
    if prior is not None:
        chosen = replace(chosen, prior=prior)
    options = PredictOptions(
        frames=chosen.frames if frames is None else frames, sparing=is_sparing(frames, tolerance), tolerance=tolerance
    )
    return FakeDetector(make_pipeline(options, find_device(device), folder, blend=chosen))


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one frame of a video."""

    frame: int  # index in the video
    second: float
    person: int  # 0 is the person seen in most frames
    box_xyxy: Boxes  # (4,) pixels of the full frame, may reach outside it
    points_xy: Boxes  # (5, 2) pixels: right eye, left eye, nose, right and left mouth corner (the person's right)
    score: float  # the detector's confidence, 0..1
    detector: str  # which one found it
    image: Image = field(repr=False)  # the frame, (H, W, 3) uint8 RGB


def find_faces(video: VideoPath, frames: int = 32, device: str = "auto") -> list[Face]:
    """Find the faces of a video and follow them from frame to frame, as `dfdc predict --tolerance 0` does.

    Args:
        video: The path of a video.
        frames: How many frames are looked at, evenly spread.
        device: "cuda", "cpu" or "auto".

    Returns:
        The faces in the order of the frames, without boxes that belong to nobody. Each holds the frame it was found in.

    Raises:
        DfdcError: The file cannot be read as a video.
        ValueError: The device is unknown or not there, or frames is below 1.
    """
    shown, found, _ = find_upright(Cascade(find_device(device)), decode(_path(video), frames))
    people = track(found, [float(second) for second in shown.seconds])
    return [
        Face(
            frame=int(shown.indices[number]),
            second=float(shown.seconds[number]),
            person=int(people[number][index]),
            box_xyxy=faces.boxes_xyxy[index],
            points_xy=faces.points_xy[index],
            score=float(faces.scores[index]),
            detector=faces.detector,
            image=shown.images[number],
        )
        for number, faces in enumerate(found)
        for index in range(len(faces))
        if people[number][index] != STRAY
    ]


def crop(image: Image, box_xyxy: Boxes, spec: CropSpec = TIGHT, points_xy: Boxes | None = None) -> Image:
    """Cut one face out of a frame by the function that training and prediction use.

    Args:
        image: (H, W, 3) uint8 RGB.
        box_xyxy: (4,) pixels: left, top, right, bottom; may reach outside the image.
        spec: What to cut around the box, at which size; by default what the member lite0_tight looks at.
        points_xy: (5, 2) pixels, needed where spec.align is "5pt"; `Face.points_xy` has their order.

    Returns:
        (size, size, 3) uint8 RGB.

    Raises:
        ValueError: The box has no area or is not finite, or points are needed and missing.
    """
    return cut(image, box_xyxy, spec, points_xy)


def _path(value: object) -> Path:
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"cannot predict a {type(value).__name__}; give paths of videos, or one (N, H, W, 3) array")
    return Path(value)


def _prediction(result: VideoResult, blend: Blend) -> Prediction:
    return Prediction(**vars(result), verdict=verdict_of(result, blend))


def _frames(images: NDArray[np.uint8], seconds: Sequence[float] | None) -> Frames:
    """Frames in memory as the decoder would give them."""
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or not images.size:
        raise ValueError(f"frames are a (N, H, W, 3) uint8 RGB array, not {images.dtype} {images.shape}")
    count, height, width = images.shape[:3]
    times: NDArray[np.float64] = np.arange(count, dtype=np.float64) * FRAME_GAP
    if seconds is not None:
        times = np.asarray(seconds, dtype=np.float64)
    if times.shape != (count,) or np.any(np.diff(times) <= 0):
        raise ValueError(f"seconds are one growing number for each of the {count} frames, not {seconds!r}")
    gap = float(np.median(np.diff(times))) if count > 1 else FRAME_GAP
    info = VideoInfo(
        frames=count, fps=1 / gap, duration=count * gap, width=width, height=height, rotation=0,
        codec="", pixel_format="rgb24", has_audio=False, audio_codec="",
    )  # fmt: skip
    return Frames(tuple(images), np.arange(count, dtype=np.int64), times, info)
