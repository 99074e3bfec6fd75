"""Sending a dataset with the real client to the stand-in: what arrives, and what is left behind by every fault."""

import dataclasses
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import DfdcError
from kaggle_dataset.submit.faults import Refused
from kaggle_dataset.submit.kaggle_client import NotSignedIn
from kaggle_dataset.submit.upload import Uploaded, UploadTiming, upload
from kaggle_dataset.submit.upload_state import UploadState
from tests.kaggle_dataset.staging import REF, files_of
from tests.waiting import LIMIT, StoppedClock, wait_until

pytestmark = pytest.mark.slow

MAKES = "CreateDatasetVersion$"
QUICK = UploadTiming(poll=0.1, settle=0.3, idle=120)
STALLS = {"skip": 2, "stall_after": 5, "delay": LIMIT}  # of the third upload; the client is killed meanwhile


class Desk:
    """Sends, and keeps what was said."""

    def __init__(self, fake_kaggle, dataset):
        self.fake_kaggle, self.dataset, self.said, self.hooks = fake_kaggle, dataset, [], {}

    def __call__(self, timing=QUICK, **options):
        def say(line):
            self.said.append(line)
            print(line)  # shown where a test fails
            for words in [words for words in self.hooks if words in line]:
                self.hooks.pop(words)()

        try:
            return upload(
                self.dataset, self.fake_kaggle.kaggle, **{"deadline": LIMIT, "say": say, "timing": timing, **options}
            )
        except DfdcError as error:
            print(f"{type(error).__name__}: {error}")
            raise

    def versions(self):
        """Name -> SHA-256 of what the server has, a dict for each version."""
        made = self.fake_kaggle.service.datasets.get(REF, {"versions": []})["versions"]
        return [{name: about["sha256"] for name, about in version["files"].items()} for version in made]

    def staged(self):
        """Name -> SHA-256 as the manifest says, and its own."""
        data = (self.dataset / "manifest.json").read_bytes()
        listed = {entry["name"]: entry["sha256"] for entry in json.loads(data)["files"]}
        return {**listed, "manifest.json": hashlib.sha256(data).hexdigest()}


def interrupt():
    raise KeyboardInterrupt


@pytest.fixture
def desk(fake_kaggle, dataset):
    return Desk(fake_kaggle, dataset)


@pytest.fixture
def second(desk):
    """Something else is there already as version 1."""
    desk.fake_kaggle.service.publish(REF, files_of(seed=1))
    return desk


def test_created_once_and_then_recognised(desk):
    assert desk(dry_run=True) == Uploaded(REF, 1, False)
    assert "would become version 1" in desk.said[-1]
    assert not desk.fake_kaggle.asked("StartBlobUpload")
    desk.fake_kaggle.set(page_size_cap=3, hidden_polls=2, dataset_polls=1)
    assert desk() == Uploaded(REF, 1, True)
    assert desk.versions() == [desk.staged()]
    assert desk.fake_kaggle.service.datasets[REF]["private"]
    assert desk() == desk(dry_run=True) == Uploaded(REF, 1, False)
    assert "has these files already: nothing would be sent" in desk.said[-1]
    assert len(desk.fake_kaggle.asked("StartBlobUpload")) == 5
    # Nothing of the upload is left: the record, its lock.
    assert sorted(path.suffix for path in desk.fake_kaggle.kaggle.state.iterdir()) == [".json", ".lock"]


def test_a_dataset_that_was_removed_after_the_yes_names_a_way_out(desk):
    desk()
    state = UploadState(desk.fake_kaggle.kaggle.state, REF)
    state.write(dataclasses.replace(state.read(), step="sent"))  # as it is until the version shows
    del desk.fake_kaggle.service.datasets[REF]
    with pytest.raises(DfdcError):
        desk(deadline=1.0)
    [told] = [line for line in desk.said if "removed" in line]
    assert f"delete {state.path}" in told


def test_a_version_of_what_is_there(second):
    second.fake_kaggle.set(dataset_polls=2)
    assert second() == Uploaded(REF, 2, True)
    assert second.versions()[1] == second.staged()
    notes = second.fake_kaggle.asked("CreateDatasetVersion")[0]["json"]["body"]["versionNotes"]
    assert notes == f"manifest {second.staged()['manifest.json']}"


def test_401(second):
    second.fake_kaggle.fault(MAKES, status=401)
    with pytest.raises(NotSignedIn, match="does not accept the credentials"):
        second()
    assert len(second.versions()) == 1
    # The next run finds that nothing was made and sends it: every file is asked for, none is sent again.
    assert second() == Uploaded(REF, 2, True)
    assert second.versions()[1] == second.staged()
    assert len(second.fake_kaggle.asked("StartBlobUpload")) == 5


def test_403_while_an_earlier_version_is_processed(second):
    second.fake_kaggle.fault(
        MAKES, status=403, body={"code": 403, "message": "Permission 'datasets.update' was denied"}
    )
    second.fake_kaggle.service.datasets[REF]["polls"] = 1
    assert second() == Uploaded(REF, 2, True)
    assert second.versions()[1:] == [second.staged()]


def test_403_for_what_was_created_elsewhere(desk):
    desk.fake_kaggle.service.publish(REF, files_of(seed=1))
    desk.fake_kaggle.service.datasets[REF]["hidden"] = 99
    with pytest.raises(Refused, match=r"already in use.*the same command works in some minutes"):
        desk()
    assert len(desk.versions()) == 1


def test_403_for_what_does_not_exist(desk):
    desk.fake_kaggle.set(unknown_dataset_status=403)
    assert desk() == Uploaded(REF, 1, True)


def test_404_when_the_dataset_vanishes(second):
    second.hooks["sending"] = second.fake_kaggle.service.datasets.clear
    with pytest.raises(Refused, match=r"did not make version 2 of .*Dataset not found"):
        second()
    assert not second.versions()


def test_500_never_makes_it_guess(desk):
    desk.fake_kaggle.fault("GetDatasetStatus", times=-1, status=500)
    with pytest.raises(DfdcError, match=r"is not there after .*; the same command again goes on"):
        desk(deadline=2)
    assert not desk.fake_kaggle.asked("StartBlobUpload")


def test_429_is_obeyed(second):
    second.fake_kaggle.fault("StartBlobUpload", status=429, headers={"Retry-After": 1})
    second.fake_kaggle.fault(MAKES, status=429, headers={"Retry-After": 2})
    assert second() == Uploaded(REF, 2, True)
    assert second.versions()[1:] == [second.staged()]
    first, again = (r["time"] for r in second.fake_kaggle.asked("CreateDatasetVersion"))
    assert again - first >= 2


def test_a_file_that_fails_is_never_left_out(second):
    """The client would make a version without it, and exit with 0."""
    second.fake_kaggle.fault("PUT /upload", status=500)
    second.fake_kaggle.fault("StartBlobUpload", skip=1, delay=LIMIT)  # there is no race to win here
    second.hooks["attempt 1"] = second.fake_kaggle.service.faults.clear
    assert second() == Uploaded(REF, 2, True)
    assert any("did not arrive; the client would have gone on without it" in line for line in second.said)
    assert second.versions()[1:] == [second.staged()]


def test_a_file_that_fails_for_ever(second):
    second.fake_kaggle.fault("PUT /upload", times=-1, status=500)
    second.fake_kaggle.fault("StartBlobUpload", times=-1, skip=1, delay=0.5)
    with pytest.raises(
        DfdcError, match=r"version 2 of .* was not made, Kaggle has what it had before: .* did not arrive"
    ):
        second()
    assert len(second.versions()) == 1


def test_a_cut_in_the_middle(second):
    second.fake_kaggle.set(persist_multiple=65536)
    second.fake_kaggle.fault("PUT /upload", skip=1, cut_after=10)
    second.fake_kaggle.fault("PUT /upload", skip=1, cut_after=100_000)
    assert second() == Uploaded(REF, 2, True)
    assert second.versions()[1:] == [second.staged()]


@pytest.fixture
def stalls(second, monkeypatch):
    """The third upload stalls, which alone takes time; what is given to `second` so that it waits three seconds."""
    fault = second.fake_kaggle.fault("PUT /upload", **STALLS)
    ended = lambda: any("was ended" in line for line in second.said)  # noqa: E731
    monkeypatch.setattr("kaggle_dataset.submit.kaggle_client.time", StoppedClock(fault.begun.is_set, ended))
    return UploadTiming(QUICK.poll, QUICK.settle, idle=3)


def test_a_server_that_stalls(second, stalls):
    assert second(timing=stalls) == Uploaded(REF, 2, True)
    assert any("said nothing for 3 s and was ended" in line for line in second.said)
    assert second.versions()[1:] == [second.staged()]
    assert len(second.fake_kaggle.asked("StartBlobUpload")) == 5  # went on where it was


def test_a_session_that_expired(second, stalls):
    second.hooks["attempt 1"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        second(timing=stalls)
    second.fake_kaggle.service.blobs.clear()
    assert second() == Uploaded(REF, 2, True)
    assert len([line for line in second.said if "did not arrive" in line]) == 1  # then all are started anew
    assert second.versions()[1:] == [second.staged()]


@pytest.mark.parametrize("made", [True, False])
def test_an_answer_that_was_lost(second, made):
    """The client alone would send it again, and so make two versions where the first had arrived."""
    second.fake_kaggle.fault(MAKES, drop=True, after=made)
    second.fake_kaggle.set(dataset_polls=1)
    assert second() == Uploaded(REF, 2, True)
    assert second.versions()[1:] == [second.staged()]
    assert len(second.fake_kaggle.asked("CreateDatasetVersion")) == (1 if made else 2)


def test_an_answer_to_create_that_was_lost(desk):
    desk.fake_kaggle.fault("CreateDataset$", drop=True, after=True)
    desk.fake_kaggle.set(hidden_polls=6)
    assert desk() == Uploaded(REF, 1, True)
    assert desk.versions() == [desk.staged()]


def test_two_versions_are_noticed(second):
    second.hooks["Upload successful"] = lambda: second.fake_kaggle.service.publish(REF, files_of(seed=2))
    with pytest.raises(DfdcError, match=r"went from version 1 to 3: .* the same command goes on with it"):
        second()
    assert second() == Uploaded(REF, 3, False)


def test_a_version_that_lacks_a_file(second):
    second.fake_kaggle.set(lost_files=("blend.json",))
    with pytest.raises(DfdcError, match=r"version 2 of .* differs in blend\.json; do not attach it"):
        second()
    second.fake_kaggle.set(lost_files=())
    assert second() == Uploaded(REF, 3, True)
    assert second.versions()[2] == second.staged()


def test_a_no_with_exit_code_0(second):
    second.fake_kaggle.fault(MAKES, status=200, body={"status": "error", "error": "You are over your private quota"})
    with pytest.raises(Refused, match=r"did not make version 2 of .*over your private quota"):
        second()
    assert len(second.versions()) == 1


def test_processing_that_is_not_waited_for_or_fails(second):
    second.fake_kaggle.set(dataset_polls=99)
    second.hooks["blobs_received"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        second()
    second.fake_kaggle.service.datasets[REF]["polls"] = 0
    # Where Kaggle does not hand out the manifest, what we remember counts.
    second.fake_kaggle.fault("DownloadDataset", times=-1, status=404)
    assert second() == Uploaded(REF, 2, False)
    second.fake_kaggle.set(dataset_ends="FAILED", dataset_polls=0)
    with pytest.raises(DfdcError, match="failed to process what was sent"):
        second()


def test_a_kill_in_the_middle(second, tmp_path):
    """Ours dies without a word, and its client with it; the same command goes on with the files that arrived."""
    second.fake_kaggle.fault("PUT /upload", **STALLS)
    code = (
        "import sys; from pathlib import Path; from kaggle_dataset.submit.kaggle_client import Kaggle\n"
        "from kaggle_dataset.submit.upload import upload\n"
        "upload(Path(sys.argv[1]), Kaggle(Path(sys.argv[2])), say=lambda line: print(line, flush=True))"
    )
    command = [sys.executable, "-c", code, str(second.dataset), str(second.fake_kaggle.kaggle.state)]
    environment = {**second.fake_kaggle.environment, "PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        log = second.fake_kaggle.service.log
        wait_until(lambda: len([r for r in log if r["method"] == "PUT"]) >= 3, "the third upload has begun")
        process.send_signal(signal.SIGKILL)
    assert second() == Uploaded(REF, 2, True)
    assert second.versions()[1:] == [second.staged()]
    assert len(second.fake_kaggle.asked("StartBlobUpload")) == 5


def test_two_runs_do_not_send_side_by_side(second):
    """A client on its own holds the lock as well, because it inherits it."""
    second.fake_kaggle.kaggle.state.mkdir()
    handle = os.open(second.fake_kaggle.kaggle.state / "upload-alice+dfdc-ensemble.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with subprocess.Popen(["sleep", "infinity"], pass_fds=[handle]) as heir:
        os.close(handle)
        try:
            with pytest.raises(DfdcError, match="or a kaggle process that one left behind, is still at work"):
                second(deadline=0.3)
        finally:
            heir.kill()
    assert second() == Uploaded(REF, 2, True)
