"""`import dfdc` and the command as somebody meets them who installed the project."""

import csv
import os
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest

import dfdc
from common import __version__
from faces.crop import CropSpec
from faces.video import decode
from tests.test_architecture import ARROWS

ROOT = Path(__file__).resolve().parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
CLIPS = ("single_face.mp4", "noface_face.mov")
FRAMES = 6
# `dfdc --help` imports about 330 modules: Python's library, typer and ours. torch alone brings many more than that.
MOST_MODULES = 500


def run(*command, cwd=ROOT, **environment):
    return subprocess.run(
        [sys.executable, *map(str, command)],
        check=False, capture_output=True, text=True, cwd=cwd, env=os.environ | environment, timeout=600,
    )  # fmt: skip


@pytest.fixture(scope="module")
def detector(members):
    return dfdc.load(members, device="cpu", frames=FRAMES)


@pytest.fixture(scope="module")
def predictions(detector, media):
    return detector.predict([media / name for name in CLIPS])


def test_the_public_names():
    assert dfdc.__all__ == sorted(dfdc.__all__)
    assert set(dfdc.__all__) == {
        "Blend", "CropSpec", "DfdcError", "Face", "FakeDetector", "Prediction", "Predictions", "__version__", "crop",
        "find_faces", "load", "main",
    }  # fmt: skip
    for name in dfdc.__all__:
        assert getattr(dfdc, name) is not None
        assert name in dir(dfdc)


def test_an_unknown_name_is_refused_and_the_known_ones_are_told():
    with pytest.raises(AttributeError, match=r"no attribute 'detect'; it has Blend, .*find_faces"):
        dfdc.detect  # noqa: B018


def test_the_same_probabilities_as_the_command(predictions, members, media, tmp_path):
    videos = [media / name for name in CLIPS]
    done = run(ROOT / "dfdc.py", "predict", *videos, "-o", "s.csv", "--members", members, "--frames", FRAMES,
               "--device", "cpu", "--probabilities", "p.csv", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    with (tmp_path / "s.csv").open(newline="") as file:
        submission = {row["filename"]: row["label"] for row in csv.DictReader(file)}
    assert submission == {each.filename: f"{each.prob_fake:.6f}" for each in predictions}
    with (tmp_path / "p.csv").open(newline="") as file:
        told = [(row["filename"], row["member"], row["logit"]) for row in csv.DictReader(file)]
    ours = [(p.filename, m, f"{v:.5f}") for p in predictions for face in p.faces for m, v in face.logits.items()]
    assert sorted(told) == sorted(ours)
    assert len(ours) > len(CLIPS) * FRAMES


def test_one_path_gives_one_prediction(detector, predictions, media):
    one = detector.predict(str(media / CLIPS[0]))
    assert (one.filename, one.status, one.prob_fake) == (CLIPS[0], "ok", predictions[0].prob_fake)
    assert len(one.people) == 1
    assert one.verdict.sentence.startswith(one.verdict.kind.capitalize())
    table = one.to_frame()
    assert len(table) == len(one.faces) == FRAMES
    assert {"first", "second", "left", "person", "prob_fake"} <= set(table.columns)


def test_several_keep_their_order_and_make_tables(predictions):
    assert [each.filename for each in predictions] == list(CLIPS)
    assert predictions.prob_fake.tolist() == [each.prob_fake for each in predictions]
    assert predictions.status == ["ok", "ok"]
    table = predictions.to_frame()
    assert table["filename"].tolist() == list(CLIPS)
    assert table["faces"].tolist() == [len(each.faces) for each in predictions]
    assert table["verdict"].tolist() == [each.verdict.kind for each in predictions]
    assert len(predictions.people) == table["people"].sum()
    assert predictions.faces["filename"].value_counts().to_dict() == dict(zip(CLIPS, table["faces"], strict=True))
    assert repr(predictions[:1]) == "Predictions(1 videos, 1 ok)"


def test_frames_in_memory_score_as_their_video_does(detector, predictions, media):
    frames = decode(media / CLIPS[0], FRAMES)
    one = detector.predict(np.stack(frames.images), seconds=frames.seconds.tolist())
    assert one.status == "ok"
    assert one.prob_fake == predictions[0].prob_fake
    assert [face.logits for face in one.faces] == [face.logits for face in predictions[0].faces]


def test_a_video_that_cannot_be_read_is_a_prediction(detector, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    several = detector.predict(tmp_path)
    assert [(each.status, each.prob_fake) for each in several] == [("unreadable", 0.5)]
    assert several[0].reason.startswith("is not a video")  # the name stands beside it
    assert several[0].verdict.kind == "cannot say"
    assert several.faces.empty
    assert several[0].to_frame().empty


@pytest.mark.parametrize(
    ("source", "seconds", "error", "told"),
    [
        ("nowhere.mp4", None, ValueError, "nowhere.mp4 does not exist"),
        (3, None, TypeError, "cannot predict a int"),
        (["a.mp4", None], None, TypeError, "cannot predict a NoneType"),
        (np.zeros((2, 8, 8, 3)), None, ValueError, r"uint8 RGB array, not float64 \(2, 8, 8, 3\)"),
        (np.zeros((8, 8, 3), np.uint8), None, ValueError, "not uint8"),
        (np.zeros((2, 8, 8, 3), np.uint8), [1.0], ValueError, "each of the 2 frames"),
        (np.zeros((2, 8, 8, 3), np.uint8), [1.0, 0.5], ValueError, "one growing number"),
        ("a.mp4", [0.0], ValueError, "seconds belong to an array"),
    ],
)
def test_a_mistake_is_named(detector, source, seconds, error, told):
    with pytest.raises(error, match=told):
        detector.predict(source, seconds)


def test_faces_are_those_that_are_predicted_on(members, media):
    faces = dfdc.find_faces(media / CLIPS[0], frames=FRAMES, device="cpu")
    known = dfdc.load(members, "cpu", frames=FRAMES, tolerance=0).predict(media / CLIPS[0]).faces
    assert [(face.frame, face.person) for face in faces] == [(face.frame, face.person) for face in known]
    assert np.array_equal([face.box_xyxy for face in faces], [face.box_xyxy for face in known])
    spec = CropSpec("tutorial", size=64, margin=0.1)
    assert dfdc.crop(faces[0].image, faces[0].box_xyxy, spec).shape == (64, 64, 3)
    assert dfdc.crop(faces[0].image, faces[0].box_xyxy).std() > 10


def test_find_faces_tells_why_a_file_is_no_video(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(dfdc.DfdcError, match=r"broken\.mp4"):
        dfdc.find_faces(tmp_path / "broken.mp4")


def test_a_blend_can_be_given(members, media):
    blend = dfdc.Blend.equal(["second"])
    detector = dfdc.load(members, device="cpu", blend=blend, frames=FRAMES)
    assert detector.members == ["second"]
    assert set(detector.predict(media / CLIPS[0]).faces[0].logits) == {"second"}


def test_help_imports_few_modules():
    code = (
        "import sys; sys.argv = ['dfdc', '--help']; import dfdc\n"
        "try:\n    dfdc.main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    modules = done.stderr.split()
    assert not {"torch", "numpy", "pandas", "timm", "cv2", "av", "scipy"} & set(modules)
    assert len(modules) < MOST_MODULES


def test_importing_the_api_imports_no_room():
    done = run("-c", "import sys, dfdc; print(*sys.modules)")
    assert not {*ARROWS, "typer", "numpy"} & set(done.stdout.split())


@pytest.mark.parametrize("start", [[ROOT / "dfdc.py"], ["-m", "dfdc"]])
def test_version(start, tmp_path):
    done = run(*start, "--version", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert (done.returncode, done.stdout) == (0, f"dfdc {__version__}\n")


def test_the_shell_completes_commands():
    code = "import sys; sys.argv = ['dfdc']; import dfdc; dfdc.main()"
    done = run("-c", code, _DFDC_COMPLETE="complete_bash", COMP_WORDS="dfdc pre", COMP_CWORD="1")
    assert done.stdout.split() == ["predict"]


def test_every_room_and_every_file_that_it_reads_is_installed():
    """Whatever lies in a room and is not Python is in the package data; every folder of code is a package."""
    include = SETUPTOOLS["packages"]["find"]["include"]
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts) for room in ARROWS for path in (ROOT / room).rglob("__init__.py")
    }
    packages = {name for name in folders if any(fnmatch(name, pattern) for pattern in include)}
    lost = []
    for room in ARROWS:
        for path in (ROOT / room).rglob("*"):
            if path.is_dir() or "__pycache__" in path.parts or path.suffix in (".md", ".pyc"):
                continue
            package = path.parent
            while package != ROOT and ".".join(package.relative_to(ROOT).parts) not in packages:
                package = package.parent
            name = ".".join(package.relative_to(ROOT).parts)
            inside = path.relative_to(package).as_posix()
            if path.suffix == ".py":
                held = package == path.parent
            else:
                globs = [*SETUPTOOLS["package-data"]["*"], *SETUPTOOLS["package-data"].get(name, [])]
                held = any(fnmatch(inside, glob.removeprefix("**/")) for glob in globs)
            if not held:
                lost.append(str(path.relative_to(ROOT)))
    assert not lost


def test_every_room_is_typed():
    assert [room for room in ARROWS if not (ROOT / room / "py.typed").is_file()] == []
