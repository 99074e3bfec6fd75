"""What is packed, that it is the same each time, and that what is inside is what the kernel accepts."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from common.errors import DfdcError
from common.files import sha256_of, write_text
from ensemble.blend import Blend
from inference.blends import load_blend
from kaggle_dataset.bundle.build import ROOT, build, source_tree
from kaggle_dataset.bundle.members import stage_members
from kaggle_dataset.bundle.options import Address, BuildOptions
from models.checkpoint import find_cards, load_member, read_card
from tests.waiting import LIMIT


def contents(folder):
    return {p.relative_to(folder).as_posix(): sha256_of(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def as_float32(source, target):
    """The members as a training would leave them that does not compress: in float32, cards and blend telling so."""
    target.mkdir()
    cards = {}
    for card in find_cards(source):
        path = target / f"{card.name}.safetensors"
        save_file({key: v.float() if v.is_floating_point() else v for key, v in
                   load_file(source / path.name).items()}, path)  # fmt: skip
        cards[card.name] = replace(card, sha256=sha256_of(path), bytes=path.stat().st_size, dtype="float32")
        write_text(target / f"{card.name}.json", cards[card.name].to_json())
    hashes = {name: card.sha256 for name, card in cards.items()}
    replace(Blend.read(source / "blend.json"), sha256=hashes).write(target / "blend.json")
    return target


def test_a_build_is_complete_and_named_after_its_manifest(tmp_path, blended, tiny):
    built = build(BuildOptions(blended, "someone"), tmp_path / "build")
    data = (built.dataset / "manifest.json").read_bytes()
    assert built.dataset == tmp_path / "build" / hashlib.sha256(data).hexdigest()[:16] / "dataset"
    assert built.fresh
    assert built.manifest == json.loads(data)
    assert sorted(path.name for path in built.dataset.iterdir()) == sorted(
        ["manifest.json", "dataset-metadata.json", *(entry["name"] for entry in built.manifest["files"])]
    )
    for entry in built.manifest["files"]:
        path = built.dataset / entry["name"]
        assert (path.stat().st_size, sha256_of(path)) == (entry["bytes"], entry["sha256"])
    places = {entry["path"] for entry in built.manifest["files"]}
    assert {f"models/weights/{name}" for name in ("first.safetensors", "first.json", "blend.json")} <= places
    assert {"faces/weights/blazeface_back.safetensors", "wheels/tiny_package-1.0-py3-none-any.whl", ""} <= places
    assert built.manifest["wheels"] == ["tiny-package==1.0"]
    assert built.manifest["blend"]["members"] == ["first", "second"]
    assert all(not p.stat().st_mode & 0o222 for p in built.dataset.parent.glob("*/*"))
    assert [p.name for p in (tmp_path / "build").iterdir()] == [built.id], "something is left behind"


def test_the_kernel_is_offline_private_and_knows_its_manifest(tmp_path, blended, tiny):
    built = build(BuildOptions(blended, "someone", "my-dfdc-try", others={"someone/more-data": 5}), tmp_path / "build")
    values = json.loads((built.kernel / "kernel-metadata.json").read_text())
    assert values["enable_internet"] is False
    assert (values["is_private"], values["enable_gpu"], values["machine_shape"]) == (True, True, "NvidiaTeslaT4")
    assert values["dataset_sources"] == ["someone/my-dfdc-try", "someone/more-data"]
    assert values["competition_sources"] == ["deepfake-detection-challenge"]
    assert values["code_file"] == "start.py"
    sha256 = sha256_of(built.dataset / "manifest.json")
    assert f'\nEXPECTED = "{sha256}"' in (built.kernel / "start.py").read_text()
    metadata = json.loads((built.dataset / "dataset-metadata.json").read_text())
    assert metadata == {"id": "someone/my-dfdc-try", "title": "my dfdc try", "licenses": [{"name": "apache-2.0"}]}


TWICE = """import sys, time
from pathlib import Path
import kaggle_dataset.bundle.build as module
from kaggle_dataset.bundle.options import BuildOptions
from tests.kaggle_dataset.wheels import as_wheel
module.gather = lambda *_: [as_wheel(Path(sys.argv[3]))]
time.time = lambda: 1e9
print(module.build(BuildOptions(Path(sys.argv[1]), "someone"), Path(sys.argv[2])).id)
"""


@pytest.mark.slow
def test_built_twice_it_has_the_same_bytes(tmp_path, blended, tiny):
    first = build(BuildOptions(blended, "someone"), tmp_path / "a")
    wheel = tmp_path / "cache" / "tiny_package-1.0-py3-none-any.whl"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-c", TWICE, str(blended), str(tmp_path / "b"), str(wheel)],
        cwd="/", env=environment, capture_output=True, text=True, check=True, timeout=LIMIT, umask=0o077,
    )  # fmt: skip
    assert done.stdout.strip() == first.id
    assert contents(first.dataset.parent) == contents(tmp_path / "b" / first.id)


def test_the_same_content_again_is_left_as_it_is(tmp_path, blended, tiny):
    first = build(BuildOptions(blended, "someone"), tmp_path / "build")
    before = {path: path.stat().st_mtime_ns for path in first.dataset.iterdir()}
    again = build(BuildOptions(blended, "someone"), tmp_path / "build")
    assert (again.id, again.fresh) == (first.id, False)
    assert {path: path.stat().st_mtime_ns for path in again.dataset.iterdir()} == before
    assert build(BuildOptions(blended, "another"), tmp_path / "build").id != first.id
    card = first.dataset / "first.json"
    card.chmod(0o644)
    card.write_text("{}")
    with pytest.raises(DfdcError, match="was changed after it was built"):
        build(BuildOptions(blended, "someone"), tmp_path / "build")


@pytest.mark.slow
def test_members_in_float32_are_halved_and_their_drift_is_measured(tmp_path, blended, media, tiny, monkeypatch):
    monkeypatch.setattr("kaggle_dataset.bundle.members.DRIFT_FRAMES", 2)
    source = as_float32(blended, tmp_path / "f32")
    with pytest.raises(ValueError, match="first, second would be stored in fp16: give videos"):
        build(BuildOptions(source, "someone"), tmp_path / "build")
    assert list((tmp_path / "build").iterdir()) == []
    built = build(BuildOptions(source, "someone", videos=[media / "single_face.mp4"]), tmp_path / "build")
    assert built.converted == ("first", "second")
    assert built.drift.keys() == {"first", "second", "blend"}
    assert all(0 <= value < 0.001 for value in built.drift.values()), built.drift
    tree = built.dataset
    load_blend(tree)  # checks the members' hashes against the blend's
    for name in built.converted:
        card = read_card(tree / f"{name}.json")
        assert (
            card.bytes == (tree / f"{name}.safetensors").stat().st_size < 0.6 * read_card(source / f"{name}.json").bytes
        )
        assert card.dtype.startswith("float16")
        load_member(card, tree)
        state = load_file(tree / f"{name}.safetensors")
        assert {str(v.dtype) for key, v in state.items() if v.ndim == 1} == {"torch.float32"}


def test_what_moves_too_far_in_fp16_is_refused(tmp_path, blended, tiny, monkeypatch):
    source = as_float32(blended, tmp_path / "f32")
    monkeypatch.setattr(
        "kaggle_dataset.bundle.build.measure_drift", lambda *_: {"first": 0.002, "second": float("nan")}
    )
    with pytest.raises(DfdcError, match=r"more than 0\.01: second by nan;"):
        build(BuildOptions(source, "someone", videos=[Path("x.mp4")]), tmp_path / "build")
    assert list((tmp_path / "build").iterdir()) == []


def test_stored_members_stay_as_they_are(tmp_path, blended):
    blend, changed = stage_members(blended, tmp_path)
    assert changed == []
    assert blend.members == ("first", "second")
    assert contents(tmp_path) == contents(blended)


def test_only_members_of_the_blend_are_sent(tmp_path, blended):
    only = tmp_path / "only.json"
    Blend.equal(["second"]).write(only)
    stage_members(blended, tmp_path / "out", only)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "blend.json",
        "second.json",
        "second.safetensors",
    ]


def test_without_a_blend_equal_weights_are_written(tmp_path, members):
    stage_members(members, tmp_path / "out")
    assert load_blend(tmp_path / "out").sha256.keys() == {"first", "second"}


def test_a_damaged_member_is_refused(tmp_path, blended):
    shutil.copytree(blended, tmp_path / "bad")
    with (tmp_path / "bad" / "first.safetensors").open("r+b") as handle:
        handle.seek(5000)
        handle.write(b"x")
    with pytest.raises(DfdcError, match=r"first\.safetensors is not what its card says"):
        stage_members(tmp_path / "bad", tmp_path / "out")


def test_what_the_gate_refuses_is_not_left_behind(tmp_path, blended, tiny):
    with pytest.raises(DfdcError, match="must not be sent"):
        build(BuildOptions(blended, "someone", others={"someone/else": 999_999_999}), tmp_path / "build")
    assert list((tmp_path / "build").iterdir()) == []


def test_a_member_called_like_another_file_is_refused(tmp_path, tiny, blended, monkeypatch):
    (tmp_path / "root" / "faces" / "weights").mkdir(parents=True)
    shutil.copy(blended / "first.safetensors", tmp_path / "root" / "faces" / "weights" / "First.safetensors")
    monkeypatch.setattr("kaggle_dataset.bundle.build.ROOT", tmp_path / "root")
    with pytest.raises(DfdcError, match=r"(?i)first\.safetensors and first\.safetensors have one name"):
        build(BuildOptions(blended, "someone"), tmp_path / "build")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"owner": ""}, "the owner is"),
        ({"slug": "Dfdc_Ensemble"}, "the slug is"),
        ({"slug": "a" * 44}, "leave room for -kernel"),
        ({"title": "Something else"}, "would make the slug"),
        ({"license": "MIT"}, "the license is 'MIT'"),
    ],
)
def test_addresses_that_kaggle_would_not_take(changes, says):
    with pytest.raises(ValueError, match=says):
        Address(**{"owner": "someone", **changes})


def test_the_source_tree_is_what_the_kernel_runs_and_no_more():
    tree = source_tree()
    assert {"dfdc.py", "cli/train.py", "inference/kernel.py", "LICENSE"} <= tree.keys()
    # A page that cannot find its template would end the run that it reports on.
    pages = {"common/html/base.html.j2", "common/html/style.css", "common/html/table.js", "ensemble/report.html.j2"}
    assert pages | {"inference/report/page.html.j2", "inference/report/video.html.j2"} <= tree.keys()
    assert not [path for path in tree if path.startswith(("train/", "tests/", "kaggle_dataset/", "benchmarks/"))]
    assert list(tree) == sorted(tree, key=Path)
