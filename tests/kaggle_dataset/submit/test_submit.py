"""Submitting with the real client: once, found again, scored, and written down whatever happens."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from common.errors import DfdcError
from common.files import sha256_of
from kaggle_dataset.submit.faults import Refused
from kaggle_dataset.submit.kaggle_client import NotSignedIn
from kaggle_dataset.submit.ledger import read_ledger, record
from kaggle_dataset.submit.push import last_push, push
from kaggle_dataset.submit.submit import COMPETITION, SETTLE, describe, submit
from tests.kaggle_dataset.kernels import OUTPUT, QUICK, REF, write_kernel, write_manifest
from tests.waiting import LIMIT, StoppedClock

pytestmark = pytest.mark.slow

EVENING = datetime(2026, 11, 23, 22, 30, tzinfo=UTC)


@pytest.fixture
def desk(fake_kaggle, tmp_path):
    """The stand-in with three versions of a kernel, and what a submission is given."""
    fake_kaggle.service.kernels[REF] = {"versions": [{}] * 3, "script": ["COMPLETE"]}
    fake_kaggle.set(submission_polls=0)
    fake_kaggle.manifest, fake_kaggle.ledger = write_manifest(tmp_path / "dataset"), tmp_path / "submissions.csv"
    fake_kaggle.given = {"ledger": fake_kaggle.ledger, "confirm": lambda _: pytest.fail("asked"), "yes": True, **QUICK}
    fake_kaggle.submit = lambda **changes: submit(
        fake_kaggle.manifest, REF, 3, fake_kaggle.kaggle, **{**fake_kaggle.given, **changes}
    )
    fake_kaggle.entry = describe(fake_kaggle.manifest, REF, 3, COMPETITION, datetime.now(UTC))
    fake_kaggle.messages = lambda: [submission["description"] for submission in fake_kaggle.service.submissions]
    return fake_kaggle


def add(desk, message, when=None, **changes):
    """A submission that Kaggle already has."""
    date = (when or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    about = {"ref": 900 + len(desk.service.submissions), "date": date, "fileName": "submission.csv", "polls": 0}
    desk.service.submissions.append({**about, "description": message, **changes})


def test_from_a_push_to_a_score(fake_kaggle, tmp_path):
    fake_kaggle.service.outputs = {"submission.csv": OUTPUT}
    kernel, manifest = write_kernel(tmp_path / "build" / "kernel"), write_manifest(tmp_path / "dataset")
    push(kernel, tmp_path / "output", fake_kaggle.kaggle, **QUICK)
    questions, told, ledger = [], [], tmp_path / "submissions.csv"
    entry = submit(
        *(manifest, *last_push(kernel), fake_kaggle.kaggle),
        **{**QUICK, "ledger": ledger, "say": told.append, "confirm": lambda text: not questions.append(text)},
    )
    assert questions == [
        f"Submit {REF} version 1 to {COMPETITION}? Members: lite0_eyes lite0_tight; expected log loss 0.4244 [0.3996, "
        f"0.4501]. It is number 1 of 2 today (UTC)."
    ]
    assert (entry.status, entry.public_score, entry.private_score, entry.ref) == ("complete", 0.42, 0.43, "1000")
    assert read_ledger(ledger) == [entry]
    assert told[0].endswith(f"submission 1000 of {REF} version 1: pending")
    [asked] = fake_kaggle.asked("CreateCodeSubmission")
    assert asked["json"] == {
        **{"competitionName": COMPETITION, "kernelOwner": "alice", "kernelSlug": "dfdc-ensemble"},
        **{"kernelVersion": 1, "fileName": "submission.csv", "submissionDescription": entry.message},
    }


def test_the_same_one_again_sends_nothing(desk):
    first = desk.submit()
    desk.ledger.unlink()
    told = []
    again = desk.submit(yes=False, say=told.append)
    assert told[0] == "it was sent before, as 1000: nothing is sent"
    assert replace(again, date=first.date) == first
    assert read_ledger(desk.ledger) == [again]
    assert len(desk.messages()) == 1


def test_a_dry_run_asks_nothing(desk):
    told = []
    entry = desk.submit(dry_run=True, yes=False, say=told.append)
    assert entry.message in told[0]
    assert not desk.service.log
    assert not desk.ledger.exists()


def test_no_is_an_answer(desk):
    with pytest.raises(DfdcError, match=f"{REF} version 3 was not submitted: that was the answer"):
        desk.submit(yes=False, confirm=lambda _: False)
    assert not desk.messages()
    assert not desk.ledger.exists()


@pytest.mark.parametrize("fault", [{"status": 500}, {"drop": True}])
def test_an_answer_that_is_lost_sends_nothing_twice(desk, fault):
    desk.fault("CreateCodeSubmission", after=True, **fault)
    assert desk.submit().status == "complete"
    assert len(desk.messages()) == 1


def test_what_did_not_arrive_is_not_sent_again_at_once(desk):
    desk.fault("CreateCodeSubmission", drop=True)
    now = datetime.now(UTC)
    with pytest.raises(DfdcError, match=r"whether the submission arrived is not known: .*Max retries.* it looks again"):
        desk.submit(now=lambda: now)
    assert [entry.status for entry in read_ledger(desk.ledger)] == ["sending"]
    with pytest.raises(DfdcError, match=r"run the same command again in [23]\d\d s"):
        desk.submit(now=lambda: now)
    later = now + timedelta(seconds=SETTLE)
    assert desk.submit(now=lambda: later).status == "complete"
    assert len(desk.messages()) == 1


def test_killed_while_sending_it_is_found_again(desk):
    record(desk.ledger, desk.entry)
    add(desk, desk.entry.message)
    assert desk.submit(yes=False).ref == "900"
    assert not desk.asked("CreateCodeSubmission")
    assert [entry.status for entry in read_ledger(desk.ledger)] == ["complete"]


def test_a_stalled_submission_is_looked_for(desk, monkeypatch):
    monkeypatch.setattr("kaggle_dataset.submit.submit.CALL", 2.0)
    fault = desk.fault("CreateCodeSubmission", delay=LIMIT, drop=True)
    monkeypatch.setattr("kaggle_dataset.submit.kaggle_client.time", StoppedClock(fault.begun.is_set))
    with pytest.raises(DfdcError, match=r"arrived is not known: .* was not done after 2 s"):
        desk.submit()


def test_a_closed_competition(desk):
    desk.fault("CreateCodeSubmission", status=400, body={"code": 400, "message": "Submissions are closed."})
    with pytest.raises(
        Refused, match=rf"not take the submission: Submissions are closed\. Is {COMPETITION} still open"
    ):
        desk.submit()
    assert [entry.status for entry in read_ledger(desk.ledger)] == ["refused"]
    # What was refused does not count for the day.
    assert desk.submit(per_day=1).status == "complete"


def test_without_the_right_to_submit(desk):
    desk.fault("CreateCodeSubmission", status=403, body="<html>")
    with pytest.raises(Refused, match=r"not take the submission: 403 Client Error.*rules are accepted"):
        desk.submit()
    desk.fault("ListSubmissions", status=403, body="<html>")
    with pytest.raises(Refused, match="kaggle competitions submissions: 403"):
        desk.submit()


def test_credentials_that_are_not_accepted(desk):
    desk.service.token = "another"  # noqa: S105
    with pytest.raises(NotSignedIn):
        desk.submit()
    assert not desk.ledger.exists()


def test_the_days_limit_in_kaggles_list(desk):
    desk.set(submission_ends="ERROR")  # which counts
    add(desk, "by hand", EVENING - timedelta(hours=1))
    add(desk, "one more", EVENING - timedelta(hours=22))
    add(desk, "yesterday's", EVENING - timedelta(hours=23))
    with pytest.raises(DfdcError) as caught:
        desk.submit(now=lambda: EVENING)
    assert "2 of 2 submissions of today (UTC) are used: one more, by hand" in str(caught.value)
    assert "the next is possible at 2026-11-24 00:00 UTC, in 1:30:00" in str(caught.value)
    assert not desk.asked("CreateCodeSubmission")
    assert not desk.ledger.exists()


def test_the_days_limit_in_the_ledger(desk):
    sent = replace(desk.entry, date="2026-11-23T09:00:00+00:00")
    for message, status in (("a", "sending"), ("b", "error"), ("c", "refused")):
        record(desk.ledger, replace(sent, message=message, status=status))
    record(desk.ledger, replace(sent, message="d", competition="another"))
    record(desk.ledger, replace(sent, message="e", date="2026-11-22T23:59:59+00:00"))
    with pytest.raises(DfdcError, match=r"2 of 2 submissions of today \(UTC\) are used: a, b;"):
        desk.submit(dry_run=True, now=lambda: EVENING)
    assert desk.submit(dry_run=True, now=lambda: EVENING, per_day=3)
    # One that is in both counts once.
    add(desk, "a", EVENING)
    assert desk.submit(now=lambda: EVENING, per_day=3).status == "complete"


def test_the_limit_that_only_kaggle_knows_of(desk):
    desk.set(allowed_now=0)
    with pytest.raises(Refused, match="maximum number of submissions for today"):
        desk.submit()
    assert not desk.messages()


def test_a_submission_that_ends_in_an_error(desk):
    desk.set(submission_ends="ERROR")
    with pytest.raises(DfdcError, match=rf"submission 1000 of {REF} version 3 ended in an error, and counts for today"):
        desk.submit()
    [entry] = read_ledger(desk.ledger)
    assert (entry.status, entry.ref, entry.public_score) == ("error", "1000", None)


def test_pending_at_the_deadline_goes_on(desk):
    desk.set(submission_polls=3)
    with pytest.raises(DfdcError, match=rf"the score of {REF} version 3 .*: pending; the same command goes on waiting"):
        desk.submit(deadline=0)
    assert [entry.status for entry in read_ledger(desk.ledger)] == ["pending"]
    assert desk.submit().public_score == 0.42
    assert len(desk.messages()) == 1


def test_looking_outlasts_faults_that_pass(desk):
    desk.fault("ListSubmissions", status=500)
    desk.fault("ListSubmissions", status=429, skip=1)
    assert desk.submit().status == "complete"


def test_a_damaged_ledger_sends_nothing(desk):
    desk.ledger.write_text("date,score\n")
    with pytest.raises(DfdcError, match="is damaged at line 1"):
        desk.submit()
    assert not desk.service.log


def test_what_an_entry_says(tmp_path):
    manifest = write_manifest(tmp_path / "dataset")
    entry = describe(manifest, REF, 12, COMPETITION, EVENING)
    assert (entry.expected_log_loss, entry.expected_low, entry.expected_high) == (0.42439, 0.399573, 0.450145)
    assert entry.members == "lite0_eyes lite0_tight"
    assert entry.blend == sha256_of(manifest.with_name("blend.json"))
    assert entry.message == f"[{entry.manifest[:16]} {REF} v12]"
    bare = describe(write_manifest(tmp_path / "dataset", why="never tuned"), REF, 1, COMPETITION, EVENING)
    assert (bare.expected_log_loss, bare.expected_low) == (None, None)


def test_a_blend_that_is_not_the_manifests(tmp_path):
    manifest = write_manifest(tmp_path / "dataset")
    manifest.with_name("blend.json").write_text("{}")
    with pytest.raises(ValueError, match=r"blend\.json is not the one that it names"):
        describe(manifest, REF, 1, COMPETITION, EVENING)


@pytest.mark.parametrize(("kernel", "version"), [(REF, 0), ("dfdc-ensemble", 1), (f"{REF}/1", 1)])
def test_a_version_that_was_never_pushed(tmp_path, kernel, version):
    with pytest.raises(ValueError, match="first: dfdc push"):
        describe(write_manifest(tmp_path / "dataset"), kernel, version, COMPETITION, EVENING)


@pytest.mark.parametrize("values", [[], {}, {"blend": {"members": ["a"]}}, {"blend": {}, "files": []}])
def test_a_manifest_that_is_none(tmp_path, values):
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match="is no manifest of a build"):
        describe(tmp_path / "manifest.json", REF, 1, COMPETITION, EVENING)
