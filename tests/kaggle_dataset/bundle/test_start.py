"""The script that is pushed, run as Kaggle runs it: a process of its own, elsewhere, with nothing installed for it."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import kaggle_dataset.bundle.start as script
from kaggle_dataset.bundle.build import ROOT, build
from kaggle_dataset.bundle.options import BuildOptions
from kaggle_dataset.bundle.start import StartError, inside
from tests.kaggle_dataset.wheels import KERNEL, as_wheel, make_wheel, write_dataset, write_manifest
from tests.waiting import LIMIT

LAYOUTS = ["dfdc-ensemble", "datasets/someone/dfdc-ensemble"]


def start(tmp_path, path=script.__file__, arguments="", timeout=LIMIT):
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "OMP_NUM_THREADS")}
    environment |= {"DFDC_INPUT": str(tmp_path / "input"), "DFDC_OUTPUT": str(tmp_path / "out.csv")}
    environment |= {"DFDC_ARGUMENTS": arguments, "TMPDIR": str(tmp_path)}
    return subprocess.run(
        [sys.executable, str(path)], cwd="/", env=environment, capture_output=True, text=True, check=False,
        timeout=timeout,
    )  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_in_both_layouts_the_kernel_runs_in_a_verified_tree(tmp_path, layout):
    write_dataset(tmp_path / "input" / layout)
    other = tmp_path / "input" / "another" / "manifest.json"
    other.parent.mkdir()
    other.write_text('{"format": 1, "files": []}')
    before = time.time()
    done = start(tmp_path, arguments="--budget 9h")
    assert done.returncode == 0, done.stderr
    greeting, size, root = (tmp_path / "out.csv").read_text().split()
    assert (greeting, size) == ("hello", "4096")
    assert "arguments ['--budget', '9h']" in done.stdout
    assert before - 1 < float(done.stdout.split()[4]) < time.time()
    assert not Path(root).exists(), "the temporary tree is left behind"


def test_the_kernels_exit_code_is_the_scripts(tmp_path):
    write_dataset(tmp_path / "input" / "d")
    assert start(tmp_path, arguments="--fail").returncode == 3


def test_a_flipped_byte_and_a_missing_file_are_named(tmp_path):
    folder = write_dataset(tmp_path / "input" / "d").parent
    data = bytearray((folder / "one.safetensors").read_bytes())
    data[2000] ^= 1
    (folder / "one.safetensors").write_bytes(data)
    (folder / "source.json").unlink()
    done = start(tmp_path)
    assert done.returncode == 1
    assert "one.safetensors: SHA-256" in done.stderr
    assert "source.json: missing" in done.stderr
    assert f"one.safetensors: {len(data)}" in done.stderr.split("seen below")[1]
    assert not (tmp_path / "out.csv").exists()


def test_a_shorter_file_is_named(tmp_path):
    folder = write_dataset(tmp_path / "input" / "d").parent
    os.truncate(folder / "one.safetensors", 4095)
    assert "one.safetensors: 4095 bytes, expected 4096" in start(tmp_path).stderr


def test_a_wheel_that_is_not_there_is_named(tmp_path):
    write_dataset(tmp_path / "input" / "d", wheels=["tiny-package==1.0", "gone-package==2.0"])
    done = start(tmp_path)
    assert done.returncode == 1
    assert "gone-package==2.0" in done.stderr
    assert "image.toml" in done.stderr


@pytest.mark.parametrize("name", ["../above.py", "/etc/passwd", "a/../../b", "a\\..\\b", "", "."])
def test_no_file_goes_above_the_tree(tmp_path, name):
    with pytest.raises(StartError, match="not below the tree"):
        inside(tmp_path, name)


@pytest.mark.parametrize("where", ["source", "weight"])
def test_a_dataset_that_writes_above_the_tree_does_not_run(tmp_path, where):
    sources = {"inference/kernel.py": KERNEL, **({"../evil.py": "pass"} if where == "source" else {})}
    places = {"one.safetensors": "../../evil"} if where == "weight" else {}
    write_dataset(tmp_path / "input" / "d", sources, places)
    done = start(tmp_path)
    assert done.returncode == 1
    assert "do not run it" in done.stderr
    assert not list(tmp_path.rglob("evil*"))


def test_without_a_dataset_it_says_what_it_saw(tmp_path):
    (tmp_path / "input" / "competition").mkdir(parents=True)
    (tmp_path / "input" / "competition" / "a.mp4").write_bytes(b"123")
    done = start(tmp_path)
    assert done.returncode == 1
    assert "found: none" in done.stderr
    assert "a.mp4: 3" in done.stderr


def test_of_two_datasets_the_one_it_was_built_with_is_taken(tmp_path, monkeypatch):
    first = write_dataset(tmp_path / "first")
    second = write_dataset(tmp_path / "second", note="other")
    with pytest.raises(StartError, match=r"found: .*(first|second).*(first|second)"):
        script.find_manifest(tmp_path)
    monkeypatch.setattr(script, "EXPECTED", script.hashlib.sha256(second.read_bytes()).hexdigest())
    assert script.find_manifest(tmp_path) == second
    shutil.rmtree(second.parent)
    with pytest.raises(StartError, match=f"of this project: {first}"):
        script.find_manifest(tmp_path)


@pytest.mark.parametrize("data", [b"no json", b"[]", b'{"format": 2, "project": "dfdc-ensemble"}', b'{"format": 1}'])
def test_other_peoples_manifests_are_passed_over(data):
    assert not script.is_ours(data)


def test_settings_of_pip_lead_it_nowhere_else(monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", "/somewhere")
    assert "PIP_FIND_LINKS" not in script.without_pip_options()


def test_it_is_short_and_needs_the_standard_library_only():
    text = Path(script.__file__).read_text()
    assert len(text.splitlines()) < 230
    used = {line.split()[1].split(".")[0] for line in text.splitlines() if line.startswith(("import ", "from "))}
    assert used <= sys.stdlib_module_names


@pytest.mark.slow
def test_the_shipped_ensemble_scores_a_clip_as_it_would_there(tmp_path, media, monkeypatch):
    wheel = make_wheel(tmp_path / "cache")
    monkeypatch.setattr("kaggle_dataset.bundle.build.gather", lambda *_: [as_wheel(wheel)])
    built = build(BuildOptions(ROOT / "models" / "weights", "someone"), tmp_path / "build")
    mounted = tmp_path / "input" / "datasets" / "someone" / "dfdc-ensemble"
    shutil.copytree(built.dataset, mounted)
    (mounted / "dataset-metadata.json").unlink()
    videos = tmp_path / "input" / "competitions" / "deepfake-detection-challenge" / "test_videos"
    videos.mkdir(parents=True)
    shutil.copy(media / "single_face.mp4", videos)
    done = start(tmp_path, built.kernel / "start.py", "--frames 2 --budget 1h", timeout=6 * LIMIT)
    assert done.returncode == 0, done.stderr
    name, label = (tmp_path / "out.csv").read_text().splitlines()[1].split(",")
    assert name == "single_face.mp4"
    assert float(label) != 0.5
    # Another version of the dataset: the pushed script refuses it.
    values = json.loads((mounted / "manifest.json").read_text())
    write_manifest(mounted, {entry["name"]: entry["path"] for entry in values["files"]})
    assert f"no manifest {built.id}" in start(tmp_path, built.kernel / "start.py").stderr
