"""What the client's failures mean: texts of Kaggle and of the client, and texts that nobody has seen yet."""

import time
from types import SimpleNamespace

import pytest

from kaggle_dataset.submit.faults import NotThere, Refused, fault_of, refusal
from kaggle_dataset.submit.kaggle_client import Answer, KaggleTimeout, NotSignedIn
from kaggle_dataset.submit.polling import UNKNOWN_TRIES, Timer, ask

TRACEBACK = 'Traceback (most recent call last):\n  File "cli.py", line 1, in main\n'


@pytest.mark.parametrize(
    ("text", "kind", "advice"),
    [
        ("500 Server Error: Internal Server Error for url: http://localhost/x", "passes", ""),
        ("429 Client Error: Too Many Requests", "passes", ""),
        (TRACEBACK + "requests.exceptions.ConnectionError: Max retries exceeded with url", "passes", ""),
        ("Permission 'kernels.get' was denied", "not there", "may do this"),
        ("404 Client Error: Not Found for url: http://localhost/y", "not there", "name is right"),
        ("Could not find provided notebook", "not there", "dfdc push --anew"),
        ("401 Client Error: Unauthorized", "signed out", "new token"),
        ("You must accept this competition's rules before you'll be able to download files.", "refused", "accept its"),
        ("Permission 'datasets.create' is not satisfied", "refused", "may do this"),
        ("400 Client Error: Bad Request for url: http://localhost/z", "refused", "correct what it names"),
        ("Your phone must be verified to use a GPU", "refused", "by phone"),
        ("Maximum weekly GPU quota of 30.00 hours reached.", "refused", "quota is renewed"),
        (TRACEBACK + "AttributeError: 'NoneType' object has no attribute 'ref'", "refused", "the client itself failed"),
        ("The moon is in the wrong quarter", "unknown", "nothing is known"),
    ],
)
def test_every_known_text_has_a_meaning_and_a_next_step(text, kind, advice):
    fault = fault_of(Answer(1, "", text))
    assert fault.kind == kind
    assert advice in fault.advice


NO_ACCESS = (
    "You don't have access to this resource.\nIf this is a competition, you may need to accept its rules first at\n"
    "  https://www.kaggle.com/competitions/<competition>/rules"
)
NOT_FOUND = (
    "The resource was not found. Check the spelling of the reference you passed.\nReferences are usually "
    "'<owner>/<slug>', which you can find in the resource's URL.\nTo search for one, try 'kaggle search <query>'."
)


@pytest.mark.parametrize(
    ("text", "hint", "kind"),
    [
        ("Permission 'datasets.get' was denied", NO_ACCESS, "not there"),
        ("Dataset not found", NOT_FOUND, "not there"),
        ("You must accept this competition's rules", NO_ACCESS, "refused"),
        ("Something new", NO_ACCESS, "not there"),
        ("Something new", "You have been rate limited. Wait a little while before retrying.", "passes"),
        (
            "Something new",
            "This is a problem on Kaggle's side, not with your command. Please try again later.",
            "passes",
        ),
    ],
)
def test_the_advice_of_client_2_2_5_is_not_taken_for_kaggles_answer(text, hint, kind):
    """Its advice for 403 names a competition's rules for a dataset as well, and a first upload ended there."""
    answer = Answer(1, "", f"{text}\n\n{hint}\n")
    assert fault_of(answer).kind == kind
    if kind != "passes":
        assert text in str(refusal("x", answer)) and "<competition>" not in str(refusal("x", answer))


def test_what_is_refused_is_told_apart():
    assert isinstance(refusal("x", Answer(1, "", "404 Not Found")), NotThere)
    assert isinstance(refusal("x", Answer(1, "", "401 Unauthorized")), NotSignedIn)
    rules = refusal("kaggle competitions submit", Answer(1, "You must accept the rules", ""))
    assert type(rules) is Refused
    assert "accept its rules" in str(rules)


class Client:
    """Answers in turn; an exception is raised."""

    def __init__(self, *answers):
        self.answers, self.calls = list(answers), 0

    def __call__(self, *_, **__):
        self.calls += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize("number", range(10))
def test_a_text_that_nobody_knows_ends_it_after_three_tries(number):
    text = f"{'zyx'[number % 3]}-fault {number}: the frobnicator of stage {number} declined"
    client, told = Client(*[Answer(1, "", text)] * 9), []
    with pytest.raises(Refused, match=r"frobnicator.*nothing is known of this answer") as caught:
        ask(client, Timer(3600, 0.001, told.append, "it", "again"), "datasets", "status", "a/b")
    assert client.calls == UNKNOWN_TRIES
    assert not isinstance(caught.value, NotThere), "a dataset must not be taken for missing"
    assert len(told) == UNKNOWN_TRIES - 1
    assert all(text in line for line in told), "the text is shown at once"


@pytest.mark.parametrize("poll", [10.0, 30.0, 60.0])  # of an upload, a push and a submission
@pytest.mark.parametrize("number", range(10))
def test_a_text_that_nobody_knows_is_final_within_a_minute(monkeypatch, number, poll):
    slept = []
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=slept.append)
    monkeypatch.setattr("kaggle_dataset.submit.polling.time", clock)
    client = Client(*[Answer(1, "", f"fault {number}: the frobnicator declined")] * 9)
    with pytest.raises(Refused):
        ask(client, Timer(3600, poll, lambda _: None, "it", "again"), "kernels", "status", "a/b")
    assert sum(slept) <= 30, "what remains is for the calls"


def test_what_passes_is_asked_until_it_has_passed():
    late = KaggleTimeout("kaggle x: was not done", Answer(-9, "", ""))
    bad = [Answer(1, "", "503 Service Unavailable"), late] * 3
    client = Client(*bad, Answer(0, "ready", ""))
    assert ask(client, Timer(3600, 0.0001, lambda _: None, "it", "again"), "kernels", "status", "a/b").out == "ready"
    assert client.calls == 7
