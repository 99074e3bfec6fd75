"""The checks of a dataset at their limits, and everything that they must refuse."""

import ast
import functools
import importlib
import importlib.util
import json
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import DfdcError
from kaggle_dataset.bundle.checks import (
    DATASET_METADATA,
    LIMIT_BYTES,
    LIMIT_FILES,
    check_dataset,
    metadata_problems,
    name_problems,
    slugify,
)
from tests.kaggle_dataset.wheels import make_wheel, write_manifest, write_safetensors

GOOD = {"id": "someone/dfdc-ensemble", "title": "dfdc ensemble", "licenses": [{"name": "apache-2.0"}]}


def fill(folder, size=5000, members=("one",), ladder=()):
    """A dataset of members of `size` bytes and a blend."""
    for name in members:
        write_safetensors(folder / f"{name}.safetensors", size)
    blend = {"members": {name: {} for name in members}, "expected_log_loss": {"value": 0.4}, "ladder": list(ladder)}
    (folder / "blend.json").write_text(json.dumps(blend))
    (folder / DATASET_METADATA).write_text(json.dumps(GOOD))
    write_manifest(folder)
    return folder


def to_total(folder, total):
    """Make the weight as large as it takes for the dataset to have `total` bytes; sparse, so it takes no room."""
    weight = folder / "one.safetensors"
    for _ in range(2):  # the manifest tells the size, and may grow by a digit
        rest = sum(p.stat().st_size for p in folder.iterdir() if p not in (weight, folder / DATASET_METADATA))
        write_safetensors(weight, total - rest)
        write_manifest(folder)
    return check_dataset(folder)


def test_a_good_dataset_passes_and_is_told_by_bytes(tmp_path):
    report = check_dataset(fill(tmp_path)).refuse()
    assert report.problems == ()
    assert report.total == sum(p.stat().st_size for p in tmp_path.iterdir() if p.name != DATASET_METADATA)
    assert DATASET_METADATA not in report.files
    text = report.render()
    assert "5,000  member    one.safetensors" in text
    assert f"in 3 files of {LIMIT_FILES}" in text
    assert "REFUSED" not in text


def test_at_the_limit_it_passes_and_one_byte_more_is_refused(tmp_path):
    folder = fill(tmp_path)
    report = to_total(folder, LIMIT_BYTES)
    assert (report.total, report.left, report.problems) == (LIMIT_BYTES, 0, ())
    with pytest.raises(DfdcError, match=r"1,000,000,001 bytes are attached, 1 more than the 1,000,000,000 allowed"):
        to_total(folder, LIMIT_BYTES + 1).refuse()


def test_other_attached_data_counts(tmp_path):
    folder = fill(tmp_path)
    total = check_dataset(folder).total
    assert not check_dataset(folder, {"someone/else": LIMIT_BYTES - total}).problems
    assert "1 more than" in check_dataset(folder, {"someone/else": LIMIT_BYTES - total + 1}).problems[0]


def test_what_to_drop_first_is_openvino_then_down_the_ladder(tmp_path):
    ladder = [{"weights": {"one": 0.5, "two": 0.5}, "log_loss": 0.41}, {"weights": {"two": 1.0}, "log_loss": 0.45}]
    folder = fill(tmp_path, 500_000_000, ("one", "two", "three"), ladder)
    wheel = make_wheel(folder, "openvino", "1.0")
    wheel.rename(folder / f"{wheel.name}.bin")
    write_manifest(folder)
    report = check_dataset(folder)
    assert [drop.split(": ")[1].split(",")[0].split(";")[0] for drop in report.drops] == [
        "OpenVINO",
        "member three",
        "member one",
    ]
    assert "expected log loss 0.4000 -> 0.4100" in report.drops[1]
    with pytest.raises(DfdcError, match=r"(?s)drop first:.*OpenVINO.*member three.*member one"):
        report.refuse()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (".DS_Store", "dotfile"),
        ("weights.zip", "archive"),
        ("weights.tar.gz", "archive"),
        ("weights.7z", "archive"),
        ("weights.pth.tar", "archive"),
        ("av-18.1.0-py3-none-any.whl", "archive"),
        ("member.pt", "may hold a pickle"),
        ("member.PTH", "may hold a pickle"),
        ("member.pkl", "may hold a pickle"),
        ("member.bin", "may hold a pickle"),
        ("a name.json", "letters, digits"),
        ("notes.txt", "nothing here reads it"),
    ],
)
def test_names_that_are_refused(tmp_path, name, says):
    folder = fill(tmp_path)
    (folder / name).write_bytes(b"{}")
    write_manifest(folder)
    (problem,) = check_dataset(folder).problems
    assert name in problem
    assert says in problem


def test_names_that_clash():
    assert name_problems(["a.json", "b.json", "av-1.whl.bin"]) == []
    assert name_problems(["a.json", "a.json"]) == ["two files are called a.json; rename one"]
    for pair in (["one.safetensors", "One.safetensors"], ["One.safetensors", "ONE.safetensors"]):
        assert "case does not count" in name_problems(pair)[0]


def test_links_and_folders_are_refused(tmp_path):
    folder = fill(tmp_path)
    write_safetensors(tmp_path.parent / "elsewhere.safetensors", 300)
    (folder / "two.safetensors").symlink_to(tmp_path.parent / "elsewhere.safetensors")
    (folder / "weights.json").mkdir()
    problems = " | ".join(check_dataset(folder).problems)
    assert "two.safetensors is a link" in problems
    assert "weights.json is a folder" in problems


def test_a_link_to_nowhere_is_a_problem_and_no_crash(tmp_path):
    folder = fill(tmp_path)
    (folder / "two.safetensors").symlink_to("/nowhere")
    assert "two.safetensors is a link" in " ".join(check_dataset(folder).problems)


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/ran",)


def test_a_pickle_with_code_is_refused_whatever_it_is_called(tmp_path):
    folder = fill(tmp_path)
    (folder / "one.safetensors").write_bytes(pickle.dumps(Evil()))
    write_manifest(folder)
    with pytest.raises(DfdcError, match=r"one\.safetensors is no safetensors file .*it may run code"):
        check_dataset(folder).refuse()


def test_a_weight_that_was_cut_is_refused(tmp_path):
    folder = fill(tmp_path)
    os.truncate(folder / "one.safetensors", 4999)
    problems = " ".join(check_dataset(folder).problems)
    assert "one.safetensors is no safetensors file" in problems
    assert "has 4999 bytes, manifest.json says 5000" in problems


def test_what_is_no_wheel_and_no_json_is_refused(tmp_path):
    folder = fill(tmp_path)
    (folder / "av-1.0.whl.bin").write_bytes(b"no zip")
    (folder / "card.json").write_text("{")
    write_manifest(folder)
    assert check_dataset(folder).problems == ("av-1.0.whl.bin is no wheel", "card.json is no JSON")


def test_fifty_files_pass_and_one_more_does_not(tmp_path):
    folder = fill(tmp_path)
    for number in range(LIMIT_FILES - 3):
        (folder / f"card{number}.json").write_text("{}")
    write_manifest(folder)
    assert check_dataset(folder).problems == ()
    (folder / "card.json").write_text("{}")
    write_manifest(folder)
    assert check_dataset(folder).problems == ("51 files at the top level, Kaggle takes 50",)


def test_the_folder_and_its_manifest_must_agree(tmp_path):
    folder = fill(tmp_path)
    (folder / "more.json").write_text("{}")
    (folder / "one.safetensors").unlink()
    assert check_dataset(folder).problems == (
        "more.json is not in manifest.json; remove it",
        "one.safetensors is missing; build the dataset again",
    )
    (folder / "manifest.json").unlink()
    assert "lists no files" in check_dataset(folder).problems[0]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id": "dfdc-ensemble"}, "the slug is ''"),
        ({"id": "/dfdc-ensemble"}, "the owner is ''"),
        ({"id": "someone/dfdc"}, "the slug is 'dfdc'"),
        ({"id": "someone/dfdc--ensemble"}, "single dashes"),
        ({"id": "someone/Dfdc-ensemble"}, "the slug is 'Dfdc-ensemble'"),
        ({"id": "someone/" + "a" * 51, "title": "a" * 51}, "51 characters"),
        ({"title": "dfdc"}, "4 characters"),
        ({"title": "Another title"}, "would make the slug 'another-title'"),
        ({"licenses": []}, "the license is"),
        ({"licenses": [{"name": "Apache 2.0"}]}, "the license is"),
        ({"licenses": [{"name": "other"}, {"name": "other"}]}, "the license is"),
        ({"licenses": "other"}, "the license is"),
    ],
)
def test_metadata_that_kaggle_would_refuse(changes, says):
    assert metadata_problems(GOOD) == []
    assert says in " | ".join(metadata_problems({**GOOD, **changes}))


def test_a_title_may_have_its_own_spelling():
    assert metadata_problems({**GOOD, "title": "DFDC: Ensemble!"}) == []
    assert slugify("  DFDC -- Ensemble, 2nd ") == "dfdc-ensemble-2nd"
    assert slugify("Détecteur à vérifier, Straße") == "detecteur-a-verifier-strasse"


@functools.cache
def function_of_the_client():
    """What Kaggle's client calls slugify, found in its source: importing the client signs in."""
    spec = importlib.util.find_spec("kaggle")
    assert spec is not None and spec.submodule_search_locations
    source = (Path(spec.submodule_search_locations[0]) / "api" / "kaggle_api_extended.py").read_text(encoding="utf-8")
    [module] = [
        node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and any((name.asname or name.name) == "slugify" for name in node.names)
    ]
    return importlib.import_module(module).slugify


@given(st.text(max_size=60) | st.text(alphabet="éèüßñçøłšžİı œæ-_'&.0aZ", max_size=60))
def test_a_slug_is_that_of_kaggles_client(title):
    assert slugify(title) == function_of_the_client()(title)
