"""What survives a kill: one checksummed line for each video that is finished, and for each that was begun."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import DfdcError
from common.files import lock_file
from inference.result import PersonResult, ScoredFace, VideoResult

VERSION = 1


class Journal:
    """Results on the disk from the moment they are known, for a run that may be killed at any.

    A line is the CRC-32 of a JSON text and that text. Opened again, a torn last line is cut off and a damaged one is
    passed over: its video is predicted again. A disk that is full ends the journal, not the run: it goes on in memory
    and says so once.
    """

    def __init__(self, path: Path, about: Mapping[str, Any], restart: bool = False) -> None:
        """Open or go on with a journal. restart: what is in it is thrown away.

        about: everything that decides the numbers (blend, weights, frames); a journal about something else is refused
        with DfdcError, and so is one that another run has open.
        """
        self.path, self.results, self.begun = path, dict[str, VideoResult](), Counter[str]()
        self._sizes: dict[str, int] = {}
        self._end, self._broken = 0, False
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._lock()
            if restart:
                os.ftruncate(self._file, 0)
            self._read(json.loads(json.dumps({"journal": VERSION, **about})))
        except BaseException:
            os.close(self._file)
            raise

    def begin(self, filename: str) -> None:
        """Native code is about to work on this video: if the process dies now, this is the one to suspect."""
        self.begun[filename] += 1
        self._append({"begin": filename})

    def add(self, result: VideoResult, size: int) -> None:
        """A video is finished. size: bytes of its file, by which another file of that name is told apart."""
        self.results[result.filename] = result
        self._append({"done": to_values(result), "size": size})

    def known(self, filename: str, size: int) -> VideoResult | None:
        """The result of a video that was finished before, unless its file has another size now."""
        return self.results.get(filename) if self._sizes.get(filename, size) == size else None

    def close(self, remove: bool = False) -> None:
        """Let go of the file; remove: the run is over and nothing is left to go on with."""
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self._file)

    def _lock(self) -> None:
        if not lock_file(self._file):
            raise DfdcError(f"another run is writing {self.path}; wait for it, or give another --output")

    def _read(self, about: dict[str, Any]) -> None:
        """Take in the complete lines and find where the next one goes."""
        with open(self._file, "rb", closefd=False) as handle:
            lines = handle.read().split(b"\n")
        # What follows the last line's end was being written when the process died.
        torn = lines.pop()
        self._end = sum(len(line) + 1 for line in lines)
        if torn:
            os.ftruncate(self._file, self._end)
        if not lines:
            self._append(about)
            return
        self._check(_parse(lines[0]), about)
        damaged = 0
        for line in lines[1:]:
            values = _parse(line)
            damaged += values is None
            self._take(values or {})
        if damaged:
            print(f"{self.path}: {damaged} damaged lines, their videos are predicted again", file=sys.stderr)

    def _check(self, values: dict[str, Any] | None, about: dict[str, Any]) -> None:
        if values is None:
            raise DfdcError(f"the first line of {self.path} is damaged; start anew with --restart")
        known = _OLDER | values
        if different := [key for key in about if known.get(key) != about[key]]:
            key = different[0]
            raise DfdcError(
                f"{self.path} is the journal of a run with {key} {known.get(key)!r}, and this one has {about[key]!r}; "
                f"run it the same way, start anew with --restart, or give another --output"
            )

    def _take(self, values: dict[str, Any]) -> None:
        if "begin" in values:
            self.begun[values["begin"]] += 1
        if "done" in values:
            result = from_values(values["done"])
            self.results[result.filename], self._sizes[result.filename] = result, values["size"]

    def _append(self, values: Mapping[str, Any]) -> None:
        if self._broken:
            return
        line = _line(values)
        try:
            written = os.pwrite(self._file, line, self._end)
            if written < len(line):
                raise OSError(f"only {written} of {len(line)} bytes fitted")
            os.fsync(self._file)
        except OSError as error:
            self._broken = True
            os.ftruncate(self._file, self._end)
            print(f"{self.path} cannot be written ({error}): the run goes on, but not after a kill", file=sys.stderr)
            return
        self._end += len(line)


def results_of(path: Path) -> dict[str, float]:
    """prob_fake of every video that a journal calls finished, whatever run it is of; damaged lines are left out."""
    records = (_parse(line) for line in path.read_bytes().split(b"\n"))
    done = [record["done"] for record in records if record and "done" in record]
    return {str(values["filename"]): float(values["prob_fake"]) for values in done}


PICTURES = ("thumbnails", "closeups")  # fields of a result that a journal leaves out
# What runs had whose journals do not say so yet.
_OLDER = {"tolerance": 0.0, "sparing": False}
# Field of a face -> its key in the journal, where the two differ: journals of older versions are read on.
_KEYS = {"detector": "step"}


def _line(values: Mapping[str, Any]) -> bytes:
    text = json.dumps(values, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _parse(line: bytes) -> dict[str, Any] | None:
    """The values of a line; None for a damaged one."""
    text = line[9:]
    if line[8:9] != b" " or b"%08x" % zlib.crc32(text) != line[:8]:
        return None
    values = json.loads(text)
    return values if isinstance(values, dict) else None


def to_values(result: VideoResult) -> dict[str, Any]:
    """A result without its pictures. Floats keep every bit: JSON writes the shortest text that reads back the same."""
    faces = [
        {
            **{_KEYS.get(f.name, f.name): getattr(face, f.name) for f in dataclasses.fields(face)},
            "box_xyxy": face.box_xyxy.tolist(),
        }
        for face in result.faces
    ]
    plain = {f.name: getattr(result, f.name) for f in dataclasses.fields(result) if f.name not in PICTURES}
    for name in ("looked", "with_face"):
        if not plain[name]:
            del plain[name]  # a result that has none is written as before there was such a number
    return {**plain, "faces": faces, "people": [dataclasses.asdict(person) for person in result.people]}


def from_values(values: dict[str, Any]) -> VideoResult:
    fields = {key: name for name, key in _KEYS.items()}
    faces = tuple(
        ScoredFace(
            **{fields.get(key, key): value for key, value in face.items() if key != "box_xyxy"},
            box_xyxy=np.array(face["box_xyxy"], dtype=np.float32),
        )
        for face in values["faces"]
    )
    people = tuple(PersonResult(**person) for person in values["people"])
    return VideoResult(**{**values, "faces": faces, "people": people})
