"""The commands of `dfdc` around the blend: parse, call, print. Heavy imports happen inside them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import MEMBERS_FOLDER, Members

if TYPE_CHECKING:
    import pandas as pd

    from ensemble.select import Cost, Limits
    from ensemble.table import Faces
    from models.checkpoint import Card

Tables = Annotated[list[Path], typer.Argument(help="tables of dfdc holdout, oof or predict --probabilities")]
Labels = Annotated[Path | None, typer.Option(help="CSV filename,label,group for tables that have no labels")]


def tune(
    tables: Tables,
    output: Annotated[Path, typer.Option("-o", "--output", help="the blend")] = Path("blend.json"),
    report: Annotated[Path | None, typer.Option(help="also write an HTML page with pictures here")] = None,
    labels: Labels = None,
    mirrored: Annotated[
        Path | None, typer.Option(help="the same faces judged with --flip: mirrors every other frame if that helps")
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
    frames: Annotated[int, typer.Option(help="frames that the kernel will judge per video", min=1)] = 32,
    timing: Annotated[
        Path | None, typer.Option(help="JSON of a `dfdc predict --json` run: what decoding and detection take")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="ship tuned weights though equal ones are as good")] = False,
) -> None:
    """Tune the blend on held-out probabilities, and say what that is worth.

    Weights, rules, temperature and shift by Optuna, certified by the convex optimum; everything is judged on videos
    that it was not tuned on, with 95 % intervals. Tuned weights not clearly better than equal ones are refused.
    """
    from tqdm import tqdm

    from ensemble.decide import tune_blend
    from ensemble.folds import OUTER
    from ensemble.report import write_report
    from ensemble.summary import render
    from ensemble.table import read_faces
    from ensemble.tune import StudyOptions

    faces = read_faces(tables, _read_labels(labels))
    faces, mirror, mirroring = _mirrored(faces, mirrored, labels, seed)
    cards = _cards(members, faces)
    notes = [*mirroring, *_check_leaks(faces, cards, trained_on)]
    costs, limits = _costs(faces, cards), _limits(limit_bytes, limit_seconds, frames, timing)
    options = StudyOptions(trials, seed, timeout, storage, study)
    sha256 = {name: card.sha256 for name, card in cards.items()}
    typer.echo(f"{faces}", err=True)
    with tqdm(total=trials * (OUTER + 1), unit="trial", desc="tuning") as bar:
        outcome = tune_blend(
            faces, options, limits, costs, sha256, force, notes, progress=bar.update, stage=bar.set_description
        )
    outcome = replace(outcome, blend=replace(outcome.blend, mirror=mirror))
    outcome.blend.write(output)
    if report:
        write_report(report, outcome, "dfdc " + " ".join(sys.argv[1:]))
    typer.echo(render(outcome))
    typer.echo(f"written: {', '.join(str(path) for path in (output, report) if path)}", err=True)


def _mirrored(faces: Faces, table: Path | None, labels: Path | None, seed: int) -> tuple[Faces, bool, list[str]]:
    """The faces to tune on, those judged in both views if that is clearly better; whether it is, and what to say."""
    if table is None:
        return faces, False, []
    from ensemble.mirror import mirror_gain
    from ensemble.table import read_faces

    both = read_faces([table], _read_labels(labels))
    gain = mirror_gain(faces, both, seed)
    told = f"log loss {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] with both views of each face"
    if gain.high < 0:
        return both, True, [f"every other frame will be judged mirrored: {told}, which all figures here are of"]
    return faces, False, [f"mirroring every other frame is refused, it is not clearly better: {told}"]


def _read_labels(path: Path | None) -> pd.DataFrame | None:
    from common.labels import read_labels

    return None if path is None else read_labels(path)


def _cards(folder: Path, faces: Faces) -> dict[str, Card]:
    """The cards of the table's members that the folder has."""
    from models.checkpoint import find_cards

    return {card.name: card for card in find_cards(folder) if card.name in faces.members}


def _check_leaks(faces: Faces, cards: dict[str, Card], trained_on: Path | None) -> list[str]:
    """Refuse members that were trained on what they are judged on; returns what could not be checked."""
    if trained_on is None:
        return ["not checked here that no member was trained on these groups: --trained-on (holdout and oof do check)"]
    from ensemble.table import refuse_leaks
    from train.data.provenance import learnt_from, read_training_labels

    table = read_training_labels(trained_on)
    learnt = {name: learnt_from(card, table, set(table["face"])) for name, card in cards.items()}
    refuse_leaks(faces, {name: known.trained for name, known in learnt.items() if known is not None})
    unknown = [name for name in faces.members if learnt.get(name) is None]
    return [f"what {name} was trained on is not known: no card, or it does not say" for name in unknown]


def _costs(faces: Faces, cards: dict[str, Card]) -> dict[str, Cost]:
    """Bytes and seconds of every member; nothing where one is not known, since limits need them all."""
    from ensemble.select import Cost

    costs = {n: Cost(c.bytes, c.seconds_per_32_crops / 32) for n, c in cards.items() if c.seconds_per_32_crops}
    if lacking := [name for name in faces.members if name not in costs]:
        typer.echo(f"note: --members has no card with the cost of {', '.join(lacking)}; no limits then", err=True)
        return {}
    return costs


def _limits(limit_bytes: int, limit_seconds: float, frames: int, timing: Path | None) -> Limits:
    import json

    from ensemble.select import Limits

    if timing is None:
        return Limits(limit_bytes, limit_seconds, frames)
    try:
        videos = json.loads(timing.read_text(encoding="utf-8"))["videos"]
        spent = [video["seconds"] for video in videos if video["status"] == "ok"]
        decode, detect = (sum(seconds[stage] for seconds in spent) / len(spent) for stage in ("decode", "detect"))
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise ValueError(
            f"{timing} is not the JSON of a run that judged videos ({error}): dfdc predict --json"
        ) from error
    return Limits(limit_bytes, limit_seconds, frames, decode, detect / frames)


def blend(
    tables: Tables,
    blend_file: Annotated[Path, typer.Option("--blend", help="a blend.json")] = MEMBERS_FOLDER / "blend.json",
    output: Annotated[Path, typer.Option("-o", "--output", help="the CSV: filename,label")] = Path("submission.csv"),
    sample: Annotated[Path | None, typer.Option(help="a sample_submission.csv: its rows, in its order")] = None,
    labels: Labels = None,
) -> None:
    """Apply a blend to tables of probabilities: a submission in seconds, without videos.

    Videos without a judged face get 0.5, as in `dfdc predict`. With labels, the scores are printed.
    """
    from ensemble.blend import TEST_PRIOR, Blend
    from ensemble.table import read_faces
    from inference.submission import read_sample, write_submission

    chosen = Blend.read(blend_file).needed()
    faces = read_faces(tables, members=chosen.members, truth=False)
    prob = dict(zip(faces.filename.tolist(), chosen.predict_all(faces.logit, faces.layout).tolist(), strict=True))
    order = read_sample(sample) if sample else sorted({*prob, *faces.unscored})
    if outside := sorted(prob.keys() - set(order)):
        typer.echo(f"{len(outside)} videos are not named in {sample} and were left out: {outside[0]!r}", err=True)
    rows = {name: prob.get(name, TEST_PRIOR) for name in order}
    write_submission(output, rows, order, chosen.clip)
    typer.echo(f"{output}: {len(rows)} videos, {sum(n not in prob for n in rows)} of them not judged: {TEST_PRIOR}")
    for line in faces.lost:
        typer.echo(f"note: {line}", err=True)
    _print_scores(read_faces(tables, _read_labels(labels), chosen.members), prob)


def _print_scores(faces: Faces, prob: dict[str, float]) -> None:
    """Scores with their intervals, where the truth of the judged videos is known."""
    if faces.truth is None:
        return
    import numpy as np

    from ensemble.metrics import bootstrap

    here = np.array([prob[name] for name in faces.filename.tolist()])
    typer.echo(f"on {len(here)} labelled videos, 95 % intervals by group:")
    for metric, score in bootstrap(faces.truth.label, here, faces.truth.group).items():
        typer.echo(f"  {metric:<18} {score.value:.5f} [{score.low:.5f}, {score.high:.5f}]")


# In the order in which they are used and `dfdc --help` lists them.
COMMANDS = (tune, blend)
