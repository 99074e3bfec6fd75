"""Which rules of tuning lose least, on tables that are drawn: what ships, by which width, with which clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

import ensemble.clip
from ensemble.aggregate import Layout
from ensemble.clip import choose_clip
from ensemble.convex import Mix, mix_logit, optimum
from ensemble.decide import choose
from ensemble.folds import OUTER, best_of, choose_ridge, cross_fitted, group_folds
from ensemble.metrics import Floats, sigmoid
from ensemble.table import Faces
from ensemble.truth import Truth
from ensemble.validate import EQUAL, EQUAL_BY_WIDTH, PLAIN, TUNED, compare, equal_mix, with_width


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
