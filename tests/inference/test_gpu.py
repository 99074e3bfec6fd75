"""Real videos on a GPU: the same faces, and probabilities that 16 bits move a little."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from common.device import find_device
from inference.detector import find_faces
from inference.pipeline import PredictOptions, make_pipeline

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).resolve().parents[2]
CLIPS = ("single_face.mp4", "WolfgangLanger_Pexels.mp4")


def test_the_same_faces_are_found(media):
    for clip in CLIPS:
        exact, found = (find_faces(media / clip, frames=6, device=name) for name in ("cpu", "cuda"))
        assert [(f.frame, f.person) for f in found] == [(f.frame, f.person) for f in exact]
        for one, other in zip(found, exact, strict=True):
            side = other.box_xyxy[2] - other.box_xyxy[0]
            assert np.abs(one.box_xyxy - other.box_xyxy).max() < 0.02 * side


def test_videos_score_alike_on_both(media, members):
    options = PredictOptions(frames=6, decoders=2, tolerance=0)
    exact, found = (
        list(make_pipeline(options, find_device(name), members).run([media / clip for clip in CLIPS]))
        for name in ("cpu", "cuda")
    )
    for one, other in zip(found, exact, strict=True):
        assert (one.filename, one.status) == (other.filename, other.status)
        assert one.prob_fake == pytest.approx(other.prob_fake, abs=0.02)


def test_the_command_says_what_it_runs_on(media, members, tmp_path):
    done = subprocess.run(
        [sys.executable, "dfdc.py", "predict", str(media / CLIPS[0]), "--members", str(members), "--device", "cuda",
         "-o", str(tmp_path / "out.csv")],
        check=True, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert torch.cuda.get_device_name() in done.stdout + done.stderr
    assert pd.read_csv(tmp_path / "out.csv")["filename"].tolist() == [CLIPS[0]]
