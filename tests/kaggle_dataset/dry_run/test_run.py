"""The dry run on kernels of a few lines: what passes, and what each fault is called."""

import importlib.metadata
import json
import platform
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from common.errors import DfdcError
from kaggle_dataset.bundle.build import build
from kaggle_dataset.bundle.options import BuildOptions
from kaggle_dataset.dry_run.environment import EXACT, compare_versions
from kaggle_dataset.dry_run.report import RunResult
from kaggle_dataset.dry_run.run import dry_run, scaled_budget
from tests.kaggle_dataset.dry_run.marks import WAIT_FOR_LOOK, mark_looks

IMAGE = 'python = ["3.11"]\nglibc = "2.35"\n[distributions]\npackaging = "26.0"\n[accepted]\n'
# What a kernel does, without predicting. Lines of a test stand where PLANTED is.
KERNEL = """
import json, os, subprocess, sys
from pathlib import Path

source = Path(os.environ.get("DFDC_INPUT", "/kaggle/input"))
output = Path(os.environ.get("DFDC_OUTPUT", "/kaggle/working/submission.csv"))
names = sorted(path.name for path in source.rglob("test_videos/*"))
manifest = next(source.rglob("manifest.json"))
label, status, report = "0.400000", "ok", True
PLANTED
output.write_text("filename,label\\n" + "".join(f"{name},{label}\\n" for name in names))
videos = [{"filename": name, "status": status, "reason": "why"} for name in names]
print("a line before")
if report:
    print(json.dumps({"videos": videos, "seconds": 0.1}, indent=2))
"""


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Builds a folder as `dfdc build` does, with a kernel of a few lines; returns what runs it."""
    (tmp_path / "image.toml").write_text(IMAGE)
    (tmp_path / "clips").mkdir()
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "clips" / name).write_bytes(b"not looked at")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    built = tmp_path / "build" / "0123456789abcdef"
    files = [{"name": "blend.json", "path": "models/weights/blend.json"}]
    write(built / "dataset" / "manifest.json", {"files": files, "wheels": ["some==1"]})
    write(built / "dataset" / "blend.json", {"clip": [0.02, 0.97]})
    write(built / "dataset" / "dataset-metadata.json", {"id": "someone/dfdc-ensemble"})
    metadata = {"code_file": "start.py", "dataset_sources": ["someone/dfdc-ensemble"], "competition_sources": ["dfdc"]}
    write(built / "kernel" / "kernel-metadata.json", metadata)

    def run(planted="", **options):
        (built / "kernel" / "start.py").write_text(KERNEL.replace("PLANTED", planted))
        options = {"layouts": ["slug"], "image": tmp_path / "image.toml", **options}
        return dry_run(built, tmp_path / "clips", **options)

    yield run
    if not list((tmp_path / "scratch").glob("kept")):
        assert not list((tmp_path / "scratch").iterdir()), "nothing of a run may stay"


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


@pytest.mark.parametrize("isolation", ["auto", "hook"])
def test_both_layouts_pass(stage, isolation):
    lines = []
    layouts = "print(manifest.relative_to(source).parent, next(source.rglob('test_videos')).relative_to(source))"
    kernel = (
        f"{layouts}\nassert not list(source.rglob('dataset-metadata.json')) and Path(__file__).parent != Path.cwd()"
    )
    report = stage(kernel, layouts=["slug", "owner"], isolation=isolation, say=lines.append)
    ends = [result.dataset.partition("input")[2] for result in report.runs]
    assert ends == ["/dfdc-ensemble", "/datasets/someone/dfdc-ensemble"]
    assert [result.statuses for result in report.runs] == [{"ok": 2}] * 2
    assert report.linked.keys() == {"packaging", "pip"}
    assert report.wheels == ("some==1",)
    assert ("no namespaces here" in report.apart) or isolation == "auto"
    assert lines[1].startswith(f"Python {platform.python_version()}")
    assert "Kaggle's image" in lines[2]
    assert ("no namespaces here" in lines[0]) == ("no namespaces here" in report.apart)
    assert json.loads(json.dumps(report.to_dict()))["forecast"].keys() == {"4000", "10000"}
    shown = report.render()
    assert "/datasets/someone/dfdc-ensemble" in shown
    assert "0 of 2" in shown
    assert " 4,000 videos  0:0" in shown


@pytest.mark.parametrize(
    ("planted", "says"),
    [
        (
            "import urllib.request\ntry:\n    urllib.request.urlopen('http://example.com')\nexcept OSError: pass",
            r"open a connection.*\n  example.com:80 from .*script.py:12",
        ),
        ("import av", r"exit code 1: the distribution av is missing \(module av\)"),
        ("import cv2.dnn", "the distribution opencv-python-headless is missing"),
        ("sys.exit('ERROR: No matching distribution found for timm==1')", "no wheel of timm"),
        ("print('last words', file=sys.stderr); sys.exit(3)", r"exit code 3\n.*\n  last words"),
        ("os.kill(os.getpid(), 9)", "failed with exit code"),
        ("label = '0.990000'", r"a.mp4 has 0.99, outside the blend's clip \[0.02, 0.97\]"),
        ("label = 'nan'", "has the probability nan"),
        ("names = names[:1]", "0 of 2 videos journalled, and no report"),
        ("report = False", "predicting did not come to its end"),
        ("status = 'unreadable'\nlabel = '0.5'", r"2 of 2 videos .* than 10%\n  a.mp4: unreadable: why"),
        ("output = output.with_name('other.csv')", "left no /kaggle/working/submission.csv"),
        ("import signal; signal.pause()", "was ended: this machine is too slow for them in 2 s, it finished 0; .*m"),
        ("status, label = 'skipped_by_budget', '0.5'", r"than 10%: this machine is too slow for them .*it finished 0"),
    ],
)  # fmt: skip
def test_each_fault_is_named(stage, monkeypatch, planted, says):
    monkeypatch.setattr("kaggle_dataset.dry_run.run.GRACE", 0.5)
    options = {"budget": 2.0} if "pause" in planted else {}
    with pytest.raises(DfdcError, match=f"(?s){says}"):
        stage(planted, **options)


@pytest.mark.parametrize(("limit", "says"), [("MEMORY", "of memory; a session has"), ("DISK", "GB; a session has")])
def test_more_than_a_session_has(stage, monkeypatch, limit, says):
    monkeypatch.setattr(f"kaggle_dataset.dry_run.check.{limit}", 1_000_000)
    mark_looks(monkeypatch)
    with pytest.raises(DfdcError, match=says):
        stage(f"output.with_name('big').write_bytes(b'x' * 2_000_000)\n{WAIT_FOR_LOOK}")


def test_writing_into_the_input_is_named_without_namespaces(stage):
    """Permissions hold an ordinary user; root is found out afterwards."""
    with pytest.raises(DfdcError, match=r"Permission denied|wrote into its input.*dfdc-ensemble/manifest.json"):
        stage("manifest.write_text('{}')", isolation="hook")


def test_what_is_kept_is_named(stage, tmp_path):
    lines = []
    with pytest.raises(DfdcError, match="exit code 5"):
        stage("sys.exit(5)", keep=True, say=lines.append)
    kept = next((tmp_path / "scratch").iterdir())
    assert lines[-1] == f"kept: {kept}"
    assert (kept / "session" / "stderr").exists()
    shutil.rmtree(kept)


def test_a_file_that_is_gone_is_named(stage, tmp_path):
    """Such as a wheel: the kernel's script finds it out, and fails."""
    manifest = tmp_path / "build" / "0123456789abcdef" / "dataset" / "manifest.json"
    values = json.loads(manifest.read_text())
    values["files"].append({"name": "av-18.1.0.whl.bin", "path": "wheels/av-18.1.0.whl"})
    manifest.write_text(json.dumps(values))
    with pytest.raises(DfdcError, match=r"code 1: the dataset lacks av-18\.1\.0\.whl\.bin, which"):
        stage("sys.exit(1)")


def test_mistakes_of_the_user(stage, tmp_path):
    with pytest.raises(ValueError, match="give some of slug, owner"):
        stage(layouts=["elsewhere"])
    with pytest.raises(ValueError, match="holds no video"):
        dry_run(tmp_path / "build" / "0123456789abcdef", tmp_path)
    with pytest.raises(ValueError, match="is no folder that dfdc build wrote"):
        dry_run(tmp_path, tmp_path / "clips")


def test_versions_are_told_against_those_of_the_image():
    own, kaggles = platform.python_version(), {"torch": "2.10.0", "numpy": "2.4.6", "timm": "1.0.26"}
    told = compare_versions({"torch": "2.11.0", "numpy": "2.4.6", "pip": "26.1"}, kaggles, ("2.7", "3.11"))
    assert told == [
        f"Python {own}; Kaggle's image has 2.7",
        "versions of this machine, and Kaggle's image's behind them: torch 2.11.0 (2.10.0)",
        f"to run with the image's own: {EXACT}",
    ]
    assert (Path(__file__).parents[3] / EXACT.split()[1]).is_file()
    same = compare_versions({"numpy": "2.4.6"}, kaggles, (own.rpartition(".")[0],))
    assert same == [f"Python {own}, as on Kaggle", "all distributions are of the versions that Kaggle's image has"]


def test_budgets_and_forecasts():
    assert [scaled_budget(videos) for videos in (1, 37, 400, 4000)] == [300.0, 300.0, 3240.0, 32400.0]
    result = RunResult("/kaggle/input/d", 25.0, 15.0, {"ok": 9, "no_face": 1}, 1, 1)
    assert result.fallbacks == 1
    assert result.forecast(4000) == 10 + 1.5 * 4000


def packed(name, folder):
    """The wheel of an installed distribution, made again from its files."""
    one = importlib.metadata.distribution(name)
    tags = [line.partition(": ")[2] for line in one.read_text("WHEEL").splitlines() if line.startswith("Tag: ")]
    target = folder / f"{name.replace('-', '_')}-{one.version}-{tags[0]}.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for file in one.files:
            if file.parts[0] != ".." and file.suffix != ".pyc":
                archive.write(file.locate(), str(file))


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux", reason="packs the installed wheels, which must be those of Kaggle's platform"
)
def test_the_shipped_ensemble_passes(tmp_path, media, monkeypatch):
    """A real build, its wheels installed by its own script, one real clip; without OpenVINO, a large wheel."""
    (tmp_path / "wheels").mkdir()
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    for name in ("av", "facenet-pytorch"):
        packed(name, tmp_path / "wheels")
    shipped = Path(__file__).resolve().parents[3] / "models" / "weights"
    built = build(BuildOptions(shipped, "someone", openvino=False, cache=tmp_path / "wheels"), tmp_path / "build")
    report = dry_run(built.dataset.parent, media / "single_face.mp4", layouts=["owner"], budget=600.0)
    assert report.runs[0].statuses == {"ok": 1}
    assert [wheel.partition("==")[0] for wheel in report.wheels] == ["av", "facenet-pytorch"]
    assert {"torch", "timm"} <= report.linked.keys()
    assert not {"av", "openvino", "kaggle"} & {*report.linked, *report.below}
    assert 0 < report.external_bytes < 1e9
    assert report.forecast(10_000) > report.forecast(4000)
    assert not list((tmp_path / "scratch").iterdir())
