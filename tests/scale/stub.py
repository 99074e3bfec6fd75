"""Workers for tests of engines, which die, hang or wait where a text in or beside a video says so."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

from common.storage import Folder
from faces.decode.decoder import Decoder
from faces.decode.worker import Decoded, Job
from scale.driver import Attempt
from scale.engines import process
from scale.store import Store, UnitReport
from scale.worker import Made, UnitWorker, WorkerSetup

LIMIT = 300.0  # seconds after which a gate that nobody opens is open


class StubTask:
    """Takes a video's P(fake) from its bytes, and dies, hangs or waits for a gate where they say so."""

    def make(self, unit, paths, work, aside, tick, end=None) -> Made:
        statuses, lines = Counter(), []
        for item in unit.items:
            row = {"filename": item.key, "status": "ok", "prob_fake": 0.5, "faces": [], "people": []}
            if item.key in aside:
                row["status"], row["reason"] = aside[item.key]
            else:
                if tick:
                    tick(item.key)
                data = paths[item.key].read_bytes()
                suffer(data.decode(), paths[item.key].parent)
                row["prob_fake"] = 0.25 + hashlib.sha256(data).digest()[0] / 512
            statuses[row["status"]] += 1
            lines.append(json.dumps(row))
        (work / "rows.jsonl").write_text("\n".join(lines) + "\n")
        return Made({"rows.jsonl": work / "rows.jsonl"}, statuses)


def suffer(text: str, folder: Path) -> None:
    """Die, hang, or wait at a gate, as a text says; who hangs or waits leaves a file with the number of its process."""
    what, _, about = text.partition(" ")
    if what == "SEGV":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "HANG":
        (folder / f"hangs {os.getpid()}").touch()
        time.sleep(10**6)
    if what == "GATE":
        (folder / f"at {about} {os.getpid()}").touch()
        end = time.monotonic() + LIMIT
        while not (folder / f"open {about}").exists() and time.monotonic() < end:
            time.sleep(0.01)


def run_stub(setup: WorkerSetup, attempt: Attempt) -> UnitReport:
    """A unit through the real `UnitWorker.run` with that task."""
    worker = object.__new__(UnitWorker)
    worker.store = Store(setup.store)
    worker.input, worker.task = Folder(worker.store.manifest()["input"]), StubTask()
    return worker.run(attempt.unit, attempt.aside, attempt.careful, attempt.time)


class SufferingDecoder:
    """The decoder of an `ExtractTask`, in whose place the worker itself suffers what a file beside the video says."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder

    def decode(self, job: Job) -> Decoded:
        hurt = Path(f"{job.path}.hurt")
        if hurt.exists():
            suffer(hurt.read_text(), hurt.parent)
        return self.decoder.decode(job)


def run_extract(setup: WorkerSetup, attempt: Attempt) -> UnitReport:
    """A unit of `dfdc extract` by the real worker, with real detectors, which suffers."""
    worker = process._worker.get(setup)
    if worker is None:
        worker = process._worker[setup] = UnitWorker(setup)
        worker.task.decoder = SufferingDecoder(worker.task.decoder)
    return process.run_in_worker(setup, attempt)
