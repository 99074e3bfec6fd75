#!/usr/bin/env python3
"""What Kaggle runs: finds the videos in the input folder, predicts inside the budget, cannot lose the submission.

python inference/kernel.py                                   in a Kaggle kernel
python inference/kernel.py --input FOLDER --output s.csv     anywhere

A process of its own, `dfdc predict --budget`, does the work. When it dies, this script starts it again, and its journal
tells what is left. When it is late, this script ends it and writes what the journal has. Code and members come from one
tree only: the one that the start script has verified and names with --tree. Nothing in the input counts as code or
weights. Needs no network and no Kaggle library.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from common.errors import DfdcError
from common.files import VIDEO_ENDINGS
from inference.schedule.duration import parse_duration
from inference.videos import journal_of

COMPETITION = "deepfake-detection-challenge"
# Where Kaggle mounts a competition's data: the older and the newer layout of /kaggle/input.
MOUNTS = ("{competition}", "competitions/{competition}")
# The folder of the videos to predict has one of these names, the likelier first: DFDC's, and the usual one.
TEST_FOLDERS = ("test_videos", "test")
SAMPLE = "sample_submission.csv"
RESTARTS = 3  # deaths in a row in which no video was begun, after which this script writes what is there
HOPELESS = 30  # the same where videos were begun and none was finished; a video is given up after 25 (inference/run.py)
SUSPECT = 2  # deaths in a row without a finished video, after which the GPU is under suspicion and the CPU goes on
GRACE = 10.0  # seconds that a process has to end by itself before it is killed
DONE, FALLBACKS = 0, 3  # exit codes of `dfdc predict` after which the submission is complete


@dataclass(frozen=True)
class Found:
    """What the kernel works on.

    Attributes:
        videos: the folder with the videos to predict.
        sample: the sample submission that gives rows and their order; None where there is none.
    """

    videos: Path
    sample: Path | None


def find(folder: Path, competition: str = COMPETITION, videos: Path | None = None, sample: Path | None = None) -> Found:
    """Find the videos and the sample submission in the input folder.

    Only the competition's own mount counts where there is one, so that no other attached dataset changes the result.
    Without a mount, the whole folder is searched.

    Args:
        folder: the input folder, /kaggle/input in a Kaggle session.
        competition: the competition's name in its address, which is the name of its mount.
        videos: the folder of videos, where it is given and not searched.
        sample: the sample submission, where it is given and not searched.

    Raises:
        DfdcError: when nothing is found, when more than one thing may be meant (the message lists them), or when
            what is given does not exist.
    """
    if videos is not None and not videos.is_dir():
        raise DfdcError(f"--videos {videos} is not a folder")
    if sample is not None and not sample.is_file():
        raise DfdcError(f"--sample {sample} is not a file")
    mounts = [mount for text in MOUNTS if (mount := folder / text.format(competition=competition)).is_dir()]
    top = _only(mounts, "folders that may be the competition's data", "detach the other dataset") if mounts else folder
    counts, samples = _walk(top)
    return Found(videos or _test_folder(top, counts), sample or _sample(top, samples))


def _walk(top: Path) -> tuple[dict[Path, int], list[Path]]:
    """Every folder with its number of videos, and every sample submission."""
    counts, samples = dict[Path, int](), list[Path]()
    for place, inner, names in os.walk(top, followlinks=True):
        inner.sort()
        counts[Path(place)] = sum(name.lower().endswith(VIDEO_ENDINGS) for name in names)
        samples += [Path(place) / SAMPLE] if SAMPLE in names else []
    return counts, samples


def _test_folder(top: Path, counts: dict[Path, int]) -> Path:
    """The folder of the test videos: the one with a name that says so, otherwise the only one with videos."""
    for name in TEST_FOLDERS:
        if named := [place for place in counts if place.name == name]:
            # DFDC's training sample lies beside the test videos: an empty test folder must not lead there.
            filled = [place for place in named if counts[place]]
            if not filled:
                raise DfdcError(f"{named[0]} has no video; attach the competition's data to the kernel")
            return _only(filled, "folders with test videos", "name the right one with --videos")
    if not (filled := [place for place, count in counts.items() if count]):
        raise DfdcError(f"{top} has no folder with videos; attach the competition's data to the kernel")
    return _only(filled, "folders with videos", "name the right one with --videos")


def _sample(top: Path, samples: list[Path]) -> Path | None:
    """The sample submission: the one at the top, otherwise the only one, None where there is none."""
    if not samples or top / SAMPLE in samples:
        return top / SAMPLE if samples else None
    return _only(samples, "sample submissions", "name the right one with --sample")


def _only(found: list[Path], what: str, remedy: str) -> Path:
    """The one thing that was found; DfdcError that lists them when there are several."""
    if len(found) > 1:
        lines = "".join(f"\n  {path}" for path in found)
        raise DfdcError(f"found {len(found)} {what}; {remedy}:{lines}")
    return found[0]


def supervise(
    command: Sequence[str], output: Path, deadline: float, environment: Mapping[str, str] | None = None
) -> int:
    """Run `command` until it has written the submission; start it again after each death.

    A command that ends with an error before it begins a video does so every time, so it has few tries; one that was
    killed has more. A command that dies in the middle of a video is tried on the CPU, since a GPU that is lost takes
    every process with it.

    Args:
        command: `dfdc predict` and its arguments.
        output: the submission, beside which the journal lies.
        deadline: time at which the command is ended, in seconds of time.time().
        environment: of the command; without it that of this process.

    Returns:
        The last exit code; negative for a signal.
    """
    journal, idle, stuck, before = journal_of(output), 0, 0, (-1, -1)
    while True:
        code = _run([*command, *(("--device", "cpu") if stuck >= SUSPECT else ())], deadline, environment)
        if code in (DONE, FALLBACKS) or time.time() >= deadline:
            return code
        after = _progress(journal)
        idle = idle + 1 if after == before else 1
        stuck = stuck + 1 if after[0] == before[0] else 1
        before = after
        why = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        print(f"predicting ended with {why}", file=sys.stderr, flush=True)
        if (idle >= RESTARTS and code > 0) or stuck >= HOPELESS:
            return code
        where = ", on the CPU" if stuck >= SUSPECT else ""
        print(f"starting it again{where}; finished videos are kept", file=sys.stderr, flush=True)


def _progress(journal: Path) -> tuple[int, int]:
    """How many videos the journal calls finished, and its bytes."""
    text = journal.read_bytes() if journal.exists() else b""
    return text.count(b' {"done":'), len(text)


def _run(command: Sequence[str], deadline: float, environment: Mapping[str, str] | None) -> int:
    with subprocess.Popen(command, env=environment) as process:
        try:
            return process.wait(max(0.0, deadline - time.time()))
        except subprocess.TimeoutExpired:
            print("the budget is used up: predicting is ended", file=sys.stderr, flush=True)
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
    """Write what the journal knows into the submission, and the prior into the other rows.

    Args:
        output: a submission with all rows, which is replaced.
        journal: the journal of the run; it may be missing or damaged.

    Returns:
        How many rows the journal knew.
    """
    from inference.journal import results_of
    from inference.result import PRIOR
    from inference.submission import read_sample, write_submission

    order = read_sample(output)
    prob = results_of(journal) if journal.exists() else {}
    known = {name: prob[name] for name in order if name in prob}
    write_submission(output, {name: known.get(name, PRIOR) for name in order}, order, (0.0, 1.0))
    return len(known)


def main(arguments: Sequence[str] | None = None) -> int:
    """Find the videos, predict, write the submission.

    Args:
        arguments: of the command line; those that this script does not know go to `dfdc predict`.

    Returns:
        The exit code: 0 or 3 (too many fallbacks) when the submission is complete.

    Raises:
        DfdcError: when the videos are not found.
    """
    started = float(os.environ.get("DFDC_STARTED", time.time()))
    options, rest = _parser().parse_known_args(arguments)
    found = find(options.input, options.competition, options.videos, options.sample)
    print(f"videos: {found.videos}; sample: {found.sample}; code and members: {options.tree}", flush=True)
    # The command ends by itself before the reserve begins. When half of the reserve is gone, it hangs.
    deadline = started + options.budget - options.reserve / 2
    code = supervise(
        [*_command(options, found), *rest], options.output, deadline, {**os.environ, "DFDC_STARTED": repr(started)}
    )
    if code in (DONE, FALLBACKS):
        return code
    if not options.output.exists():
        return code or 1
    finish_from_journal(options.output, journal_of(options.output))
    return DONE


def _parser() -> argparse.ArgumentParser:
    # Without abbreviations: a short form of one of these may be an option of `dfdc predict`.
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--input", type=Path, default=Path("/kaggle/input"), help="folder to search")
    parser.add_argument("--output", type=Path, default=Path("/kaggle/working/submission.csv"))
    parser.add_argument("--tree", type=Path, default=ROOT, help="verified code, with the members in models/weights")
    parser.add_argument("--competition", default=COMPETITION, help="its name in its address, and of its folder")
    parser.add_argument("--videos", type=Path, help="folder of the videos to predict (default: found in --input)")
    parser.add_argument("--sample", type=Path, help="sample submission (default: found in --input)")
    parser.add_argument("--budget", type=parse_duration, default=parse_duration("8h50m"), help="for example 9h, 90m")
    parser.add_argument("--reserve", type=parse_duration, default=parse_duration("2m"), help="kept for writing")
    return parser


def _command(options: argparse.Namespace, found: Found) -> list[str]:
    """The command line of `dfdc predict`."""
    tree = options.tree
    command = [sys.executable, str(tree / "dfdc.py"), "predict", str(found.videos), "-o", str(options.output)]
    command += ["--members", str(tree / "models" / "weights"), "--max-fallback", "1"]
    command += ["--budget", f"{options.budget}s", "--reserve", f"{options.reserve}s"]
    return command + (["--sample", str(found.sample)] if found.sample else [])


if __name__ == "__main__":
    sys.exit(main())
