"""The commands of `dfdc` around the blend: parse, call, print. Heavy imports happen inside them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cli.options import MEMBERS_FOLDER, Members
from cli.stopping import when_stopped

Invert = Annotated[
    list[str], typer.Option(help="a member whose values say P(real): turned around; 'all' for every one")
]
Probabilities = Annotated[
    list[str], typer.Option(help="a member whose values are probabilities, not logits; 'all' for every one")
]


def tune(
    tables: Annotated[
        list[str],
        typer.Argument(help="tables of dfdc holdout, oof or predict --probabilities; NAME=TABLE for several sources"),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="the blend")] = Path("blend.json"),
    report: Annotated[Path | None, typer.Option(help="also write an HTML page with pictures here")] = None,
    labels: Annotated[
        list[str], typer.Option(help="CSV filename,label,group for tables without labels; NAME=CSV for one source")
    ] = [],  # noqa: B006 (typer reads it once)
    mirrored: Annotated[
        Path | None, typer.Option(help="the same faces scored with --flip: mirrors every other frame if that helps")
    ] = None,
    members: Members = MEMBERS_FOLDER,
    trained_on: Annotated[
        Path | None, typer.Option(help="the labels that --members were trained with: refuses what they have seen")
    ] = None,
    trials: Annotated[int, typer.Option(help="of each study: one on all, one without each of 5 folds", min=2)] = 1000,
    timeout: Annotated[float | None, typer.Option(help="seconds at most for each half of a study")] = None,
    seed: Annotated[int, typer.Option(help="same seed, same file", min=0)] = 0,
    storage: Annotated[str | None, typer.Option(help="keep the trials here: sqlite:///study.db, or any RDB")] = None,
    study: Annotated[
        str, typer.Option(help="the study's name there; the same one goes on, also in parallel")
    ] = "blend",
    limit_bytes: Annotated[int, typer.Option(help="of all weights together", min=1)] = 1_000_000_000,
    limit_seconds: Annotated[float, typer.Option(help="per video: 9 h for 4,000 videos")] = 8.1,
    frames: Annotated[int, typer.Option(help="frames that the kernel scores per video", min=1)] = 32,
    timing: Annotated[
        Path | None, typer.Option(help="JSON of a `dfdc predict --json` run: what decoding and detection take")
    ] = None,
    cautious: Annotated[
        bool, typer.Option("--cautious", help="tuned weights only where clearly better than equal ones (95 %)")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="ship the tuned weights whatever they are worth")] = False,
    invert: Invert = [],  # noqa: B006
    probabilities: Probabilities = [],  # noqa: B006
    most_lost: Annotated[
        float, typer.Option(help="share of the videos that may lack a member's scores", min=0, max=1)
    ] = 0.1,
) -> None:
    """Tune the blend on held-out probabilities, and estimate its log loss on new videos.

    Optuna searches rules, weights, temperature and shift; a convex solver certifies the result. Every figure is of
    videos that the blend was not tuned on, with a 95 % interval, and the blend with the lowest log loss ships: tuned
    weights, equal weights, or equal weights as they are. Several sources (dfdc=a.csv ffpp=b.csv) weigh the same.
    """
    if storage:
        when_stopped(f"the trials are in {storage}")
    else:
        when_stopped("nothing is kept without --storage", "begin again")
    from tqdm import tqdm

    from ensemble.folds import OUTER
    from ensemble.report import write_report
    from ensemble.sources import named
    from ensemble.summary import render
    from ensemble.tune import StudyOptions
    from train.tune_tables import TuneRequest, tune_tables

    request = TuneRequest(
        tables=named(tables),
        members=members,
        labels=named(labels),
        mirrored=mirrored,
        trained_on=trained_on,
        options=StudyOptions(trials, seed, timeout, storage, study),
        limit_bytes=limit_bytes,
        limit_seconds=limit_seconds,
        frames=frames,
        timing=timing,
        rule="tuned" if force else "cautious" if cautious else "lowest",
        invert=tuple(invert),
        probabilities=tuple(probabilities),
        most_lost=most_lost,
    )
    with tqdm(total=trials * (OUTER + 1), unit="trial", desc="tuning") as bar:
        outcome = tune_tables(request, bar.update, bar.set_description, lambda line: bar.write(line, file=sys.stderr))
    outcome.blend.write(output)
    if report:
        write_report(report, outcome, "dfdc " + " ".join(sys.argv[1:]))
    typer.echo(render(outcome))
    typer.echo(f"written: {', '.join(str(path) for path in (output, report) if path)}", err=True)


def blend(
    tables: Annotated[list[Path], typer.Argument(help="tables of dfdc holdout, oof or predict --probabilities")],
    blend_file: Annotated[Path, typer.Option("--blend", help="a blend.json")] = MEMBERS_FOLDER / "blend.json",
    output: Annotated[Path, typer.Option("-o", "--output", help="the CSV: filename,label")] = Path("submission.csv"),
    sample: Annotated[Path | None, typer.Option(help="a sample_submission.csv: its rows, in its order")] = None,
    labels: Annotated[Path | None, typer.Option(help="CSV filename,label,group for tables without labels")] = None,
    invert: Invert = [],  # noqa: B006
    probabilities: Probabilities = [],  # noqa: B006
    prior: Annotated[
        str | None,
        typer.Option(help="share of fakes to assume, 0 to 1, or 'em' to estimate it; DFDC's test set is half and half"),
    ] = None,
) -> None:
    """Apply a blend to tables of probabilities: a submission in seconds, without videos.

    Videos without a scored face get 0.5, as in `dfdc predict`. With labels, the scores are printed.
    """
    from inference.blend_tables import BlendRequest, blend_tables

    found = blend_tables(
        BlendRequest(tuple(tables), blend_file, output, sample, labels, tuple(invert), tuple(probabilities), prior)
    )
    if found.outside:
        words = f"{len(found.outside)} videos are not named in {sample} and were left out: {found.outside[0]!r}"
        typer.echo(words, err=True)
    typer.echo(f"{output}: {found.rows} videos, {found.unscored} of them without a scored face: 0.5")
    if found.prior is not None:
        typer.echo(f"probabilities assume a share of fakes of {found.prior:.3f}")
    for line in found.lost:
        typer.echo(f"note: {line}", err=True)
    if found.scores:
        typer.echo(f"on {found.labelled} labelled videos, 95 % intervals by group:")
    for metric, score in found.scores.items():
        typer.echo(f"  {metric:<18} {score.value:.5f} [{score.low:.5f}, {score.high:.5f}]")


# In the order in which they are used and `dfdc --help` lists them.
COMMANDS: dict[str, Callable[..., None]] = {"tune": tune, "blend": blend}
