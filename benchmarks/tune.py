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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

import ensemble.clip
from ensemble.aggregate import Aggregation, Layout, aggregate
from ensemble.blend import FILE, Blend
from ensemble.clip import choose_clip
from ensemble.convex import Mix, mix_logit, optimum
from ensemble.decide import choose, tune_blend
from ensemble.folds import OUTER, best_of, choose_ridge, cross_fitted, group_folds
from ensemble.metrics import Floats, losses_of, sigmoid
from ensemble.prior import EM, Prior, with_prior
from ensemble.problem import Aggregates, Problem
from ensemble.rules import FRAME_RULES, PEOPLE_RULES
from ensemble.sections import SECONDS
from ensemble.table import Faces, read_faces
from ensemble.truth import Truth
from ensemble.tune import StudyOptions, run_study
from ensemble.validate import EQUAL, EQUAL_BY_WIDTH, PLAIN, TUNED, compare, equal_mix, with_width

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


def rules(repeats: int) -> None:
    """Which blend should ship? Loss on 20,000 fresh videos of what each rule ships, by true gain and table size.

    Four members of equal noise, of which the last repeats another one's `spread` times as strongly; at 0 its noise is
    its own, and equal weights are the best.
    """
    print(f"{'groups':>7} {'spread':>7} {'gain':>8}  {'equal':>8} {'cautious':>9} {'lowest':>8} {'tuned':>8}  ships it")
    for groups, spread, mean in _means(_ship, (50, 200, 500, 2000), (0.0, 1.0, 1.5, 2.0, 3.0), repeats):
        print(
            f"{groups:>7} {spread:>7} {mean[0]:>8.4f}  {mean[1]:>8.4f} {mean[2]:>9.4f} {mean[3]:>8.4f} "
            f"{mean[4]:>8.4f}   {mean[5]:.0%}",
            flush=True,
        )


def _means(
    measure: Callable[[int, float, int], list[float]], sizes: Sequence[int], strengths: Sequence[float], repeats: int
) -> Iterator[tuple[int, float, Floats]]:
    """Groups, strength, and the mean over seeds of what is measured there."""
    for groups in sizes:
        for strength in strengths:
            yield groups, strength, np.mean([measure(groups, strength, seed) for seed in range(repeats)], axis=0)


def _ship(groups: int, spread: float, seed: int) -> list[float]:
    """True gain, and fresh losses of: equal, cautious, lowest, tuned; and whether the lowest rule ships tuned."""
    few, fresh = (_unlike(4 * count, spread, part) for count, part in ((groups, 2 * seed), (5000, 2 * seed + 1)))
    truth, known = fresh.known(), few.known()
    folds = group_folds(known, OUTER, 0)
    ridge = choose_ridge(few.logit, known, 0)
    fits = {EQUAL: equal_mix, TUNED: best_of(ridge), PLAIN: lambda values, _: Mix.equal(values.shape[1])}
    prob = {name: sigmoid(cross_fitted(few.logit, known, fit, folds)) for name, fit in fits.items()}
    losses = compare(known, prob, [(TUNED, EQUAL)], repeats=500)
    kept = {
        name: truth.loss(sigmoid(mix_logit(fresh.logit, fit(few.logit, known), "logit"))) for name, fit in fits.items()
    }
    best = truth.loss(sigmoid(mix_logit(fresh.logit, optimum(fresh.logit, truth, 0.0), "logit")))
    even = truth.loss(sigmoid(mix_logit(fresh.logit, equal_mix(fresh.logit, truth), "logit")))
    lowest, cautious = choose(losses, "lowest")[0], choose(losses, "cautious")[0]
    return [even - best, kept[EQUAL], kept[cautious], kept[lowest], kept[TUNED], float(lowest == TUNED)]


def _unlike(videos: int, spread: float, seed: int) -> Faces:
    rng = np.random.default_rng(seed)
    label = np.arange(videos) % 2.0
    of_group = np.repeat(rng.normal(0, 0.5, videos // 4), 4)
    side = (2 * label - 1 + rng.normal(0, 0.6, videos) + of_group)[:, None]
    shared = rng.normal(0, 1, (videos, 1))
    # The odd member repeats the noise of another one, more strongly: what single calibrations cannot see.
    odd = shared * spread if spread else rng.normal(0, 1, (videos, 1))
    noise = np.hstack([rng.normal(0, 1, (videos, 2)), shared, odd])
    group = np.array([f"{i // 4:06d}" for i in range(videos)], dtype=object)
    layout = Layout.of(np.arange(videos), np.zeros(videos, dtype=np.int64))
    names = np.array([f"{i:06d}.mp4" for i in range(videos)], dtype=object)
    members = ("m0", "m1", "m2", "m3")
    return Faces(members, side + noise, np.zeros(videos, np.int64), layout, names, Truth(label, group))


def width(repeats: int) -> None:
    """What a calibration by face width gains and costs on 20,000 fresh videos; nested folds choose, as tuning does."""
    print(f"{'groups':>7} {'dependence':>10}  {'common':>8} {'by width':>9} {'shipped':>8}  difference  ships it")
    for groups, dependence, mean in _means(_by_width, (100, 300, 600), (0.0, 0.5, 1.0), repeats):
        print(
            f"{groups:>7} {dependence:>10}  {mean[0]:>8.4f} {mean[1]:>9.4f} {mean[2]:>8.4f}  "
            f"{mean[2] - mean[0]:>+10.5f}   {mean[3]:.0%}",
            flush=True,
        )


def _by_width(groups: int, dependence: float, seed: int) -> list[float]:
    """Fresh losses of equal weights, of those by width, of what ships; and whether that is by width."""
    few, fresh = (_of_widths(4 * count, dependence, part) for count, part in ((groups, 2 * seed), (5000, 2 * seed + 1)))
    known, truth = few.known(), fresh.known()
    folds = group_folds(known, OUTER, 0)
    fits = {EQUAL: equal_mix, EQUAL_BY_WIDTH: lambda v, t: with_width(equal_mix(v, t), v, t, "logit")}
    nested = {name: known.loss(sigmoid(cross_fitted(few.logit, known, fit, folds))) for name, fit in fits.items()}
    kept = {}
    for name, fit in fits.items():
        logit = mix_logit(fresh.logit, fit(few.logit, known), "logit", truth.face_pixels)
        kept[name] = truth.loss(sigmoid(logit))
    ships = min(nested, key=lambda name: nested[name])
    return [*kept.values(), kept[ships], float(ships == EQUAL_BY_WIDTH)]


def _of_widths(videos: int, dependence: float, seed: int) -> Faces:
    """Four members that are up to three times too bold of narrow faces: at 1 of 30 pixels, at 0 of none."""
    rng = np.random.default_rng(seed)
    faces = _unlike(videos, 0.0, seed)
    pixels = 2 ** rng.uniform(np.log2(20), np.log2(300), videos)
    lacking = dependence * np.interp(np.log2(pixels), np.log2([30, 120]), [np.log(3), 0.0])
    label = faces.known().label
    side = (2 * label - 1)[:, None]
    return replace(faces, logit=side + (faces.logit - side) * np.exp(lacking)[:, None], face_pixels=pixels)


def clip(repeats: int) -> None:
    """What the floor of the clip costs and saves: a share of the fresh videos looks like the other class."""
    print("share of odd videos: log loss without a floor, with it")
    for share in (0.0, 0.03, 0.08):
        pairs = np.array([_clipped(share, seed) for seed in range(repeats)])
        print(f"  {share:.0%}: {pairs[:, 0].mean():.4f}, {pairs[:, 1].mean():.4f}", flush=True)


def _clipped(share: float, seed: int) -> tuple[float, float]:
    """One clean table of 500 sure videos, and 20,000 fresh ones of which a share is surely wrong."""
    rng = np.random.default_rng(seed)
    label = np.arange(500) % 2.0
    prob = sigmoid(6 * (2 * label - 1) + rng.normal(0, 2, 500))
    truth, fold = Truth.of(label), np.arange(500) // 2 % OUTER
    low, high = choose_clip(truth, prob, fold)
    bare = _without_floor(truth, prob, fold)
    fresh = np.arange(20_000) % 2.0
    odd = rng.random(20_000) < share
    said = sigmoid(6 * (2 * np.where(odd, 1 - fresh, fresh) - 1) + rng.normal(0, 2, 20_000))
    known = Truth.of(fresh)
    return known.loss(np.clip(said, *bare)), known.loss(np.clip(said, low, high))


def _without_floor(truth: Truth, prob: np.ndarray, fold: np.ndarray) -> tuple[float, float]:
    floor, ensemble.clip.FLOOR = ensemble.clip.FLOOR, 0.0
    try:
        return choose_clip(truth, prob, fold)
    finally:
        ensemble.clip.FLOOR = floor


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
