"""Ctrl-C while a command is at work: one line, exit code 130, and the same command goes on with what is noted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from kaggle_dataset.submit.ledger import read_ledger
from kaggle_dataset.submit.push import push
from tests.kaggle_dataset.conftest import blended
from tests.kaggle_dataset.fake_kaggle import fake_kaggle
from tests.kaggle_dataset.kernels import OUTPUT, QUICK, write_kernel, write_manifest
from tests.kaggle_dataset.staging import dataset
from tests.scale.conftest import plan, videos
from tests.train.data.test_dataset import make_faces

__all__ = ["blended", "dataset", "fake_kaggle", "videos"]  # fixtures of other rooms
pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
# Runs a command, and sends the process a real SIGINT when it calls a function for the n-th time. The first argument
# names it, "module:Class.function", the second is n.
HARNESS = """
import importlib, os, signal, sys
where, count = sys.argv[1], int(sys.argv[2])
sys.argv = ["dfdc", *sys.argv[3:]]
module, _, path = where.partition(":")
*parents, name = path.split(".")

def watch():
    holder = importlib.import_module(module)
    for parent in parents:
        holder = getattr(holder, parent)
    original, calls = getattr(holder, name), iter(range(1, 10**9))

    def called(*arguments, **options):
        if next(calls) == count:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments, **options)

    setattr(holder, name, called)

import dfdc
if count:
    watch()
dfdc.main()
"""


def stopped(folder: Path, where: str, count: int, *arguments: object, **environment: str) -> tuple[int, str]:
    """Run a command in `folder`, stopped at the `count`-th call of `where` (0: never); its exit code and last line."""
    done = subprocess.run(
        [sys.executable, "-c", HARNESS, where, str(count), *map(str, arguments)],
        env=os.environ | environment | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
        cwd=folder, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr.splitlines()[-1]


def interrupted(fake, folder: Path, sign: str, *arguments: str) -> tuple[int, list[str]]:
    """Start a command, send SIGINT when it says `sign`, and return its exit code and what it says from then on."""
    with subprocess.Popen(
        [sys.executable, ROOT / "dfdc.py", *arguments],
        env=fake.environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if sign in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read().splitlines()
        return process.wait(), rest


def test_submit_that_waits_for_its_score(fake_kaggle, tmp_path):
    fake_kaggle.set(kernel_script=("COMPLETE",), submission_polls=10**6)
    fake_kaggle.service.outputs = {"submission.csv": OUTPUT}
    kernel = write_kernel(tmp_path / "build" / "one" / "kernel")
    write_manifest(tmp_path / "build" / "one" / "dataset")
    push(kernel, tmp_path / "output", fake_kaggle.kaggle, **QUICK)
    code, said = interrupted(fake_kaggle, tmp_path, "pending", "submit", "--yes", "build/one")
    assert code == 130
    (line,) = said
    assert line.startswith(
        "dfdc: stopped; what was done is noted in build/state and submissions.csv. To go on: dfdc submit"
    )
    (entry,) = read_ledger(tmp_path / "submissions.csv")
    assert entry.status == "pending"
    fake_kaggle.set(submission_polls=0)
    fake_kaggle.service.submissions[0]["polls"] = 0
    again = subprocess.run(
        [sys.executable, ROOT / "dfdc.py", "submit", "--yes", "build/one"],
        env=fake_kaggle.environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert len(fake_kaggle.service.submissions) == 1, "it is sent once"


def test_push_that_waits_for_its_session(fake_kaggle, tmp_path):
    fake_kaggle.set(kernel_script=("RUNNING",))
    write_kernel(tmp_path / "build" / "one" / "kernel")
    write_manifest(tmp_path / "build" / "one" / "dataset")
    code, said = interrupted(fake_kaggle, tmp_path, ": pushed,", "push", "build/one")
    assert code == 130
    assert [line.split(" To go on")[0] for line in said] == ["dfdc: stopped; what was done is noted in build/state."]


SMALL = ("batch=4", "epochs=2", "small_epochs=0", "size=32", "start=scratch", "val_share=0.3")
UPDATE = "train.loop:Trainer._update"


def test_train_in_the_middle_of_an_epoch(tmp_path):
    make_faces(tmp_path / "crops").to_csv(tmp_path / "labels.csv", index=False)
    options = [part for each in SMALL for part in ("--set", each)]
    command = ("train", "lite0_tight", "--crops", "crops", "--labels", "labels.csv", "-o", "run", "--workers", 0)
    code, line = stopped(tmp_path, UPDATE, 3, *command, *options)
    assert code == 130
    assert line.startswith("dfdc: stopped at step 3 of ") and "; run the same command to go on" in line
    assert (tmp_path / "run" / "last.pt").exists() and not list(tmp_path.rglob("*.safetensors"))
    code, line = stopped(tmp_path, UPDATE, 0, *command, *options)
    assert code == 0, line
    assert (tmp_path / "run" / "lite0_tight.safetensors").exists()


def test_kfold_in_its_second_fold(tmp_path):
    table = make_faces(tmp_path / "crops").drop(columns="split")
    table.assign(fold=[row // 3 % 2 for row in range(len(table))]).to_csv(tmp_path / "folds.csv", index=False)
    options = [part for each in SMALL for part in ("--set", each)]
    command = ("kfold", "lite0_tight", "--crops", "crops", "--labels", "folds.csv", "-o", "runs", "--workers", 0)
    code, line = stopped(tmp_path, UPDATE, 2 * 6 + 2, *command, *options)
    assert code == 130, line
    assert line.startswith("dfdc: ") and "fold 1" in line and "run the same command to go on" in line
    first = tmp_path / "runs" / "0" / "lite0_tight.safetensors"
    before = first.stat().st_mtime_ns
    code, line = stopped(tmp_path, UPDATE, 0, *command, *options)
    assert code == 0, line
    assert first.stat().st_mtime_ns == before, "a finished fold stays"
    assert (tmp_path / "runs" / "1" / "lite0_tight.safetensors").exists()


def test_merge_leaves_no_half_of_a_submission(tmp_path, videos, members):
    plan(videos, tmp_path / "store", members)
    assert stopped(tmp_path, "scale.merge:merge", 0, "run-units", "store", "--members", members)[0] == 0
    code, line = stopped(tmp_path, "scale.store:Store.read", 2, "merge", "store", "-o", "s.csv")
    assert (code, line) == (130, "dfdc: stopped; nothing is kept. To begin again: dfdc merge store -o s.csv")
    assert not (tmp_path / "s.csv").exists() and not list(tmp_path.glob("dfdc-merge-*"))
    again = stopped(tmp_path, "scale.merge:merge", 0, "merge", "store", "-o", "s.csv")
    assert again[0] == 3, "one of the five is broken, which is more than --max-fallback"
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 1 + 5


def test_dry_run_ends_its_kernel_and_clears_its_folders(tmp_path):
    built = tmp_path / "build" / "0123456789abcdef"
    write_manifest(built / "dataset", clip=[0.02, 0.97])
    values = json.loads((built / "dataset" / "manifest.json").read_text())
    (built / "dataset" / "manifest.json").write_text(json.dumps(values | {"wheels": []}))
    (built / "dataset" / "dataset-metadata.json").write_text(json.dumps({"id": "alice/dfdc-ensemble"}))
    kernel = write_kernel(built / "kernel", dataset_sources=["alice/dfdc-ensemble"])
    mark = f"wait-for-{tmp_path.name}"
    (kernel / "start.py").write_text(f"import signal\nkept = {mark!r}\nwhile True:\n    signal.pause()\n")
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").write_bytes(b"not looked at")
    looks = "kaggle_dataset.dry_run.resource_monitor:ResourceMonitor.look_at_memory"
    code, line = stopped(tmp_path, looks, 3, "dry-run", built, "--videos", "clips")
    assert code == 130, line
    assert line == f"dfdc: stopped; nothing is kept. To begin again: dfdc dry-run {built} --videos clips"
    assert {path.name for path in tmp_path.iterdir()} == {"build", "clips"}
    running = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in running if str(tmp_path) in " ".join(command)], "its kernel has ended"


def test_upload_that_waits_for_its_version(fake_kaggle, tmp_path, dataset):
    fake_kaggle.set(dataset_polls=10**6)
    code, said = interrupted(fake_kaggle, tmp_path, "sending", "upload", str(dataset.parent))
    assert code == 130
    assert said[-1].startswith(f"dfdc: stopped; what was done is noted in {dataset.parent.parent / 'state'}. To go on:")


def test_ship_in_its_build(fake_kaggle, tmp_path, blended):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").touch()
    command = ("ship", "--owner", fake_kaggle.service.user, "--members", blended, "--videos", "clips", "--yes",
               "--competition", "one-that-is-open")  # fmt: skip
    code, line = stopped(tmp_path, "kaggle_dataset.bundle.build:gather", 1, *command, **fake_kaggle.environment)
    assert (code, line.split(" To go on: ")[0]) == (130, "dfdc: stopped; the steps that are done are in build.")
    assert not [path for path in (tmp_path / "build").rglob("*") if path.is_file()], "no half of a bundle"
    assert fake_kaggle.service.datasets == {}
