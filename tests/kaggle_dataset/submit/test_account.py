"""What is looked at before hours are spent, by the real client against the stand-in."""

import pytest

from kaggle_dataset.submit.account import competition_name, look_first
from kaggle_dataset.submit.faults import Refused
from kaggle_dataset.submit.kaggle_client import NotSignedIn

DFDC = "deepfake-detection-challenge"


@pytest.mark.parametrize(
    "text",
    [
        DFDC,
        f"c/{DFDC}",
        f"https://www.kaggle.com/c/{DFDC}",
        f"https://www.kaggle.com/competitions/{DFDC}/overview",
        f"kaggle.com/competitions/{DFDC}/",
    ],
)
def test_a_competition_is_known_by_its_address_too(text):
    assert competition_name(text) == DFDC


@pytest.mark.parametrize("text", ["--help", "", "Deepfake Detection", "c/"])
def test_what_is_no_name_is_refused(text):
    with pytest.raises(ValueError, match="no name of a competition"):
        competition_name(text)


def test_account_and_competition_are_named(fake_kaggle):
    told = []
    look_first("alice", DFDC, fake_kaggle.kaggle, told.append)
    assert told == [f"signed in as alice; {DFDC} shows its submissions"]
    assert len(fake_kaggle.asked("ListSubmissions")) == 1


@pytest.mark.parametrize(("owner", "words"), [("Alice", "spells itself 'alice'"), ("bob", "is 'alice'")])
def test_another_owner_than_the_account_is_an_error(fake_kaggle, owner, words):
    with pytest.raises(ValueError, match=f"{words}, and --owner is {owner!r}: use --owner alice"):
        look_first(owner, DFDC, fake_kaggle.kaggle, lambda _: None)
    assert not fake_kaggle.asked("ListSubmissions")


@pytest.mark.slow
def test_rules_that_are_not_accepted_and_wrong_tokens_end_it(fake_kaggle):
    body = {"message": "You must accept this competition's rules before you can see this."}
    fake_kaggle.fault("ListSubmissions", status=403, body=body)
    with pytest.raises(Refused, match="rules"):
        look_first("alice", DFDC, fake_kaggle.kaggle, lambda _: None)
    fake_kaggle.service.token = "another"  # noqa: S105
    with pytest.raises(NotSignedIn):
        look_first("alice", DFDC, fake_kaggle.kaggle, lambda _: None)
