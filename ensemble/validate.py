"""The loss of tuned blends on videos that they have not seen: nested cross-validation, intervals by bootstrap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import ndtri, stdtrit

from ensemble.convex import SHIFTS, TEMPERATURES, Mix, Space, mix_logit, objective, optimum
from ensemble.folds import OUTER, choose_ridge, group_folds
from ensemble.metrics import Estimate, Floats, estimate_from, losses_of
from ensemble.problem import Aggregates, Problem, Structure
from ensemble.sections import SECONDS, Section
from ensemble.select import COMPETITION, Candidate, Cost, Limits, Search, best_subset
from ensemble.table import Faces
from ensemble.truth import Rows, Truth
from ensemble.tune import Progress, StudyOptions, Tuned, run_study
from ensemble.width import fit_width, knots_of

TUNED, EQUAL, SINGLE, PLAIN = "tuned", "equal weights", "best single member", "equal weights, not calibrated"
# Shares of what is left of a section's time; the study has the rest, at whose end the optimum is taken anyway.
RIDGE_SHARE, SUBSET_SHARE = 0.3, 0.5
# The same two, with a calibration that follows the width of the faces, where the tables tell it.
TUNED_BY_WIDTH, EQUAL_BY_WIDTH = "tuned, by face width", "equal weights, by face width"


def alone(values: Floats, truth: Truth) -> list[Mix]:
    """Each of the M members calibrated by itself; arguments as `equal_mix`."""
    return [optimum(values[:, [m]], truth, 0.0) for m in range(values.shape[1])]


def equal_mix(values: Floats, truth: Truth, singles: Sequence[Mix] | None = None) -> Mix:
    """Equal votes: each member is calibrated by itself, and their mean once more. A tuned blend has to beat this.

    As they are, a member whose logits are eight times too large would have eight votes.

    Args:
        values: (V, M) logits of videos.
        truth: of the V videos.
        singles: what `alone` gives for them, where that is known already.

    Returns:
        Weights in proportion to each member's own scale, and the temperature and shift of the whole.
    """
    singles = singles or alone(values, truth)
    scale = np.array([1 / fitted.temperature for fitted in singles])
    shift = float(np.mean([fitted.shift for fitted in singles]))
    whole = optimum((values @ scale / len(scale) + shift)[:, None], truth, 0.0)
    parts = scale / len(scale) / whole.temperature
    temperature = float(np.clip(1 / parts.sum(), *TEMPERATURES))
    moved = float(np.clip(whole.shift + shift / whole.temperature, *SHIFTS))
    return Mix(parts / parts.sum(), temperature, moved)


def single_mix(values: Floats, truth: Truth, singles: Sequence[Mix] | None = None) -> Mix:
    """The best member by itself, with its best temperature and shift; arguments as `equal_mix`."""
    fits = singles or alone(values, truth)
    losses = [objective(values[:, [m]], truth, fit, "logit", 0.0) for m, fit in enumerate(fits)]
    best = int(np.argmin(losses))
    return replace(fits[best], weights=np.eye(values.shape[1])[best])


def with_width(mix: Mix, values: Floats, truth: Truth, space: Space) -> Mix:
    """The same blend with a calibration that follows the width of the faces, as far as widths are known.

    Args:
        mix: the blend.
        values: (V, M) logits of videos.
        truth: of the V videos.
        space: in which it mixes.
    """
    return replace(mix, width=fit_width(mix_logit(values, mix, space), truth))


@dataclass(frozen=True)
class Fitted:
    """The blends that were fitted on some videos."""

    best_subset: Candidate  # all members, or those that the limits allow
    ridge: float
    tuned: Tuned
    equal: Mix
    single: Mix
    widths: Mapping[str, Mix] = field(default_factory=dict)  # TUNED_BY_WIDTH, EQUAL_BY_WIDTH; empty without widths

    def blends(self) -> dict[str, tuple[Structure, Mix]]:
        """The tuned blend and what it is compared with, in the order of the subset's members."""
        plain, members = Structure(), len(self.best_subset.members)
        structures = {TUNED_BY_WIDTH: self.tuned.structure, EQUAL_BY_WIDTH: plain}
        return {
            TUNED: (self.tuned.structure, self.tuned.mix),
            EQUAL: (plain, self.equal),
            SINGLE: (plain, self.single),
            PLAIN: (plain, Mix.equal(members)),
            **{name: (structures[name], mix) for name, mix in self.widths.items()},
        }


@dataclass(frozen=True)
class Task:
    """What is tuned, and within which limits."""

    views: Mapping[int, Aggregates]  # frames per video -> what is made of them
    options: StudyOptions
    limits: Limits = COMPETITION
    costs: Mapping[str, Cost] = field(default_factory=dict)  # member -> cost; without any there are no limits
    seconds: float = SECONDS  # for each section
    cuts: list[str] = field(default_factory=list)  # sentences about sections whose time was up

    @property
    def faces(self) -> Faces:
        """The table, all of its frames."""
        return self.views[max(self.views)].faces

    def section(self, name: str) -> Section:
        """Begin a section of the work; what is cut there is told in `cuts`."""
        return Section(name, self.seconds, self.cuts)

    def search(self, rows: Rows, ridge: float) -> Search:
        """Subsets of the members, to be scored on some of the videos."""
        truth, how = self.faces.known()[rows], Structure().aggregation
        values = {frames: view.values(how)[rows] for frames, view in self.views.items()}
        costs = self.costs or {member: Cost(0, 0.0) for member in self.faces.members}
        return Search(values, truth, self.faces.members, self.limits, costs, ridge, self.options.seed)


def fit(
    task: Task,
    rows: Rows,
    progress: Progress | None = None,
    options: StudyOptions | None = None,
    section: Section | None = None,
) -> Fitted:
    """The whole of tuning, from choosing the subset on, on `rows` alone, in the time of `section`."""
    truth, options, section = task.faces.known()[rows], options or task.options, section or Section()
    how = Structure().aggregation
    everything = task.views[max(task.views)].values(how)[rows]
    ridge = choose_ridge(everything, truth, options.seed, section.part(RIDGE_SHARE))
    found = best_subset(task.search(rows, ridge), section.part(SUBSET_SHARE))
    aggregates = task.views[found.frames]
    values = Problem(aggregates, 0.0, rows, found.members).values(how)
    if found.members != task.faces.members or found.frames != max(task.views):
        ridge = choose_ridge(values, truth, options.seed, section.part(RIDGE_SHARE))
    problem = Problem(aggregates, ridge, rows, found.members)
    tuned, singles = run_study(problem, options, progress, section), alone(values, truth)
    equal = equal_mix(values, truth, singles)
    of_tuned = problem.values(tuned.structure.aggregation)
    widths = {
        TUNED_BY_WIDTH: with_width(tuned.mix, of_tuned, truth, tuned.structure.space),
        EQUAL_BY_WIDTH: with_width(equal, values, truth, "logit"),
    }
    # Where the widths of all rows are known, so are those of a fold; no fold may lack a blend that others have.
    known = knots_of(task.faces.known()) is not None
    return Fitted(found, ridge, tuned, equal, single_mix(values, truth, singles), widths if known else {})


@dataclass(frozen=True)
class Nested:
    """Predictions of every video by blends that were tuned without its fold."""

    fold: Rows  # (V,)
    logit: dict[str, Floats]  # name of a blend, as Fitted.blends has it -> (V,) logits, not clipped
    fits: tuple[Fitted, ...]  # of each fold


def nested(task: Task, progress: Progress | None = None) -> Nested:
    """Tune OUTER times, each time without a fold, and predict it.

    A storage keeps these studies too, each under a name of its own: they are five sixths of the work.
    """
    truth, options = task.faces.known(), task.options
    fold = np.zeros(len(truth), dtype=np.int64)
    logit: dict[str, Floats] = {}
    fits = []
    for number, (train, held) in enumerate(group_folds(truth, OUTER, options.seed)):
        section, name = task.section("tuning without a fold"), f"{options.name}, without fold {number}"
        fitted = fit(task, train, progress, replace(options, name=name), section)
        fits.append(fitted)
        fold[held] = number
        problem = Problem(task.views[fitted.best_subset.frames], 0.0, held, fitted.best_subset.members)
        for name, (structure, mix) in fitted.blends().items():
            values = problem.values(structure.aggregation)
            own = logit.setdefault(name, np.zeros(len(truth)))
            own[held] = mix_logit(values, mix, structure.space, problem.truth.face_pixels)
    return Nested(fold, logit, tuple(fits))


@dataclass(frozen=True)
class Losses:
    """Weighted log losses, and paired differences, with 95 % intervals by group."""

    of: dict[str, Estimate]
    difference: dict[tuple[str, str], Estimate]  # (a, b) -> loss of a minus loss of b: below 0, a is better
    by_source: dict[str, dict[str, float]] = field(default_factory=dict)  # source -> name -> loss, classes half each

    def worst(self, name: str) -> float:
        """The loss on the source where it is highest; of all videos where there is one source."""
        return max((losses[name] for losses in self.by_source.values()), default=self.of[name].value)


def compare(
    truth: Truth,
    prob_fake: Mapping[str, Floats],
    pairs: Sequence[tuple[str, str]],
    seed: int = 0,
    repeats: int = 2000,
) -> Losses:
    """Bootstrap whole groups, the same draws for all predictions, so that what they share cancels in differences.

    Groups are drawn within each source. Draws without one of the classes are left out. The intervals are those of the
    draws, widened by Student's t for as many groups as there effectively are: with one group that holds half of the
    videos those of the draws cover 89 to 95 % in simulations, since they know only one such group; these 97 to 99 %.

    Args:
        truth: of V videos.
        prob_fake: name -> (V,) P(fake).
        pairs: names whose losses are compared.
        seed: of the draws.
        repeats: how many draws.

    Returns:
        The losses in nats, and the differences of the pairs.
    """
    names = list(prob_fake)
    losses = np.stack([losses_of(truth.label, prob_fake[name]) for name in names], axis=1)
    draws, value = _draws(truth, losses, seed, repeats), truth.weight @ losses
    effective = np.array([effective_groups(truth[truth.rows_of(source)]) for source in truth.sources])
    at = {name: i for i, name in enumerate(names)}
    of = {name: _interval(float(value[i]), draws[:, :, i], effective) for name, i in at.items()}
    difference = {
        (a, b): _interval(float(value[at[a]] - value[at[b]]), draws[:, :, at[a]] - draws[:, :, at[b]], effective)
        for a, b in pairs
    }
    return Losses(of, difference, _by_source(truth, prob_fake))


def effective_groups(truth: Truth) -> float:
    """How many groups of one size would tell as much: 1 / the sum of the squared shares (Kish 1965).

    truth: of one source.
    """
    names, inverse = np.unique(truth.group, return_inverse=True)
    share = np.bincount(inverse, truth.weight, len(names)) / truth.weight.sum()
    return float(1 / (share @ share))


def _interval(value: float, draws: Floats, effective: Floats) -> Estimate:
    """The mean over S sources with its interval. draws: (S, R). effective: (S,) groups."""
    plain = estimate_from(value, draws.mean(axis=0))
    variance = draws.var(axis=1)
    # Welch and Satterthwaite: a source with few groups counts as far as it makes the mean uncertain.
    freedom = variance.sum() ** 2 / (variance**2 / effective).sum() if variance.sum() > 0 else np.inf
    wider = float(stdtrit(freedom, 0.975) / ndtri(0.975)) if np.isfinite(freedom) else 1.0
    return Estimate(value, value + wider * (plain.low - value), value + wider * (plain.high - value))


def _by_source(truth: Truth, prob_fake: Mapping[str, Floats]) -> dict[str, dict[str, float]]:
    if truth.source is None:
        return {}
    rows = {source: truth.rows_of(source) for source in truth.sources}
    return {s: {name: truth[here].loss(prob[here]) for name, prob in prob_fake.items()} for s, here in rows.items()}


def _draws(truth: Truth, losses: Floats, seed: int, repeats: int) -> Floats:
    """(S, R, K) weighted losses of R draws of the groups of S sources."""
    rng = np.random.default_rng(seed)
    parts = [
        _draws_of_one_source(truth[rows], losses[rows], rng, repeats) for rows in map(truth.rows_of, truth.sources)
    ]
    every = np.stack(parts)
    return np.asarray(every[:, np.isfinite(every).all(axis=(0, 2))])


def _draws_of_one_source(truth: Truth, losses: Floats, rng: np.random.Generator, repeats: int) -> Floats:
    """(R, K) balanced losses: sums per group and class, so that a draw is a product."""
    names, inverse = np.unique(truth.group, return_inverse=True)
    count = len(names)
    kinds = [truth.label > 0.5, truth.label <= 0.5]
    sums = [np.stack([np.bincount(inverse[k], loss[k], count) for loss in losses.T], axis=1) for k in kinds]
    sizes = [np.bincount(inverse[k], minlength=count).astype(np.float64) for k in kinds]
    parts = []
    for start in range(0, repeats, 100):
        draw = rng.multinomial(count, np.full(count, 1 / count), min(100, repeats - start)).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            fake, real = (draw @ total / (draw @ size)[:, None] for total, size in zip(sums, sizes, strict=True))
        parts.append((fake + real) / 2)
    return np.concatenate(parts)
