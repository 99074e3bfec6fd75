"""What a failed command of Kaggle's client means: whether it passes by itself, and what the user can do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from common.errors import DfdcError
from kaggle_dataset.submit.kaggle_client import INSTALL, Answer, NotSignedIn

# passes: asking again may help. signed out, not there and refused: it will not. unknown: nobody has seen this text.
Kind = Literal["passes", "signed out", "not there", "refused", "unknown"]
NOT_THERE: Kind = "not there"


class Refused(DfdcError):  # noqa: N818
    """Kaggle said no, and asking again will not help."""


class NotThere(Refused):
    """Kaggle shows no such thing to this account: it tells what is missing and what is private alike."""


@dataclass(frozen=True)
class Fault:
    """A kind of failure."""

    kind: Kind
    pattern: re.Pattern[str]
    advice: str = ""


def _fault(kind: Kind, pattern: str, advice: str = "") -> Fault:
    return Fault(kind, re.compile(pattern, re.IGNORECASE), advice)


RIGHTS = (
    "check that the name is right, that the token is of an account that may do this, and that the competition's rules "
    "are accepted"
)
# The first that fits counts. The client prints Kaggle's message often without the status code, and under a traceback.
FAULTS = (
    _fault(
        "passes",
        r"\b(408|429|50[0234])\b|max retries|connection (error|aborted|refused|reset)|remote end closed|timed? ?out"
        r"|temporarily|try again later|too many requests|service unavailable|bad gateway|incompleteread"
        r"|name resolution",
    ),
    _fault(
        "signed out",
        r"\b401\b|unauthenticated|unauthorized",
        "make a new token at https://www.kaggle.com/settings/api",
    ),
    _fault(
        "refused",
        r"accept\w* .*rules|rules .*accept",
        "open the competition's page on Kaggle, accept its rules, and run the same command again",
    ),
    _fault(
        "refused",
        r"phone|verif(y|ied|ication) .*(account|identity)|(account|identity) .*verif",
        "verify the account by phone at https://www.kaggle.com/settings; without it there is no GPU",
    ),
    _fault(
        "refused",
        r"quota|maximum .*(session|batch)|weekly|limit .*(reached|exceeded)|(reached|exceeded) .*limit",
        "wait until a session ends or the quota is renewed, or push without a GPU",
    ),
    _fault(
        "not there",
        r"provided notebook",
        "Kaggle no longer has that version; make another: dfdc push --anew, then submit that one",
    ),
    _fault("not there", r"\b40[34]\b|was denied|not find|not found|does not exist|forbidden|no such", RIGHTS),
    _fault("refused", r"permission|not (allowed|permitted)|not satisfied", RIGHTS),
    _fault("refused", r"\b(400|409|413|422)\b|bad request|invalid|not valid", "correct what it names"),
    _fault("refused", r"traceback|modulenotfounderror|usage: kaggle", f"the client itself failed; is it {INSTALL}?"),
)
# Client 2.2.5 puts advice of its own under the message of some status codes; this is how each begins. The one for 403
# speaks of a competition's rules whatever was asked for, so that a dataset that is not there yet looked refused.
HINTS = {
    "You don't have access to this resource.": "403",
    "The resource was not found. Check the spelling": "404",
    "You have been rate limited.": "429",
    "This is a problem on Kaggle's side": "500",
}
UNKNOWN = Fault("unknown", re.compile(""), "nothing is known of this answer; see https://www.kaggle.com")


def reason(answer: Answer) -> str:
    """The line that says why a command failed: the last of stderr (the others are a traceback), else of stdout."""
    said = _without_hints(answer.err) or _without_hints(answer.out) or f"exit code {answer.code}"
    return said.splitlines()[-1].strip()[:500]


def _without_hints(text: str) -> str:
    """What the client passes on of Kaggle, without advice that is its own."""
    return text[: min([len(text), *(text.index(hint) for hint in HINTS if hint in text)])].strip()


def fault_of(answer: Answer) -> Fault:
    """Classify a failed command: by its last line, else by all that it said."""
    whole = f"{answer.out}\n{answer.err}"
    codes = " ".join(code for hint, code in HINTS.items() if hint in whole)
    for text in (reason(answer), _without_hints(answer.out), _without_hints(answer.err), codes):
        for fault in FAULTS:
            if fault.pattern.search(text):
                return fault
    return FAULTS[-1] if answer.code == 2 else UNKNOWN  # 2: the client did not understand the command


def stays(answer: Answer) -> bool:
    """Whether a failed command would fail again in the same way."""
    return fault_of(answer).kind not in ("passes", "unknown")


def refusal(what: str, answer: Answer) -> Refused | NotSignedIn:
    """Make the error of something that Kaggle refused, with what the user can do.

    Args:
        what: was asked for.
        answer: of the client.
    """
    fault = fault_of(answer)
    told = answer.words if fault.kind == "unknown" else reason(answer)
    message = f"{what}: {told}; {fault.advice}"
    if fault.kind == "signed out":
        return NotSignedIn(message)
    return NotThere(message) if fault.kind == NOT_THERE else Refused(message)
