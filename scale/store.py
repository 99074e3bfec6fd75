"""Where a run over units lives: its manifest, its plan, and what each unit made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import DfdcError
from common.files import sha256_of
from common.storage import Folder
from scale.units import Unit

MANIFEST = "manifest.json"
MACHINE = "machine.json"
PLAN = "plan.jsonl"


@dataclass(frozen=True)
class UnitReport:
    """What became of a unit."""

    id: str
    done: bool
    statuses: dict[str, int] = field(default_factory=dict)  # of videos -> how many
    seconds: float = 0.0  # wall clock; 0 for one that was done before
    reason: str = ""  # why it is not done


class Store:
    """The folder of a run. A unit is done when its index object is there, which is written last and once.

    Its other objects carry a hash of their bytes in their names: two workers that make one unit never write over each
    other's, and the index says whose count.
    """

    def __init__(self, url: str) -> None:
        """Open a run's folder; errors are those of `Folder`.

        Args:
            url: a path or an fsspec URL.
        """
        self.folder = Folder(url)
        self.url = url

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Read a JSON object; None where it is not there. Raises DfdcError for one that is damaged."""
        try:
            values = json.loads(self.folder.read(name))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise DfdcError(f"{self.url}/{name} is damaged ({error}); give another store") from error
        return dict(values)

    def create_json(self, name: str, values: Mapping[str, Any]) -> bool:
        """Write a JSON object unless one is there; False where one is."""
        return self.folder.create(name, json.dumps(values, indent=1, sort_keys=True).encode())

    def manifest(self) -> dict[str, Any]:
        """Read the manifest. Raises ValueError where there is none."""
        values = self.read_json(MANIFEST)
        if values is None:
            raise ValueError(f"{self.url} holds no plan; make one with: dfdc plan INPUT {self.url}")
        return values

    def units(self) -> Iterator[Unit]:
        """Read the units of the plan one by one, in their order."""
        try:
            for line in self.folder.lines(PLAN):
                yield Unit.from_line(line)
        except FileNotFoundError as error:
            raise ValueError(f"{self.url} holds no plan; make one with: dfdc plan INPUT {self.url}") from error

    def is_done(self, unit: Unit) -> bool:
        """Tell whether the index of a unit is there."""
        return self.folder.exists(_index(unit))

    def index_of(self, unit: Unit) -> dict[str, Any] | None:
        """Read the index of a unit, which names its objects; None for one that is not done."""
        return self.read_json(_index(unit))

    def deliver(
        self,
        unit: Unit,
        objects: Mapping[str, Path],
        statuses: Mapping[str, int],
        seconds: float,
        told: Mapping[str, Any],
    ) -> bool:
        """Write what a unit made, its index last.

        Args:
            unit: whose they are.
            objects: file of each object by its role.
            statuses: of videos -> how many.
            seconds: that it took.
            told: what else its index shall say.

        Returns:
            False where another worker has delivered the unit before: then that counts.
        """
        described = {}
        for role, path in objects.items():
            digest = sha256_of(path)
            name = f"results/{unit.id}/{digest[:16]}-{role}"
            self.folder.put(path, name)
            described[role] = {"object": name, "sha256": digest, "bytes": path.stat().st_size}
        index = {"id": unit.id, "number": unit.number, "statuses": dict(statuses), "seconds": round(seconds, 3)}
        return self.create_json(_index(unit), index | {"objects": described, **told})

    def fetch(self, unit: Unit, index: Mapping[str, Any], role: str, target: Path) -> None:
        """Copy an object of a unit to a file, and check its hash. Raises DfdcError for one that is gone or damaged."""
        about = index["objects"][role]
        try:
            self.folder.fetch(about["object"], target, about["bytes"])
        except FileNotFoundError as error:
            raise DfdcError(f"{self.url}: {about['object']} is gone; remove {_index(unit)} to make it anew") from error
        if (found := sha256_of(target)) != about["sha256"]:
            raise DfdcError(f"{about['object']} has SHA-256 {found}, {_index(unit)} names {about['sha256']}")

    def read(self, unit: Unit, index: Mapping[str, Any], role: str) -> bytes:
        """Read a small object of a unit; errors are those of `fetch`."""
        about = index["objects"][role]
        try:
            data = self.folder.read(about["object"])
        except FileNotFoundError as error:
            raise DfdcError(f"{self.url}: {about['object']} is gone; remove {_index(unit)} to make it anew") from error
        if (found := hashlib.sha256(data).hexdigest()) != about["sha256"]:
            raise DfdcError(f"{about['object']} has SHA-256 {found}, {_index(unit)} names {about['sha256']}")
        return data

    def mark(self, unit: Unit, name: str) -> None:
        """Note which video of a unit is being worked on."""
        self.folder.write(f"marks/{unit.id}", name.encode("utf-8", "surrogateescape"))

    def marked(self, unit: Unit) -> str | None:
        """Read the video that was noted last; None without any."""
        try:
            return self.folder.read(f"marks/{unit.id}").decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            return None

    def unmark(self, unit: Unit) -> None:
        """Remove the note."""
        self.folder.remove(f"marks/{unit.id}")


def report_of(index: Mapping[str, Any], seconds: float = 0.0) -> UnitReport:
    """The report of a unit that is done."""
    return UnitReport(index["id"], True, dict(index["statuses"]), seconds)


def _index(unit: Unit) -> str:
    return f"units/{unit.id}.json"
