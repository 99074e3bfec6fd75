#!/usr/bin/env python3
"""What Kaggle runs: finds videos and members in the input folder, judges inside the budget, cannot lose the submission.

python inference/kernel.py                                   in a Kaggle kernel
python inference/kernel.py --input FOLDER --output s.csv     anywhere

Judging runs in a process of its own, `dfdc predict --budget`. Dies it, it is started again and its journal tells what
is left; is it late, it is ended, and what its journal has is written. Needs no network and no Kaggle library.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from common.errors import DfdcError
from common.files import VIDEO_ENDINGS, sha256_of
from inference.schedule.duration import parse_duration
from inference.videos import journal_of

MANIFEST = "manifest.json"
SAMPLE = "sample_submission.csv"
RESTARTS = 3  # deaths in a row in which no video was even begun, after which what is there is written
HOPELESS = 30  # the same where videos were begun and none was finished; a video is given up after 25 (inference/run.py)
SUSPECT = 2  # deaths in a row without a finished video, after which the GPU may be to blame: the CPU goes on
GRACE = 10.0  # seconds that a process has to end by itself before it is killed
DONE, FALLBACKS = 0, 3  # exit codes of `dfdc predict` after which the submission is there


@dataclass(frozen=True)
class Found:
    """What lies in the input folder."""

    videos: Path  # the folder with the most videos
    sample: Path | None
    root: Path  # of the code, which has the members in models/weights


def find(folder: Path) -> Found:
    """Walk the input folder; DfdcError when it has no videos, or a file differs from its manifest."""
    manifest, sample, counts = None, None, dict[Path, int]()
    for place, _, names in os.walk(folder, followlinks=True):
        # Other datasets have a manifest.json too, and one of ours whose code was laid out elsewhere was verified there.
        if MANIFEST in names and "dfdc.py" in names:
            manifest = Path(place) / MANIFEST
        if SAMPLE in names:
            sample = Path(place) / SAMPLE
        counts[Path(place)] = sum(name.lower().endswith(VIDEO_ENDINGS) for name in names)
    most = max(counts, key=lambda place: (counts[place], str(place)), default=None)
    # DFDC's training sample lies beside the test videos, and has metadata.json in it.
    tests = [place for place, count in counts.items() if count and place.name == "test_videos"]
    chosen = tests[0] if tests else most
    if chosen is None or not counts[chosen]:
        raise DfdcError(f"{folder} has no folder with videos; attach the competition's data to the kernel")
    if manifest is not None:
        verify(manifest)
    return Found(chosen, sample, manifest.parent if manifest else ROOT)


def verify(manifest: Path) -> int:
    """Check size and SHA-256 of every file that a manifest names; returns how many. DfdcError for the first other one.

    A manifest is {"files": [{"name": path from the manifest's folder, "bytes": n, "sha256": hex}]}.
    """
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        expected = [(manifest.parent / str(f["name"]), int(f["bytes"]), str(f["sha256"])) for f in files]
        if outside := [f["name"] for f in files if Path(f["name"]).is_absolute() or ".." in Path(f["name"]).parts]:
            raise ValueError(f"{outside[0]!r} does not lie below it")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DfdcError(f"{manifest} is no manifest: {error}") from error
    for path, size, sha256 in expected:
        if not path.is_file():
            raise DfdcError(f"{path} is missing, and {manifest} names it; make a new version of the dataset")
        actual = sha256_of(path)
        if path.stat().st_size != size or actual != sha256:
            raise DfdcError(f"{path} differs from {manifest}: SHA-256 {actual[:12]}, expected {sha256[:12]}")
    return len(expected)


def supervise(command: Sequence[str], output: Path, deadline: float) -> int:
    """Run `command` until it has written the submission, again after each death, no longer than `deadline`.

    deadline: of time.time(). Returns the last exit code. What ends with an error before it begins a video will not be
    better the fourth time, what was killed may be. What dies while it judges is tried on the CPU, since a GPU that is
    lost takes every process with it.
    """
    journal, idle, stuck, before = journal_of(output), 0, 0, (-1, -1)
    while True:
        code = _run([*command, *(("--device", "cpu") if stuck >= SUSPECT else ())], deadline)
        if code in (DONE, FALLBACKS) or time.time() >= deadline:
            return code
        after = _progress(journal)
        idle = idle + 1 if after == before else 1
        stuck = stuck + 1 if after[0] == before[0] else 1
        before = after
        why = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        print(f"judging ended with {why}", file=sys.stderr, flush=True)
        if (idle >= RESTARTS and code > 0) or stuck >= HOPELESS:
            return code
        where = ", on the CPU" if stuck >= SUSPECT else ""
        print(f"starting it again{where}; finished videos are kept", file=sys.stderr, flush=True)


def _progress(journal: Path) -> tuple[int, int]:
    """How many videos it calls finished, and its bytes."""
    text = journal.read_bytes() if journal.exists() else b""
    return text.count(b' {"done":'), len(text)


def _run(command: Sequence[str], deadline: float) -> int:
    with subprocess.Popen(command) as process:
        try:
            return process.wait(max(0.0, deadline - time.time()))
        except subprocess.TimeoutExpired:
            print("the budget is used up: judging is ended", file=sys.stderr, flush=True)
            process.terminate()
            try:
                return process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                return process.wait()
        except BaseException:
            process.kill()
            raise


def finish_from_journal(output: Path, journal: Path) -> int:
    """Write what the journal knows into the submission, the prior into the other rows; returns how many it knew."""
    from inference.journal import results_of
    from inference.result import PRIOR
    from inference.submission import read_sample, write_submission

    order = read_sample(output)
    prob = results_of(journal) if journal.exists() else {}
    known = {name: prob[name] for name in order if name in prob}
    write_submission(output, {name: known.get(name, PRIOR) for name in order}, order, (0.0, 1.0))
    return len(known)


def main(arguments: Sequence[str] | None = None) -> int:
    """Find, judge, write; returns the exit code."""
    started = float(os.environ.get("DFDC_STARTED", time.time()))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, default=Path("/kaggle/input"), help="folder to walk")
    parser.add_argument("--output", type=Path, default=Path("/kaggle/working/submission.csv"))
    parser.add_argument("--budget", type=parse_duration, default=parse_duration("8h50m"), help="for example 9h, 90m")
    parser.add_argument("--reserve", type=parse_duration, default=parse_duration("2m"), help="kept for writing")
    options, rest = parser.parse_known_args(arguments)
    found = find(options.input)
    print(f"videos: {found.videos}; sample: {found.sample}; code and members: {found.root}", flush=True)
    command = [sys.executable, str(found.root / "dfdc.py"), "predict", str(found.videos), "-o", str(options.output)]
    command += ["--members", str(found.root / "models" / "weights"), "--max-fallback", "1"]
    command += ["--budget", f"{options.budget}s", "--reserve", f"{options.reserve}s"]
    command += ["--sample", str(found.sample)] if found.sample else []
    os.environ["DFDC_STARTED"] = repr(started)
    # Judging ends by itself before the reserve begins; half of it later it hangs.
    code = supervise([*command, *rest], options.output, started + options.budget - options.reserve / 2)
    if code in (DONE, FALLBACKS):
        return code
    if not options.output.exists():
        return code or 1
    finish_from_journal(options.output, journal_of(options.output))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
