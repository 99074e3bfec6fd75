"""What can be known in seconds before hours are spent: client, account, competition, and whether we can ask."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from common.errors import DfdcError
from kaggle_dataset.submit.faults import NotThere, Refused
from kaggle_dataset.submit.kaggle_client import INSTALL, Kaggle
from kaggle_dataset.submit.polling import CALL, Say, Timer, ask

# Of Kaggle's client; both were run against the stand-in of the tests. Others are allowed, and said to be untried.
TRIED = ("2.2.4", "2.2.5")
SECONDS = 60.0  # that the look may take; Kaggle that is down for longer is no time to begin


def competition_name(text: str) -> str:
    """Read a competition's name.

    Args:
        text: the name, or its address on Kaggle, also `c/name`.

    Returns:
        The name as the client takes it.

    Raises:
        ValueError: it is neither.
    """
    path = urlsplit(text).path if "://" in text else text
    name = re.sub(r"^(www\.)?kaggle\.com/", "", path.strip("/"))
    name = re.sub(r"^(c|competitions)/", "", name).split("/")[0]
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]+", name):
        raise ValueError(
            f"{text!r} is no name of a competition; it is what stands behind /competitions/ in its address, such as "
            "deepfake-detection-challenge"
        )
    return name


def look_first(owner: str, competition: str, kaggle: Kaggle, say: Say) -> None:
    """Hold that the account and the competition are what the user believes.

    Args:
        owner: of the dataset and the kernel.
        competition: its name.
        kaggle: the client.
        say: is given what is found.

    Raises:
        ValueError: the token is of another account than the owner.
        NotSignedIn: the credentials are not accepted.
        Refused: the competition is not there, or its rules are not accepted.
        DfdcError: Kaggle does not answer.
    """
    timer = Timer(SECONDS, 5.0, say, "an answer of Kaggle", "try again later")
    version = re.search(r"\d+(\.\d+)+", kaggle("--version", timeout=CALL).out)
    if version is None or version[0] not in TRIED:
        found = version[0] if version else "of an unknown version"
        say(f"note: the kaggle client is {found}; tried are {' and '.join(TRIED)}: {INSTALL}")
    user = re.search(r"^- username: (\S+)$", ask(kaggle, timer, "config", "view").out, re.MULTILINE)
    if user is None or user[1] == "None":
        raise DfdcError("Kaggle's client does not say whose token this is; make one at https://www.kaggle.com/settings")
    if user[1] != owner:
        other = "spells itself" if user[1].lower() == owner.lower() else "is"
        raise ValueError(
            f"the account of this token {other} {user[1]!r}, and --owner is {owner!r}: use --owner {user[1]}"
        )
    try:
        ask(kaggle, timer, "competitions", "submissions", competition, "--format", "json")
    except NotThere as error:
        page = f"https://www.kaggle.com/competitions/{competition}"
        raise Refused(f"{competition}: {error}; see {page}: does it exist, and are its rules accepted?") from error
    say(f"signed in as {user[1]}; {competition} shows its submissions")
