"""What Kaggle does wrong while a kernel is pushed, and what is left behind by it."""

import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import DfdcError
from kaggle_dataset.submit.faults import Refused
from kaggle_dataset.submit.kaggle_client import NotSignedIn
from kaggle_dataset.submit.push import STATE
from tests.kaggle_dataset.kernels import REF
from tests.waiting import LIMIT, StoppedClock

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


def test_refused_with_exit_code_0(desk):
    desk.fault("SaveKernel", status=200, body={"error": "Maximum batch GPU session count of 2 reached."})
    with pytest.raises(Refused, match=r"did not take .*Maximum batch GPU session count of 2 reached\.; no version was"):
        desk.push()
    assert not (desk.kernel.parent / STATE).exists()
    assert desk.push().version == 1


def test_faults_that_pass_are_outlasted(desk):
    desk.fault("GetKernelSessionStatus", status=500)
    desk.fault("GetKernelSessionStatus", status=429, headers={"Retry-After": "1"})
    desk.fault("GetKernelSessionStatus", status=502, body="<html>Bad Gateway</html>")
    desk.fault("GetKernelSessionStatus", drop=True)
    desk.fault("ListKernelSessionOutput", status=503)
    told = []
    desk.push(say=told.append)
    problems = [line.split("does not answer: ")[1] for line in told if "does not answer" in line]
    assert problems[:2] == ["injected 500", "injected 429"]
    assert problems[2].startswith("502 Server Error")
    assert "Max retries exceeded" in problems[3]
    assert problems[4] == "injected 503"
    assert desk.pushes() == 1


def test_a_look_that_stalls_is_repeated(desk, monkeypatch):
    monkeypatch.setattr("kaggle_dataset.submit.polling.CALL", 3.0)
    fault, told = desk.fault("GetKernelSessionStatus", delay=LIMIT, drop=True), []
    ended = lambda: any("does not answer" in line for line in told)  # noqa: E731
    monkeypatch.setattr("kaggle_dataset.submit.kaggle_client.time", StoppedClock(fault.begun.is_set, ended))
    desk.push(say=told.append)
    assert any("does not answer: kaggle kernels status" in line and "was not done after 3 s" in line for line in told)


@pytest.mark.parametrize("status", [401, 404])
def test_faults_that_stay_end_it_at_once(desk, status):
    desk.fault("GetKernelSessionStatus", status=status, times=-1)
    with pytest.raises(Refused, match=r"kaggle kernels status: .*(was denied|injected 404).*; check that the name"):
        desk.push()
    assert len(desk.asked("GetKernelSessionStatus")) == 1
    desk.service.faults.clear()
    assert desk.push().version == 1


def test_credentials_that_are_not_accepted_push_nothing(desk):
    desk.service.token = "another"  # noqa: S105
    with pytest.raises(NotSignedIn, match="KAGGLE_API_TOKEN"):
        desk.push()
    assert not desk.pushes()
    assert not (desk.kernel.parent / STATE).exists()


def test_a_push_that_stalls_did_not_arrive(desk, monkeypatch):
    monkeypatch.setattr("kaggle_dataset.submit.push.CALL", 2.0)
    fault = desk.fault("SaveKernel", delay=LIMIT, drop=True)
    monkeypatch.setattr("kaggle_dataset.submit.kaggle_client.time", StoppedClock(fault.begun.is_set))
    with pytest.raises(DfdcError, match=r"did not arrive: kaggle kernels push .* was not done after .*same command"):
        desk.push()
    monkeypatch.setattr("kaggle_dataset.submit.push.CALL", LIMIT)
    assert desk.state()["phase"] == "sending"
    assert desk.push().version == 1


@pytest.mark.parametrize("fault", [{"status": 500}, {"drop": True}])
def test_a_push_whose_answer_is_lost_is_not_repeated(desk, fault):
    desk.fault("SaveKernel", after=True, **fault)
    for _ in range(2):
        with pytest.raises(DfdcError, match=rf"latest version of {REF}, but its number is not known .*--adopt NUMBER"):
            desk.push()
    assert desk.pushes() == 1
    assert desk.push(adopt=1).version == 1
    assert desk.pushes() == 1


def test_a_version_with_another_script_is_not_adopted(desk):
    desk.push()
    (desk.kernel / "start.py").write_text("print('other')\n")
    with pytest.raises(ValueError, match=f"the latest version of {REF} has another script"):
        desk.push(adopt=1)


def test_a_state_that_is_damaged_pushes_nothing(desk):
    (desk.kernel.parent / STATE).write_text('{"content": "x')
    with pytest.raises(DfdcError, match=r"push\.json is damaged"):
        desk.push()
    assert not desk.pushes()


CHILD = """
import sys
from pathlib import Path
from kaggle_dataset.submit.kaggle_client import Kaggle
from kaggle_dataset.submit.push import push
kernel, output, state = map(Path, sys.argv[1:])
push(kernel, output, Kaggle(state), poll=0.05, deadline=300, say=lambda line: print(line, flush=True))
"""


def test_killed_after_the_push_it_goes_on(desk, tmp_path):
    desk.set(kernel_script=("RUNNING",))
    command = [sys.executable, "-c", CHILD, str(desk.kernel), str(desk.output), str(tmp_path / "state")]
    with subprocess.Popen(command, env=desk.environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert any("RUNNING" in line for line in process.stdout)
        with pytest.raises(DfdcError, match="another push or submit is at work"):
            desk.push(deadline=0)
        process.kill()
    desk.service.kernels[REF]["script"] = ["COMPLETE"]
    assert desk.push().version == 1
    assert desk.pushes() == 1
