"""Videos for the tests of decoding in processes, and the proof that a test leaves nothing behind."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.faces.decode.processes import OTHERS, handles, workers
from tests.media import write_video


@pytest.fixture
def clip(media) -> Path:
    return media / "single_face.mp4"


@pytest.fixture(scope="module")
def heavy(tmp_path_factory) -> Path:
    """A video that takes seconds and hundreds of MB to decode in full."""
    black = np.zeros((2160, 3840, 3), np.uint8)
    path = tmp_path_factory.mktemp("heavy") / "heavy.mp4"
    return write_video(path, 32, (3840, 2160), options={"preset": "ultrafast"}, draw=lambda *_: black)


@pytest.fixture(autouse=True)
def nothing_left():
    """A test leaves no worker, no thread and no handle."""
    OTHERS.clear()
    OTHERS.update(workers())
    gc.collect()  # what earlier tests have forgotten to close must not go in the middle of one of these
    before = handles(), threading.active_count()
    yield
    assert not workers()
    assert handles() <= before[0]
    assert threading.active_count() <= before[1]
