"""The ledger: nothing is lost from it, and a damaged one is never written over."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from common.errors import DfdcError
from kaggle_dataset.submit.ledger import COLUMNS, Entry, read_ledger, record, timestamp

ENTRY = Entry(
    *("2026-11-23T05:51:16+00:00", "deepfake-detection-challenge", "alice/dfdc-ensemble", 3, "ab" * 32, "cd" * 32),
    *("lite0_eyes lite0_tight", 0.42439, 0.399573, 0.450145, "sending", None, None, "", "[abababababababab v3]"),
)


def test_what_is_recorded_is_read(tmp_path):
    path = tmp_path / "submissions.csv"
    other = replace(ENTRY, message='a "note", with commas', expected_log_loss=None, public_score=0.1 + 0.2)
    assert read_ledger(path) == []
    record(path, ENTRY)
    record(path, other)
    assert read_ledger(path) == [ENTRY, other]
    assert path.read_text().startswith("date,competition,kernel,version,manifest,blend,members,expected_log_loss,")


def test_an_entry_takes_the_place_of_the_one_with_its_message(tmp_path):
    path = tmp_path / "submissions.csv"
    for entry in (ENTRY, replace(ENTRY, message="another"), done := replace(ENTRY, status="complete", ref="1000")):
        record(path, entry)
    assert read_ledger(path) == [done, replace(ENTRY, message="another")]
    assert [p.name for p in tmp_path.iterdir()] == ["submissions.csv"]


def good_line(tmp_path):
    record(tmp_path / "good.csv", ENTRY)
    return (tmp_path / "good.csv").read_text().splitlines()[1]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda line: line[:40], "line 2: 2 fields, expected 15"),
        (lambda line: line.replace("2026-11-23T05:51:16+00:00", "yesterday"), "line 2: .*yesterday"),
        (lambda line: line.replace("+00:00", ""), "line 2: .*has no time zone"),
        (lambda line: line.replace("sending", "sent"), "line 2: status 'sent' is none of"),
        (lambda line: line.replace("0.42439", "nan"), "line 2: expected_log_loss is nan"),
        (lambda line: line.replace(",3,", ",three,"), "line 2: .*three"),
        (lambda line: f"{line}\n{line}", "line 3: the message .* is there twice"),
        (lambda line: line + '\n"', "line [23]: unexpected end of data"),
        (lambda line: f"{line}\n\n", "line 3: 0 fields"),
    ],
)
def test_a_damaged_ledger_is_left_as_it_is(tmp_path, damage, says):
    path = tmp_path / "submissions.csv"
    path.write_text(",".join(COLUMNS) + "\n" + damage(good_line(tmp_path)) + "\n")
    before = path.read_bytes()
    with pytest.raises(DfdcError, match=rf"submissions\.csv is damaged at {says}"):
        record(path, replace(ENTRY, message="another"))
    assert path.read_bytes() == before


@pytest.mark.parametrize("data", [b"", b"date,score\n", b"\xff\xfe\x00"])
def test_a_file_that_is_no_ledger_is_left_as_it_is(tmp_path, data):
    path = tmp_path / "submissions.csv"
    path.write_bytes(data)
    with pytest.raises(DfdcError, match="is damaged at line 1"):
        record(path, ENTRY)
    assert path.read_bytes() == data


@pytest.mark.parametrize("message", ["", "two\nlines"])
def test_a_message_is_one_line(message):
    with pytest.raises(ValueError, match="is not one line of text"):
        replace(ENTRY, message=message)


def test_times_are_utc():
    east = timezone(timedelta(hours=5))
    assert timestamp(datetime(2026, 11, 23, 3, 0, 0, 999, tzinfo=east)) == "2026-11-22T22:00:00+00:00"
    assert ENTRY.when == datetime(2026, 11, 23, 5, 51, 16, tzinfo=UTC)
