"""What a session leaves: a log where it failed, and nothing but a valid submission."""

import json

import pytest

from common.errors import DfdcError
from kaggle_dataset.submit.output import check
from kaggle_dataset.submit.push import SessionFailedError
from tests.kaggle_dataset.kernels import OUTPUT, REF
from tests.waiting import LIMIT

pytestmark = pytest.mark.slow


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


@pytest.mark.parametrize("fault", [{"status": 500}, {"delay": LIMIT, "drop": True}])
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
    assert desk.pushes() == 1


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


def log_of(device):
    said = [
        f"the members run on {device}", "100%|####| 4/4", "plan at 3 s, 4000 videos to start: 32 frames, all members",
        "4000 videos, 1.31 s each; written: submission.csv", "bound by decoding",
    ]  # fmt: skip
    return json.dumps([{"stream_name": "stderr", "time": 1.0, "data": f"{line}\n"} for line in said])


@pytest.mark.parametrize(
    ("device", "gpu", "on_cpu"),
    [
        ("Tesla T4, torch, f16", True, False),
        ("4 CPU cores, openvino", True, True),
        ("4 CPU cores, torch", False, False),
    ],
)
def test_a_session_tells_what_it_ran_on(desk, device, gpu, on_cpu):
    metadata = desk.kernel / "kernel-metadata.json"
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "enable_gpu": gpu}))
    desk.set(kernel_log=log_of(device))
    told = []
    assert desk.push(say=told.append).on_cpu is on_cpu
    assert [line for line in told if line.startswith("session: ")] == [
        f"session: the members run on {device}",
        "session: plan at 3 s, 4000 videos to start: 32 frames, all members",
        "session: 4000 videos, 1.31 s each; written: submission.csv",
    ]


def test_the_lines_are_those_that_predict_writes(tmp_path):
    """What one side writes and the other looks for are two texts: they must not part."""
    from inference.predict import RUN_ON
    from kaggle_dataset.submit.output import session_of

    (tmp_path / "plain.log").write_text(f"{RUN_ON}2 CPU cores, openvino\n")
    assert session_of(tmp_path / "plain.log") == ([f"{RUN_ON}2 CPU cores, openvino"], True)
    assert session_of(tmp_path / "gone.log") == ([], False)
