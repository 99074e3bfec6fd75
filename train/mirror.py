"""A copy of a run away from the machine it runs on, from which the same command goes on elsewhere.

Every object has a name of its own and is written once. What is in force is said by one small object, POINTER, which is
written last: an upload that is cut leaves the one of before in force.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from common.errors import DfdcError
from common.files import atomic_path, link_file, sha256_of
from common.storage import Folder
from train.checkpoint import BEST, LAST, PREVIOUS

POINTER = "latest.json"
# What goes with a checkpoint, where it is there.
FILES = (LAST, BEST, "history.csv")
KEPT = 2  # checkpoints; the one before the last serves where the last is damaged


class Mirror:
    """A folder behind an fsspec URL (s3://, gs://, hf://, file://) that follows a run's folder.

    Args:
        url: of the folder; it holds one run.

    Raises:
        ValueError: the URL is not one that fsspec knows, or its package is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            self.folder = Folder(url)
        except ValueError as error:
            raise ValueError(f"--mirror {error}") from error
        self.url, self.fs, self.root = url, self.folder.fs, self.folder.root
        self._worker: threading.Thread | None = None
        self._waiting: tuple[Path, int] | None = None  # the staged files of the newest save, and its step
        self._lock = threading.Lock()
        self._problem: str = ""  # why the last upload failed

    def restore(self, folder: Path) -> None:
        """Fetch the run into a folder that has none of it, or an older state.

        Args:
            folder: of the run.

        Raises:
            DfdcError: the mirror cannot be read, or every state in it is damaged.
        """
        states = self._read_pointer()
        local = _step_of(folder)
        if not states or (local is not None and local >= states[0]["step"]):
            return
        for state in states:
            try:
                self._fetch(state, folder)
            except (OSError, DfdcError) as error:
                print(f"{self.url}: step {state['step']} cannot be fetched: {error}", file=sys.stderr)
                continue
            (folder / PREVIOUS).unlink(missing_ok=True)  # of an older run of this folder
            print(f"going on from {self.url}, step {state['step']}", file=sys.stderr)
            return
        raise DfdcError(f"no state in {self.url} can be fetched; see above. Give another --mirror to start again")

    def _fetch(self, state: dict[str, Any], folder: Path) -> None:
        # The checkpoint last: with it in place the folder is one to go on from.
        for name in sorted(state["files"], key=lambda name: name == LAST):
            file = state["files"][name]
            with atomic_path(folder / name) as temporary:
                self.fs.get_file(self._path(file["object"]), str(temporary))
                if (found := sha256_of(temporary)) != file["sha256"]:
                    raise DfdcError(f"{file['object']} has SHA-256 {found}, expected {file['sha256']}")

    def send(self, folder: Path, step: int) -> None:
        """Copy the run's present state, in the background; the newest one wins where the line is slower than the saves.

        Args:
            folder: of the run; its files may be replaced as soon as this returns.
            step: of the checkpoint in it.
        """
        staged = Path(tempfile.mkdtemp(dir=folder, prefix=".mirror.", suffix=".tmp"))
        for name in FILES:
            if (folder / name).exists():
                link_file(folder / name, staged / name)
        with self._lock:
            if self._waiting is not None:
                shutil.rmtree(self._waiting[0])
            self._waiting = (staged, step)
            if self._worker is None or not self._worker.is_alive():
                self._worker = threading.Thread(target=self._work, daemon=True)
                self._worker.start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if self._waiting is None:
                    self._worker = None
                    return
                (staged, step), self._waiting = self._waiting, None
            try:
                self._upload({path.name: path for path in staged.iterdir()}, step)
                self._problem = ""
            except Exception as error:  # noqa: BLE001 - each kind of storage has errors of its own; training goes on
                self._problem = f"{self.url}: step {step} could not be copied: {error}"
                print(self._problem, file=sys.stderr)
            shutil.rmtree(staged, ignore_errors=True)

    def close(self) -> None:
        """Wait for the last upload; DfdcError when it has failed."""
        while (worker := self._worker) is not None:
            worker.join()
        if self._problem:
            raise DfdcError(f"{self._problem}; the run itself is whole in its folder")

    def send_member(self, folder: Path, name: str) -> None:
        """Copy a finished member, its weights before its card, and wait for it."""
        self.close()
        for ending in ("safetensors", "json"):
            self.fs.put_file(str(folder / f"{name}.{ending}"), self._path(f"{name}.{ending}"))

    def _upload(self, files: dict[str, Path], step: int) -> None:
        before = self._read_pointer()
        there = {file["object"] for state in before for file in state["files"].values()}
        described = {}
        for name, path in files.items():
            digest = sha256_of(path)
            # The bytes are part of the name: a step is saved before and after its validation, and both may be in force.
            target = f"{step:09d}-{digest[:16]}-{name}" if name == LAST else f"{digest[:16]}-{name}"
            described[name] = {"object": target, "sha256": digest, "bytes": path.stat().st_size}
            if target not in there:
                self.fs.makedirs(self.root, exist_ok=True)
                self.fs.put_file(str(path), self._path(target))
        # A run that went back to an older state overwrites what was ahead of it.
        states = [{"step": step, "files": described}, *(s for s in before if s["step"] < step)][:KEPT]
        self.folder.write(POINTER, json.dumps({"states": states}, indent=1).encode())
        kept = {file["object"] for state in states for file in state["files"].values()}
        for old in there - kept:
            with contextlib.suppress(FileNotFoundError):
                self.fs.rm_file(self._path(old))

    def _read_pointer(self) -> list[dict[str, Any]]:
        """The states, the newest first; an empty list for a mirror that holds nothing."""
        self.fs.invalidate_cache()
        try:
            states: list[dict[str, Any]] = json.loads(self.fs.cat_file(self._path(POINTER)))["states"]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as error:
            raise DfdcError(f"{self.url}/{POINTER} cannot be read: {error}") from error
        return states

    def _path(self, name: str) -> str:
        return self.folder.path(name)


def _step_of(folder: Path) -> int | None:
    """The step of a folder's newest checkpoint that is whole; None without one."""
    from train.checkpoint import read_latest

    try:
        state = read_latest(folder)
    except DfdcError:
        return None  # all damaged: the mirror's is better
    return None if state is None else int(state.facts["step"])
