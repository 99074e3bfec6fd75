"""Options of encoders, and frames held against a full decode: for the tests of decoding."""

from __future__ import annotations

import numpy as np

from faces.video import Frames, choose_frames

PYRAMID = {"bf": "3", "b-pyramid": "normal", "b-adapt": "0", "g": "20"}
FAST_VP = {"cpu-used": "8", "deadline": "realtime"}
OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:bframes=3:b-adapt=0"}


def assert_same(frames: Frames, reference: list[np.ndarray], wanted: int) -> None:
    """The chosen frames, bit for bit."""
    assert frames.indices.tolist() == choose_frames(len(reference), wanted).tolist()
    for number, image in zip(frames.indices, frames.images, strict=True):
        assert image.flags.c_contiguous
        np.testing.assert_array_equal(image, reference[number])
