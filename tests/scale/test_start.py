"""The start of a worker: with compiled networks at hand it imports nothing that would only build them."""

import json
import os
import subprocess
import sys

import pytest

from scale.plan import PlanRequest, make_plan
from tests.scale.conftest import plan
from tests.scale.nodes import ROOT

START = """
import json, sys
from scale.worker import UnitWorker, WorkerSetup
UnitWorker(WorkerSetup(sys.argv[1], sys.argv[2], "cpu", threads=1))
print(json.dumps(sorted(set(sys.argv[3:]) & set(sys.modules))))
"""
HEAVY = ["torch", "timm", "torchvision", "pandas", "sklearn", "facenet_pytorch", "optuna", "matplotlib"]


def start(store, members, cache):
    env = os.environ | {"DFDC_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", START, str(store), str(members), *HEAVY]
    run = subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=600)
    return json.loads(run.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["predict", "extract"])
def test_the_second_worker_of_a_machine_imports_nothing_heavy(task, videos, part, members, tmp_path):
    if task == "predict":
        plan(videos, tmp_path / "store", members)
    else:
        make_plan(PlanRequest(str(part), str(tmp_path / "store"), "extract"))
    first = start(tmp_path / "store", members, tmp_path / "cache")
    assert "torch" in first and list((tmp_path / "cache").glob("*.graph"))
    assert start(tmp_path / "store", members, tmp_path / "cache") == []
