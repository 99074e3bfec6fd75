"""What an upload remembers for the run after a kill, and the lock that outlives the run itself."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.files import lock_file, write_text
from kaggle_dataset.submit.polling import Timer


@dataclass(frozen=True)
class Record:
    """What we were about when we were last heard of."""

    content: str = ""  # SHA-256 of the manifest
    version: int = 0  # that it is to become, or has become
    step: str = ""  # sending | sent: Kaggle has said yes | done: read back


class UploadState:
    """One record for each dataset, in the state folder."""

    def __init__(self, state: Path, ref: str) -> None:
        """ref: owner/slug."""
        self._folder, stem = state, ref.replace("/", "+")
        self.path, self._lock_path = state / f"upload-{stem}.json", state / f"upload-{stem}.lock"

    def read(self) -> Record:
        """The record; an empty one where there is none, or none that can be read: what Kaggle shows counts then."""
        try:
            return Record(**json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return Record()

    def write(self, record: Record) -> None:
        """Replace it, whole or not at all."""
        write_text(self.path, json.dumps(dataclasses.asdict(record)) + "\n")

    @contextlib.contextmanager
    def alone(self, timer: Timer) -> Iterator[int]:
        """Wait for our turn and yield the lock's file descriptor.

        A client that inherits it holds the lock as long as it lives: where one can outlive a killed run (not on Linux),
        the next run waits for it.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while not lock_file(handle):
                timer.pause("another upload to it, or a kaggle process that one left behind, is still at work")
            yield handle
        finally:
            os.close(handle)
