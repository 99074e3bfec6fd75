"""What Kaggle shows of a dataset: status, version, names and sizes, and one file's bytes. It tells no hashes."""

from __future__ import annotations

import re
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from common.errors import DfdcError
from kaggle_dataset.submit.faults import NotThere
from kaggle_dataset.submit.kaggle_client import Kaggle
from kaggle_dataset.submit.polling import Timer, ask

IDLE = {"ready", "failed"}  # statuses in which nothing is being processed


@dataclass(frozen=True)
class RemoteState:
    """A dataset as `datasets status` shows it."""

    status: str
    version: int

    @property
    def idle(self) -> bool:
        """Nothing is being processed, so that the version is the newest there will be."""
        return self.status in IDLE


class Remote:
    """One dataset on Kaggle. Everything here only reads, and asks again until the timer's deadline."""

    def __init__(self, ref: str, kaggle: Kaggle, timer: Timer) -> None:
        self.ref, self.kaggle, self.timer = ref, kaggle, timer

    def look(self) -> RemoteState | None:
        """The dataset now; None: 403 or 404, which is also what its owner is told while it is being created."""
        try:
            values = ask(self.kaggle, self.timer, "datasets", "status", self.ref, "--format", "json").json()
            seen = RemoteState(str(values["status"]), int(values["current_version_number"] or 0))
        except NotThere:
            return None
        except (KeyError, TypeError, ValueError) as error:
            raise DfdcError(f"kaggle datasets status {self.ref} is not understood ({error!r})") from error
        if seen.status == "deleted":
            raise DfdcError(f"{self.ref} was deleted on Kaggle; build with another slug")
        return seen

    def files(self, version: int) -> dict[str, int]:
        """Name -> bytes of a version, over all pages."""
        command = ("datasets", "files", f"{self.ref}/{version}", "--format", "json", "--page-size", "200")
        files, page = dict[str, int](), tuple[str, ...]()
        while True:
            answer = ask(self.kaggle, self.timer, *command, *page)
            try:
                files |= {str(row["name"]): int(row["size"]) for row in answer.json()}
            except (KeyError, TypeError, ValueError) as error:
                raise DfdcError(f"kaggle {' '.join(command)} is not understood ({error!r})") from error
            token = re.search(r"^Next Page Token = (.+)$", answer.out, re.MULTILINE)
            if not token or page == ("--page-token", token[1]):
                return files
            page = ("--page-token", token[1])

    def read(self, version: int, name: str) -> bytes | None:
        """Return the bytes of a file of a version; None where Kaggle does not hand it out."""
        with tempfile.TemporaryDirectory(prefix="kaggle-") as folder:
            target = ("-f", name, "-p", folder, "-o", "-q")
            try:
                ask(self.kaggle, self.timer, "datasets", "download", f"{self.ref}/{version}", *target)
            except NotThere:
                return None
            # Kaggle is free to send a file zipped, and the client leaves it so.
            for path in (Path(folder) / name, Path(folder) / f"{name}.zip"):
                if zipfile.is_zipfile(path):
                    with zipfile.ZipFile(path) as archive:
                        return archive.read(name) if name in archive.namelist() else None
                if path.is_file():
                    return path.read_bytes()
        return None
