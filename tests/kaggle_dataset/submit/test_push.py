"""Pushing a kernel with the real client: sent once, its session watched, nothing but a valid submission kept."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import DfdcError
from kaggle_dataset.submit.kaggle_client import NotSignedIn
from kaggle_dataset.submit.output import check
from kaggle_dataset.submit.polling import Refused
from kaggle_dataset.submit.push import STATE, SessionFailedError, last_push, push
from tests.kaggle_dataset.fake_kaggle import fake_kaggle  # noqa: F401
from tests.kaggle_dataset.kernels import OUTPUT, QUICK, REF, answer_pulls, write_kernel

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def desk(fake_kaggle, tmp_path, monkeypatch):  # noqa: F811
    """The stand-in with a kernel that is complete at once, and what a push is given."""
    fake_kaggle.set(kernel_script=("COMPLETE",))
    fake_kaggle.service.outputs = {"submission.csv": OUTPUT}
    answer_pulls(fake_kaggle.service)
    monkeypatch.setattr("kaggle_dataset.submit.push.SETTLE", 0.5)
    fake_kaggle.kernel, fake_kaggle.output = write_kernel(tmp_path / "build" / "kernel"), tmp_path / "output"
    fake_kaggle.push = lambda **changes: push(
        fake_kaggle.kernel, fake_kaggle.output, fake_kaggle.kaggle, **{**QUICK, **changes}
    )
    fake_kaggle.state = lambda: json.loads((fake_kaggle.kernel.parent / STATE).read_text())
    return fake_kaggle


def pushes(desk):
    return len(desk.service.kernels.get(REF, {"versions": []})["versions"])


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
    assert sent["text"] == "print('judging')\n"
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


def test_refused_with_exit_code_0(desk):
    desk.fault("SaveKernel", status=200, body={"error": "Maximum batch GPU session count of 2 reached."})
    with pytest.raises(Refused, match=r"did not take .*Maximum batch GPU session count of 2 reached\.; no version was"):
        desk.push()
    assert not (desk.kernel.parent / STATE).exists()
    assert desk.push().version == 1


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


@pytest.mark.parametrize("status", ["ERROR", "CANCEL_ACKNOWLEDGED"])
def test_a_session_that_ends_badly_shows_its_log(desk, status):
    lines = [{"stream_name": "stderr", "time": 1.0, "data": f"line {i}\n"} for i in range(40)]
    desk.set(kernel_script=("RUNNING", status), failure_message="Your notebook ran out of memory")
    desk.set(kernel_log=json.dumps(lines))
    with pytest.raises(SessionFailedError) as caught:
        desk.push()
    message = str(caught.value)
    assert f"{REF} version 1 ended with {status}" in message
    assert ("(Your notebook ran out of memory)" in message) == (status == "ERROR")
    assert "  line 25\n" in message
    assert "line 24" not in message
    assert [p.name for p in desk.output.iterdir()] == ["dfdc-ensemble.log"]
    desk.set(kernel_script=("COMPLETE",))
    assert desk.push().version == 2


@pytest.mark.parametrize("fault", [{"status": 500}, {"delay": 10, "drop": True}])
def test_a_log_that_cannot_be_had_does_not_hide_the_failure(desk, monkeypatch, fault):
    monkeypatch.setattr("kaggle_dataset.submit.output.CALL", 2.0)
    desk.set(kernel_script=("ERROR",))
    desk.fault("ListKernelSessionOutput", **fault)
    with pytest.raises(SessionFailedError, match=r"ended with ERROR; its log could not be fetched"):
        desk.push()


PAGE = b"<!DOCTYPE html>\n<html><body>Expired</body></html>"


@pytest.mark.parametrize(
    ("data", "says"),
    [(PAGE, r"submission\.csv of alice/dfdc-ensemble is a page, not a CSV: '<!DOCTYPE html> <html>"), (None, "has no")],
)
def test_output_that_is_none_leaves_the_older_one(desk, data, says):
    desk.output.mkdir()
    (desk.output / "submission.csv").write_text("an older one\n")
    desk.service.outputs = {"scratch.bin": b"x"} | ({"submission.csv": data} if data else {})
    with pytest.raises(DfdcError, match=rf"(?s){says}.*the end of its log .*done"):
        desk.push()
    assert sorted(p.name for p in desk.output.iterdir()) == ["dfdc-ensemble.log", "submission.csv"]
    assert (desk.output / "submission.csv").read_text() == "an older one\n"
    assert not desk.asked("scratch.bin")
    # Nothing is pushed anew: the same command only fetches again.
    desk.service.outputs = {"submission.csv": OUTPUT}
    assert desk.push().submission.read_bytes() == OUTPUT
    assert pushes(desk) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("filename,label\n", "has no rows"),
        ("video,label\na,0.1\n", "has the columns"),
        ("filename,label\na,0.1,x\nb,0.2,x\n", "has the columns"),
        ("filename,label\na,0.1\nb,0.2,0.3,0.4\n", "is not a CSV"),
        ("filename,label\na,0.1\na,0.2\n", "names 'a' more than once"),
        ("filename,label\na,0.1\nb,1.2\n", "'b' has the probability 1.2"),
        ("filename,label\na,0.1\nb,nan\n", "'b' has the probability nan"),
        ("filename,label\na,0.1\nb,inf\n", "'b' has the probability inf"),
        ("filename,label\na,0.1\nb,\n", "'b' has the probability"),
        ("filename,label\na,0.7\nb,0.7\n", "all 2 videos have the same probability 0.7"),
        ("filename,label\na,0.5\nb,0.500000\nc,0.7\n", "67% of 3 videos have 0.5, more than 10%"),
    ],
)
def test_a_submission_that_must_not_be_submitted(tmp_path, text, says):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(DfdcError, match=says):
        check(tmp_path / "s.csv", None, 0.1)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "s.csv").write_bytes(b"filename,label\n\xff\xfe\x00,0.1\n")
    with pytest.raises(DfdcError, match="is not a CSV"):
        check(tmp_path / "s.csv", None, 0.1)


def test_rows_are_those_of_the_sample(tmp_path):
    (tmp_path / "s.csv").write_text("filename,label\na,0.1\nb,0.2\n")
    (tmp_path / "sample.csv").write_text("filename,label\na,0.5\nb,0.5\n")
    check(tmp_path / "s.csv", tmp_path / "sample.csv", 0.1)
    (tmp_path / "sample.csv").write_text("filename,label\na,0.5\nb,0.5\nc,0.5\n")
    with pytest.raises(DfdcError, match="does not name the 3 expected videos"):
        check(tmp_path / "s.csv", tmp_path / "sample.csv", 0.1)


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
    assert pushes(desk) == 1


def test_a_look_that_stalls_is_repeated(desk, monkeypatch):
    monkeypatch.setattr("kaggle_dataset.submit.polling.CALL", 3.0)
    desk.fault("GetKernelSessionStatus", delay=10, drop=True)
    told = []
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
    assert not pushes(desk)
    assert not (desk.kernel.parent / STATE).exists()


def test_at_the_deadline_it_says_how_to_go_on(desk):
    desk.set(kernel_script=("RUNNING", "COMPLETE"))
    for news in ("pushed, https", "RUNNING; the same command goes on waiting"):
        with pytest.raises(DfdcError, match=rf"the output of .* the last news: {REF} version 1: {news}"):
            desk.push(deadline=0)
    assert desk.push().version == 1


def test_a_push_that_stalls_did_not_arrive(desk, monkeypatch):
    monkeypatch.setattr("kaggle_dataset.submit.push.CALL", 2.0)
    desk.fault("SaveKernel", delay=10, drop=True)
    with pytest.raises(DfdcError, match=r"did not arrive: kaggle kernels push .* was not done after .*same command"):
        desk.push()
    monkeypatch.setattr("kaggle_dataset.submit.push.CALL", 60.0)
    assert desk.state()["phase"] == "sending"
    assert desk.push().version == 1


@pytest.mark.parametrize("fault", [{"status": 500}, {"drop": True}])
def test_a_push_whose_answer_is_lost_is_not_repeated(desk, fault):
    desk.fault("SaveKernel", after=True, **fault)
    for _ in range(2):
        with pytest.raises(DfdcError, match=rf"latest version of {REF}, but its number is not known .*--adopt NUMBER"):
            desk.push()
    assert pushes(desk) == 1
    assert desk.push(adopt=1).version == 1
    assert pushes(desk) == 1


def test_a_version_with_another_script_is_not_adopted(desk):
    desk.push()
    (desk.kernel / "start.py").write_text("print('other')\n")
    with pytest.raises(ValueError, match=f"version 1 of {REF} has another script"):
        desk.push(adopt=1)


def test_a_state_that_is_damaged_pushes_nothing(desk):
    (desk.kernel.parent / STATE).write_text('{"content": "x')
    with pytest.raises(DfdcError, match=r"push\.json is damaged"):
        desk.push()
    assert not pushes(desk)


CHILD = """
import sys
from pathlib import Path
from kaggle_dataset.submit.kaggle_client import Kaggle
from kaggle_dataset.submit.push import push
kernel, output, state = map(Path, sys.argv[1:])
push(kernel, output, Kaggle(state), poll=0.05, deadline=60, say=lambda line: print(line, flush=True))
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
    assert pushes(desk) == 1
