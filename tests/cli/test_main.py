"""The command as a user runs it: a fresh process, its output, its exit code."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ensemble.blend import Blend
from ensemble.convex import Mix
from tests.ensemble.tables import noisy
from tests.inference.bad_videos import make_bad_videos

ROOT = Path(__file__).resolve().parents[2]


def dfdc(*arguments, cwd=ROOT):
    command = [sys.executable, ROOT / "dfdc.py", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd, timeout=300)


@pytest.mark.parametrize("command", ["", "predict", "explore", "evaluate", "train", "tune", "blend", "ship", "doctor"])
def test_help_teaches(command):
    done = dfdc(*([command] if command else []), "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_help_lists_every_command_with_its_whole_sentence_and_imports_little():
    script = "import sys, dfdc; sys.argv = ['dfdc', '--help']\ntry: dfdc.main()\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, cwd=ROOT)
    shown, _, modules = done.stdout.rstrip().rpartition("\n")
    assert not {"numpy", "torch", "cv2", "av", "pandas", "rich.console"} & set(modules.split())
    assert "..." not in shown.partition("Videos:")[2]
    titles = [line for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles == ["Options:", "Videos:", "Training:", "Blend:", "Many machines:", "Kaggle:"]
    listed = [line.split()[0] for line in shown.splitlines() if line[:2] == "  " and line[2:3].strip()]
    assert {"predict", "explore", "train", "run-units", "dry-run", "ship"} <= set(listed)


@pytest.mark.slow
def test_predict_from_another_folder(media, members, tmp_path):
    done = dfdc("predict", media / "single_face.mp4", "-o", "s.csv", "--frames", 4, "--members", members,
                "--report", "r.html", "--probabilities", "p.csv", "--json", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["videos"][0]["status"] == "ok"
    assert pd.read_csv(tmp_path / "s.csv")["filename"].tolist() == ["single_face.mp4"]
    assert "single_face.mp4" in (tmp_path / "r.html").read_text()
    assert len(pd.read_csv(tmp_path / "p.csv")) == 8


@pytest.mark.slow
def test_a_table_of_predict_blends_to_the_same_submission(media, members, tmp_path):
    """`dfdc blend` needs no video: what predict scored is blended again, the video without a face included."""
    blend = Blend(("first", "second"), Mix(np.array([0.8, 0.2]), 0.3, 0.4), clip=(0.02, 0.97))
    blend.write(tmp_path / "blend.json")
    videos = [media / "single_face.mp4", media / "no_face.mp4"]
    done = dfdc("predict", *videos, "-o", "s.csv", "--frames", 4, "--members", members, "--blend", "blend.json",
                "--probabilities", "p.csv", "--max-fallback", 1, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    again = dfdc("blend", "p.csv", "--blend", "blend.json", "-o", "b.csv", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "2 videos, 1 of them without a scored face" in again.stdout
    first, second = pd.read_csv(tmp_path / "s.csv"), pd.read_csv(tmp_path / "b.csv")
    assert second["filename"].tolist() == first["filename"].tolist()
    assert second["label"].tolist() == pytest.approx(first["label"].tolist(), abs=1e-4)
    assert 0.5 in second["label"].tolist()


@pytest.mark.slow
def test_tune_ships_a_blend_that_blend_applies(tmp_path):
    table = tmp_path / "holdout.csv"
    write_holdout(table)
    tuned = dfdc("tune", table, "-o", "blend.json", "--report", "r.html", "--trials", 30, cwd=tmp_path)
    assert tuned.returncode == 0, tuned.stderr
    assert tuned.stdout.startswith("What ships")
    assert "--trained-on" in tuned.stdout  # says what was not checked
    assert "<html" in (tmp_path / "r.html").read_text()
    done = dfdc("blend", table, "--blend", "blend.json", "-o", "s.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(tmp_path / "s.csv")) == 120
    assert "log_loss_balanced" in done.stdout
    other = dfdc("blend", table, "--blend", "blend.json", "--sample", "s.csv", "-o", "t.csv",
                 "--holdout", table, "--earlier", "s.csv", cwd=tmp_path)  # fmt: skip
    assert (tmp_path / "s.csv").read_bytes() == (tmp_path / "t.csv").read_bytes(), other.stderr
    assert "the test set looks to the members like the held-out videos" in other.stdout
    assert "beside s.csv, 120 videos: rank correlation 1.000" in other.stdout


@pytest.mark.slow
def test_tune_mirrors_where_that_is_clearly_better(tmp_path):
    write_holdout(tmp_path / "plain.csv")
    table = pd.read_csv(tmp_path / "plain.csv")
    lean = np.random.default_rng(5).normal(0, 2, len(table))
    table.assign(logit=table["logit"] + lean).to_csv(tmp_path / "leaning.csv", index=False)
    for first, both, told in (("leaning", "plain", True), ("plain", "leaning", False)):
        done = dfdc("tune", f"{first}.csv", "--mirrored", f"{both}.csv", "-o", "b.json", "--trials", 10, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads((tmp_path / "b.json").read_text())["mirror"] is told
        assert ("will be scored mirrored" if told else "mirroring every other frame is refused") in done.stdout


def write_holdout(path):
    """120 videos by two members that half know the truth."""
    faces = noisy(120, (0.5, 1.0))
    truth = faces.known()
    table = {"filename": faces.filename, "frame": 0, "person": 0, "status": "ok", "group": truth.group}
    table["label"] = np.where(truth.label > 0.5, "FAKE", "REAL")
    parts = [pd.DataFrame({**table, "member": m, "logit": faces.logit[:, i]}) for i, m in enumerate(faces.members)]
    pd.concat(parts).to_csv(path, index=False)


@pytest.mark.slow
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
        (["predict", "{media}/single_face.mp4", "--blend", "{empty}/b.json"], 1, "make one with: dfdc tune"),
        (["predict", "--files-from", "gone.txt"], 1, "dfdc: gone.txt: No such file or directory"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)  # each is a process of its own
            for case in (
                (["predict"], 2, "no video is given"),
                (["predict", "{media}/single_face.mp4", "--json", "--jsonl"], 2, "ask for one of them"),
                (["predict", "{empty}", "-o", "{empty}"], 2, "holds no video"),
                (["predict", "{media}/single_face.mp4", "-o", "/proc/none/s.csv"], 1, "dfdc: /proc/none: No such file"),
                (["predict", "{media}/single_face.mp4", "--members", "{empty}"], 1, "holds no member"),
                (["tune", "gone.csv"], 2, "gone.csv does not exist"),
                (["blend", "gone.csv", "--blend", "gone.json"], 1, "gone.json is not a blend"),
                (["predict", "{media}/single_face.mp4", "--device", "tpu"], 2, "device is 'tpu'"),
                (
                    ["train", "b9", "--crops", "{empty}", "--labels", "x.csv", "-o", "{empty}"],
                    2,
                    "no experiment is called 'b9'",
                ),
            )
        ),
    ],
)
def test_mistakes_are_one_line_and_a_code(media, tmp_path, arguments, code, message):
    done = dfdc(*(a.format(media=media, empty=tmp_path) for a in arguments))
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_doctor_finds_this_machine_fit():
    done = dfdc("doctor")
    assert done.returncode == 0, done.stdout
    assert "BlazeFace back" in done.stdout
    assert "failed" not in done.stdout


@pytest.mark.slow
def test_doctor_fails_over_damaged_weights(members, tmp_path):
    for path in members.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "first.safetensors").write_bytes(b"short")
    done = dfdc("doctor", "--members", tmp_path)
    assert done.returncode == 1
    assert "is not what its card says" in done.stdout
