#!/usr/bin/env python3
"""What tuning costs on a large table, whether its estimates can be trusted, and which rules lose least.

python benchmarks/tune.py large             7 members x 120,000 videos x 32 frames: seconds and memory
python benchmarks/tune.py trap              40 members of noise, 200 videos: nested against naive estimates, 10 seeds
python benchmarks/tune.py storage           two processes on one study
python benchmarks/tune.py rules             loss on fresh videos by which rule decides what ships, table size and gain
python benchmarks/tune.py width             what a calibration by face width gains, and costs where nothing follows it
python benchmarks/tune.py clip              what the floor of the clip costs, and what it saves
python benchmarks/tune.py prior --table holdout.csv      a share of fakes other than half, estimated and followed
python benchmarks/tune.py members --videos 2000          two hundred members: the seconds of the whole of tuning
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.tune_rules import clip, rules, width
from ensemble.aggregate import Aggregation, Layout, aggregate
from ensemble.blend import FILE, Blend
from ensemble.convex import Mix, mix_logit, optimum
from ensemble.decide import tune_blend
from ensemble.metrics import losses_of, sigmoid
from ensemble.prior import EM, Prior, with_prior
from ensemble.problem import Aggregates, Problem
from ensemble.rules import FRAME_RULES, PEOPLE_RULES
from ensemble.sections import SECONDS
from ensemble.table import Faces, read_faces
from ensemble.truth import Truth
from ensemble.tune import StudyOptions, run_study
from ensemble.validate import TUNED, compare

WEIGHTS = Path(__file__).resolve().parent.parent / "models" / "weights"


def make_faces(
    members: int, videos: int, frames: int, seed: int, signal: float = 1.0, two_people: float = 0.0
) -> Faces:
    """A table whose members see the truth through noise of the video, the member and the face."""
    rng = np.random.default_rng(seed)
    label = (rng.random(videos) < 0.5).astype(np.float64)
    side = signal * (2 * label - 1)
    of_video = (side + rng.normal(0, 0.8 * (signal > 0), videos))[:, None] + rng.normal(0, 1, (videos, members))
    logit = np.repeat(of_video.astype(np.float32), frames, axis=0)
    logit += rng.normal(0, 1, logit.shape).astype(np.float32)
    person = np.zeros((videos, frames), dtype=np.int64)
    person[rng.random(videos) < two_people, frames // 2 :] = 1
    layout = Layout.of(np.repeat(np.arange(videos), frames), person.ravel())
    names = np.array([f"{i:06d}.mp4" for i in range(videos)])
    group = np.array([f"{i // 5:06d}" for i in range(videos)])
    frame = np.tile(np.arange(frames), videos)
    return Faces(tuple(f"m{i}" for i in range(members)), logit, frame, layout, names, Truth(label, group))


def peak() -> float:
    """The most memory the process has had, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def large(videos: int, trials: int) -> None:
    """Aggregate and tune seven members on this many videos, and print times and memory."""
    faces = make_faces(7, videos, 32, 0, two_people=0.1)
    print(f"{faces!r}: {faces.logit.nbytes / 1e9:.2f} GB of logits, {peak():.2f} GB with what made them")
    for name, rule in FRAME_RULES.items():
        how = Aggregation(name, rule.values[1] if rule.values else None)
        began = time.perf_counter()
        aggregate(faces.logit, faces.layout, how)
        print(f"aggregate {how}: {time.perf_counter() - began:.2f} s")
    for name in PEOPLE_RULES:
        began = time.perf_counter()
        aggregate(faces.logit, faces.layout, Aggregation(people=name))
        print(f"aggregate mean over faces, {name} over people: {time.perf_counter() - began:.2f} s")
    began = time.perf_counter()
    tuned = run_study(Problem(Aggregates(faces), 0.001), StudyOptions(trials=trials))
    seconds = time.perf_counter() - began
    print(f"{trials} trials (every rule worked out when first asked for): {seconds:.1f} s, {tuned}")
    print(f"peak memory: {peak():.2f} GB")


def trap(seeds: int, trials: int) -> None:
    """Members that know nothing: what does tuning on 200 videos promise, and what does it keep on 20,000?"""
    held = {"nested": 0, "naive": 0, "naive, no shrinkage": 0}
    print(f"{'seed':>4} {'truth':>8}  {'nested':>26}  {'naive':>26}  no shrinkage: truth, naive")
    for seed in range(seeds):
        faces, fresh = (
            make_faces(40, count, 1, seed + offset, signal=0.0) for count, offset in ((200, 0), (20_000, 999))
        )
        found = tune_blend(faces, StudyOptions(trials=trials, seed=seed))
        structure, mix = found.fitted.blends()[TUNED]
        nested = found.losses.of[TUNED]
        naive = _interval(faces, mix, structure.space)
        truth = _loss(fresh, mix, structure.space)
        bare = optimum(faces.logit.astype(np.float64), faces.known(), 0.0)
        bare_naive, bare_truth = _interval(faces, bare, "logit"), _loss(fresh, bare, "logit")
        held["nested"] += nested.low <= truth <= nested.high
        held["naive"] += naive.low <= truth <= naive.high
        held["naive, no shrinkage"] += bare_naive.low <= bare_truth <= bare_naive.high
        print(
            f"{seed:>4} {truth:>8.4f}  {_text(nested)}  {_text(naive)}  {bare_truth:.4f}, {_text(bare_naive)}",
            found.chosen,
        )
    for name, count in held.items():
        print(f"{name}: the truth lies in its interval in {count} of {seeds}")


def prior(table: Path, blend: Blend, repeats: int) -> None:
    """Draw folders of 500 held-out videos with another share of fakes: what is estimated, and what that saves.

    Args:
        table: held-out probabilities with labels.
        blend: assumes half.
        repeats: how many folders of each share.
    """
    faces = read_faces([table], members=blend.members)
    label = faces.known().label
    prob = blend.free(aggregate(faces.logit, faces.layout, blend.aggregation), faces.face_pixels)
    rng = np.random.default_rng(0)
    print("true share: mean estimate, in the interval, followed; log loss at half, after following")
    for share in (0.05, 0.2, 0.4, 0.5, 0.84):
        rows = []
        for _ in range(repeats):
            fakes = rng.binomial(500, share)
            kinds = ((1, fakes), (0, 500 - fakes))
            drawn = np.concatenate([rng.choice(np.flatnonzero(label == kind), count) for kind, count in kinds])
            found = Prior.of(EM, prob[drawn])
            said = [np.clip(with_prior(prob[drawn], own), *blend.clip) for own in (0.5, found.share)]
            losses = [float(losses_of(label[drawn], each).mean()) for each in said]
            rows.append([found.estimate, found.low <= share <= found.high, found.share != 0.5, *losses])
        mean = np.mean(rows, axis=0)
        print(f"  {share}: {mean[0]:.3f}, {mean[1]:.0%}, {mean[2]:.0%}; {mean[3]:.4f}, {mean[4]:.4f}", flush=True)


def many(videos: int, trials: int, seconds: float) -> None:
    """Tune two hundred members, and print what was cut and when each stage began."""
    faces, began = make_faces(200, videos, 1, 0), time.perf_counter()
    found = tune_blend(
        faces,
        StudyOptions(trials=trials),
        stage=lambda name: print(f"{time.perf_counter() - began:7.1f} s  {name}", flush=True),
        seconds=seconds,
    )
    print(f"{time.perf_counter() - began:7.1f} s  done: {found.chosen}, log loss {found.expected.value:.4f}")
    print("\n".join(note for note in found.notes if "cut after" in note))


def _loss(faces: Faces, mix: Mix, space) -> float:  # type: ignore[no-untyped-def]
    truth = faces.known()
    return float(losses_of(truth.label, sigmoid(mix_logit(faces.logit.astype(np.float64), mix, space))).mean())


def _interval(faces: Faces, mix: Mix, space):  # type: ignore[no-untyped-def]
    truth = faces.known()
    prob = sigmoid(mix_logit(faces.logit.astype(np.float64), mix, space))
    return compare(truth, {"": prob}, []).of[""]


def _text(estimate) -> str:  # type: ignore[no-untyped-def]
    return f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"


def _join(url: str, trials: int) -> None:
    tuned = run_study(Problem(Aggregates(make_faces(4, 2000, 1, 0)), 0.01), StudyOptions(trials=trials, storage=url))
    print(f"process {multiprocessing.current_process().name}: {tuned.trials} trials, gap {tuned.gap:.1e}, {tuned.mix}")


def storage(trials: int) -> None:
    """Tune in several processes that share a study in a database."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/study.db"
        began = time.perf_counter()
        team = [multiprocessing.get_context("spawn").Process(target=_join, args=(url, trials)) for _ in range(2)]
        for process in team:
            process.start()
        for process in team:
            process.join()
        print(f"{time.perf_counter() - began:.1f} s, exit codes {[process.exitcode for process in team]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("large", "trap", "storage", "rules", "width", "clip", "prior", "members"))
    parser.add_argument("--videos", type=int, default=120_000)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--table", type=Path, default=Path("holdout.csv"), help="of dfdc holdout, with labels")
    parser.add_argument("--blend", type=Path, default=WEIGHTS / FILE)
    parser.add_argument("--section-seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    if options.what == "large":
        large(options.videos, options.trials)
    elif options.what == "trap":
        trap(options.seeds, options.trials)
    elif options.what == "rules":
        rules(options.seeds)
    elif options.what == "width":
        width(options.seeds)
    elif options.what == "clip":
        clip(options.seeds)
    elif options.what == "prior":
        prior(options.table, Blend.read(options.blend), options.seeds)
    elif options.what == "members":
        many(options.videos, options.trials, options.section_seconds)
    else:
        storage(options.trials)
