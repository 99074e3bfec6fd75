"""The history and the queue in one SQLite file, and the uploads beside it.

A video is accepted when its file and its row are on the disk. Whatever ends the server, the rows that are not done are
run again by the next one.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import DfdcError
from common.files import lock_file, sync

VERSION = 1  # of the tables
SCHEMA = """
CREATE TABLE IF NOT EXISTS videos (
    number INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order of acceptance
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL, -- what the user calls it; it is shown and never opened
    bytes INTEGER NOT NULL,
    created REAL NOT NULL, -- time.time()
    finished REAL,
    state TEXT NOT NULL, -- queued, running, done
    stage TEXT NOT NULL, -- of a running video: decoding, scoring
    deaths INTEGER NOT NULL, -- of worker processes, while they worked on it
    has_file INTEGER NOT NULL,
    result TEXT, -- JSON
    report TEXT -- HTML
);
CREATE INDEX IF NOT EXISTS by_state ON videos (state, number);
"""
COLUMNS = "number, id, name, bytes, created, finished, state, stage, deaths, has_file, report IS NOT NULL, result"


@dataclass(frozen=True)
class Video:
    """A row of the history."""

    number: int
    id: str
    name: str
    bytes: int
    created: float
    finished: float | None
    state: str
    stage: str
    deaths: int
    has_file: bool
    has_report: bool
    result: dict[str, Any] | None


class Store:
    """The folder of a server: its history, its queue and the files that wait."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, or make it; rows that were running wait again, and files without a row are removed.

        Args:
            folder: of one server at a time.

        Raises:
            DfdcError: another server has it, a newer version wrote it, or it cannot be written.
        """
        self.folder, self.uploads = folder, folder / "uploads"
        try:
            self.uploads.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)  # videos and faces of people lie here
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DfdcError(f"{folder} cannot be written ({error}); give another with --data") from error
        if not lock_file(self._lock):
            os.close(self._lock)
            raise DfdcError(f"another dfdc serve uses {folder}; stop it, or give another folder with --data")
        try:
            self._database = self._opened()
            self._recover()
        except sqlite3.DatabaseError as error:
            os.close(self._lock)
            raise DfdcError(f"{folder / 'history.sqlite'} is damaged ({error}); move it away to begin anew") from error
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Let go of the folder."""
        self._database.close()
        os.close(self._lock)

    def _opened(self) -> sqlite3.Connection:
        # Statements are made from the event loop and its threads, one at a time: SQLite's own lock sees to that.
        database = sqlite3.connect(self.folder / "history.sqlite", isolation_level=None, check_same_thread=False)
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            database.close()
            raise DfdcError(f"{self.folder} is of a newer dfdc (version {version}); update, or give another --data")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")  # an accepted video survives a power cut
        database.execute("PRAGMA secure_delete = ON")  # what is deleted leaves no trace in the file
        database.executescript(SCHEMA)
        database.execute(f"PRAGMA user_version = {VERSION}")
        return database

    def _recover(self) -> None:
        self._database.execute("UPDATE videos SET state = 'queued', stage = '' WHERE state = 'running'")
        known = {row[0] for row in self._database.execute("SELECT id FROM videos WHERE has_file")}
        for path in self.uploads.iterdir():
            if path.name not in known:
                path.unlink()

    def path_of(self, identity: str) -> Path:
        """Where the file of a video lies; the name is ours, whatever the user calls it."""
        return self.uploads / identity

    def accept(self, identity: str, name: str, part: Path) -> Video:
        """Put a file that is complete into the queue; when this returns, it survives a kill.

        Args:
            identity: a new one.
            name: what the user calls the video.
            part: the file, inside the folder of uploads; it is renamed.
        """
        target = self.path_of(identity)
        size = part.stat().st_size
        sync(part)
        part.replace(target)
        sync(self.uploads)
        self._database.execute(
            "INSERT INTO videos (id, name, bytes, created, state, stage, deaths, has_file)"
            " VALUES (?, ?, ?, ?, 'queued', '', 0, 1)",
            (identity, name, size, time.time()),
        )
        return self.get(identity)

    def get(self, identity: str) -> Video:
        """A video. Raises KeyError when there is none."""
        row = self._database.execute(f"SELECT {COLUMNS} FROM videos WHERE id = ?", (identity,)).fetchone()  # noqa: S608
        if row is None:
            raise KeyError(identity)
        return _video(row)

    def newest(self, limit: int, before: int | None = None) -> list[Video]:
        """The newest videos first. before: only those with a lower number."""
        rows = self._database.execute(
            f"SELECT {COLUMNS} FROM videos WHERE number < ? ORDER BY number DESC LIMIT ?",  # noqa: S608
            (2**62 if before is None else before, limit),
        )
        return [_video(row) for row in rows]

    def report(self, identity: str) -> str | None:
        """The page of a finished video; None where it has none."""
        row = self._database.execute("SELECT report FROM videos WHERE id = ?", (identity,)).fetchone()
        return None if row is None else row[0]

    def waiting(self) -> list[str]:
        """The videos that wait, in their order."""
        rows = self._database.execute("SELECT id FROM videos WHERE state = 'queued' ORDER BY number")
        return [row[0] for row in rows]

    def unfinished(self) -> int:
        """How many videos wait or are worked on."""
        row = self._database.execute("SELECT count(*) FROM videos WHERE state != 'done'").fetchone()
        return int(row[0])

    def claim(self) -> Video | None:
        """Take the next video out of the queue; None when none waits."""
        waiting = self.waiting()
        if not waiting:
            return None
        self._database.execute("UPDATE videos SET state = 'running', stage = '' WHERE id = ?", (waiting[0],))
        return self.get(waiting[0])

    def set_stage(self, identity: str, stage: str) -> None:
        """A running video has come to a stage."""
        self._database.execute("UPDATE videos SET stage = ? WHERE id = ?", (stage, identity))

    def put_back(self, identity: str, died: bool = False) -> int:
        """Let a video wait again. died: its worker died on it. Returns how often that has happened."""
        rows = self._database.execute(
            "UPDATE videos SET state = 'queued', stage = '', deaths = deaths + ? WHERE id = ? RETURNING deaths",
            (int(died), identity),
        ).fetchall()
        return int(rows[0][0]) if rows else 0

    def finish(self, identity: str, result: Mapping[str, Any], report: str | None) -> None:
        """A video has its answer."""
        self._database.execute(
            "UPDATE videos SET state = 'done', stage = '', finished = ?, result = ?, report = ? WHERE id = ?",
            (time.time(), json.dumps(result), report, identity),
        )

    def delete(self, identity: str) -> None:
        """Forget a video: its file, its result and its pictures."""
        self._database.execute("DELETE FROM videos WHERE id = ?", (identity,))
        self.path_of(identity).unlink(missing_ok=True)

    def remove_old_files(self, keep: float) -> Iterator[str]:
        """Remove the files of videos that were finished `keep` seconds ago or earlier; yields each video's id."""
        rows = self._database.execute(
            "SELECT id FROM videos WHERE has_file AND state = 'done' AND finished <= ?", (time.time() - keep,)
        ).fetchall()
        for (identity,) in rows:
            self.path_of(identity).unlink(missing_ok=True)
            self._database.execute("UPDATE videos SET has_file = 0 WHERE id = ?", (identity,))
            yield identity


def _video(row: tuple[Any, ...]) -> Video:
    return Video(*row[:-1], *[None if row[-1] is None else json.loads(row[-1])])
