"""Pushing a kernel with the real client: sent once, its session watched, its output fetched."""

import json

import pytest

from common.errors import DfdcError
from kaggle_dataset.submit.faults import Refused
from kaggle_dataset.submit.push import last_push, push
from tests.kaggle_dataset.kernels import OUTPUT, QUICK, REF, write_kernel

pytestmark = pytest.mark.slow


def test_push_wait_fetch(desk):
    desk.set(kernel_script=("QUEUED", "RUNNING", "COMPLETE"))
    desk.output.mkdir()
    (desk.output / "submission.csv").write_text("an older one\n")
    (desk.output / ".fetch-killed").mkdir()
    told = []
    pushed = desk.push(say=told.append)
    assert (pushed.ref, pushed.version, pushed.url) == (REF, 1, f"https://www.kaggle.com/code/{REF}")
    assert pushed.submission.read_bytes() == OUTPUT
    assert sorted(p.name for p in desk.output.iterdir()) == ["dfdc-ensemble.log", "submission.csv"]
    name = f"{REF} version 1"
    news = [f"{name}: pushed, https://www.kaggle.com/code/{REF}", f"{name}: QUEUED", f"{name}: RUNNING"]
    assert [line.split(" ", 1)[1] for line in told] == news
    assert last_push(desk.kernel) == (REF, 1)
    sent = desk.service.kernels[REF]["versions"][0]
    assert sent["text"] == "print('predicting')\n"
    assert not sent.get("enableInternet")


def test_the_same_content_is_pushed_once_and_other_content_anew(desk):
    desk.push()
    assert desk.push().version == 1
    assert desk.push(anew=True).version == 2
    (desk.kernel / "start.py").write_text("print('other')\n")
    with pytest.raises(ValueError, match="has not run on Kaggle to its end with this content"):
        last_push(desk.kernel)
    assert desk.push().version == 3


def test_another_build_has_been_pushed_since(desk, tmp_path):
    desk.push()
    other = write_kernel(tmp_path / "other" / "kernel")
    (other / "start.py").write_text("print('other')\n")
    push(other, tmp_path / "elsewhere", desk.kaggle, **QUICK)
    with pytest.raises(DfdcError, match=f"{REF} has another script by now than version 1, .*--anew"):
        desk.push()


def test_a_dry_run_asks_nothing(desk):
    told = []
    assert desk.push(dry_run=True, say=told.append).version == 0
    assert told == [
        f"would push {desk.kernel} as {REF}, wait for its session and put its submission into {desk.output}"
    ]
    assert not desk.service.log
    assert not desk.output.exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"enable_internet": True}, "enable_internet must be false"),
        ({"enable_internet": "false"}, "enable_internet must be false"),
        ({"model_sources": ["a/b/pyTorch/c/1"]}, r"model_sources \['a/b/pyTorch/c/1'\] cannot be verified"),
        ({"id": "dfdc"}, "id 'dfdc' is not owner/slug"),
        ({"code_file": "gone.py"}, r"gone\.py is not there"),
        ({"kernel_type": "notebook"}, "kernel_type is 'notebook'"),
    ],
)
def test_metadata_that_must_not_be_pushed(tmp_path, changes, says):
    kernel = write_kernel(tmp_path / "kernel", **changes)
    with pytest.raises(ValueError, match=says):
        push(kernel, tmp_path / "output", None, dry_run=True)


@pytest.mark.parametrize("kind", ["dataset", "competition"])
def test_sources_that_are_not_attached(desk, kind):
    kernel = desk.kernel / "kernel-metadata.json"
    kernel.write_text(json.dumps({**json.loads(kernel.read_text()), "dataset_sources": ["alice/data-set"]}))
    desk.service.datasets["alice/data-set"] = {}
    source = {"dataset": "alice/data-set", "competition": "deepfake-detection-challenge"}[kind]
    desk.set(invalid_sources=(source,))
    with pytest.raises(Refused, match=rf"made version 1 of {REF} without its {kind} sources \['{source}'\]: check"):
        desk.push()
    assert not desk.output.exists()
    desk.set(invalid_sources=())
    assert desk.push().version == 2


def test_at_the_deadline_it_says_how_to_go_on(desk):
    desk.set(kernel_script=("RUNNING", "COMPLETE"))
    for news in ("pushed, https", "RUNNING; the same command goes on waiting"):
        with pytest.raises(DfdcError, match=rf"the output of .* the last news: {REF} version 1: {news}"):
            desk.push(deadline=0)
    assert desk.push().version == 1
