"""The command as a user runs it: a fresh process, its output, its exit code."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.inference.bad_videos import make_bad_videos

ROOT = Path(__file__).resolve().parent.parent


def dfdc(*arguments, cwd=ROOT):
    command = [sys.executable, ROOT / "dfdc.py", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd, timeout=300)


@pytest.mark.parametrize("command", ["", "predict", "evaluate", "train", "doctor"])
def test_help_teaches(command):
    done = dfdc(*([command] if command else []), "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_predict_from_another_folder(media, members, tmp_path):
    done = dfdc("predict", media / "single_face.mp4", "-o", "s.csv", "--frames", 4, "--members", members,
                "--report", "r.html", "--probabilities", "p.csv", "--json", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["videos"][0]["status"] == "ok"
    assert pd.read_csv(tmp_path / "s.csv")["filename"].tolist() == ["single_face.mp4"]
    assert "single_face.mp4" in (tmp_path / "r.html").read_text()
    assert len(pd.read_csv(tmp_path / "p.csv")) == 8


def test_too_many_fallbacks_end_with_3_and_the_file_is_there_all_the_same(media, members, tmp_path):
    folder = tmp_path / "bad"
    expected = make_bad_videos(folder, media / "single_face.mp4")
    done = dfdc("predict", folder, "-o", tmp_path / "s.csv", "--frames", 2, "--members", members)
    assert done.returncode == 3
    assert len(pd.read_csv(tmp_path / "s.csv")) == len(expected)
    assert "41% of the rows are the prior, more than --max-fallback 10%" in done.stderr
    assert "zero_bytes.mp4: unreadable" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["predict", "gone.mp4"], 2, "gone.mp4 does not exist"),
        (["predict"], 2, "Missing argument"),
        (["predict", "{media}/single_face.mp4", "--members", "{empty}"], 1, "holds no member"),
        (["predict", "{media}/single_face.mp4", "--device", "tpu"], 2, "device is 'tpu'"),
        (
            ["train", "b9", "--crops", "{empty}", "--labels", "x.csv", "-o", "{empty}"],
            2,
            "no experiment is called 'b9'",
        ),
    ],
)
def test_mistakes_are_one_line_and_a_code(media, tmp_path, arguments, code, message):
    done = dfdc(*(a.format(media=media, empty=tmp_path) for a in arguments))
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_finds_this_machine_fit():
    done = dfdc("doctor")
    assert done.returncode == 0, done.stdout
    assert "BlazeFace back" in done.stdout
    assert "failed" not in done.stdout


def test_doctor_fails_over_damaged_weights(members, tmp_path):
    for path in members.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "first.safetensors").write_bytes(b"short")
    done = dfdc("doctor", "--members", tmp_path)
    assert done.returncode == 1
    assert "is not what its card says" in done.stdout
