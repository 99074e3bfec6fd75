"""From tables of held-out probabilities to a blend: what `dfdc tune` does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from common.labels import read_labels
from ensemble.decide import Outcome, ShipRule, Stage, tune_blend
from ensemble.inputs import check, convert
from ensemble.mirror import mirror_gain
from ensemble.sections import SECONDS
from ensemble.select import Cost, Limits
from ensemble.sources import merge
from ensemble.table import MOST_LOST, Faces, read_faces, refuse_leaks
from ensemble.tune import StudyOptions
from models.checkpoint import Card, find_cards
from train.data.provenance import learnt_from, read_training_labels

Told = Callable[[str], None]  # told a line for people while the work goes on


@dataclass(frozen=True)
class TuneRequest:
    """What a user asks of `dfdc tune`."""

    tables: Mapping[str, list[Path]]  # source -> its tables
    members: Path  # folder of the members, whose cards name bytes, seconds and hashes
    labels: Mapping[str, list[Path]]  # source -> its labels, for tables without
    mirrored: Path | None = None  # the same faces scored in both views
    trained_on: Path | None = None  # the labels that the members were trained with
    options: StudyOptions = field(default_factory=StudyOptions)
    limit_bytes: int = 1_000_000_000
    limit_seconds: float = 8.1  # per video
    frames: int = 32  # that the kernel scores of a video
    timing: Path | None = None  # JSON of a `dfdc predict --json` run
    rule: ShipRule = "lowest"
    invert: tuple[str, ...] = ()
    probabilities: tuple[str, ...] = ()
    most_lost: float = MOST_LOST
    section_seconds: float = SECONDS  # for each section of the work


def tune_tables(request: TuneRequest, progress: Callable[[int], None], stage: Stage, tell: Told) -> Outcome:
    """Read the tables of a request, tune a blend on them and decide what ships.

    Args:
        request: what the user asks for.
        progress: told how many trials have ended.
        stage: told what begins.
        tell: told what a reader should know at once.

    Returns:
        The blend that ships and all that the report shows.

    Raises:
        ValueError: the tables, labels or options do not fit together, a member has seen these videos in training, or
            its values are no logits of P(fake).
        DfdcError: a card of the members cannot be read.
    """
    tables = {source: _read_source(request, source) for source in request.tables}
    mirroring = _mirrored(tables, request)
    tables = {**tables, **mirroring.tables}
    cards = {card.name: card for card in find_cards(request.members)}
    leaks = [line for faces in tables.values() for line in _check_leaks(faces, cards, request.trained_on)]
    faces = merge(tables)
    check(faces)
    cards = {name: card for name, card in cards.items() if name in faces.members}
    costs = _costs(faces, cards, tell)
    tell(repr(faces))
    outcome = tune_blend(
        faces,
        request.options,
        _limits(request),
        costs,
        {name: card.sha256 for name, card in cards.items()},
        request.rule,
        tuple(dict.fromkeys((*mirroring.notes, *leaks))),
        progress,
        stage,
        request.section_seconds,
    )
    return replace(outcome, blend=replace(outcome.blend, mirror=mirroring.on))


def _read_source(request: TuneRequest, source: str) -> Faces:
    faces = read_faces(request.tables[source], _labels(request.labels, source), most_lost=request.most_lost)
    invert, probabilities = (
        [name for name in names if name == "all" or name in faces.members]
        for names in (request.invert, request.probabilities)
    )
    return convert(faces, invert, probabilities)


def _labels(labels: Mapping[str, list[Path]], source: str) -> pd.DataFrame | None:
    """The labels of a source: its own, or those that were given for all."""
    paths = labels.get(source) or labels.get("") or []
    return pd.concat([read_labels(path) for path in paths], ignore_index=True) if paths else None


@dataclass(frozen=True)
class Mirroring:
    """Whether every other frame is scored mirrored, and what to say of it."""

    on: bool
    tables: Mapping[str, Faces]  # source -> the faces in both views, where they are used
    notes: tuple[str, ...]


def _mirrored(tables: Mapping[str, Faces], request: TuneRequest) -> Mirroring:
    if request.mirrored is None:
        return Mirroring(False, {}, ())
    if len(tables) > 1:
        raise ValueError(f"{request.mirrored}: --mirrored is for tables of one source, there are {', '.join(tables)}")
    (source, plain) = next(iter(tables.items()))
    both = read_faces([request.mirrored], _labels(request.labels, source))
    gain = mirror_gain(plain, both, request.options.seed)
    told = f"log loss {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] with both views of each face"
    if gain.high < 0:
        words = f"every other frame will be scored mirrored: {told}, which all figures here are of"
        return Mirroring(True, {source: both}, (words,))
    return Mirroring(False, {}, (f"mirroring every other frame is refused, it is not clearly better: {told}",))


def _check_leaks(faces: Faces, cards: Mapping[str, Card], trained_on: Path | None) -> list[str]:
    """Refuse members that were trained on what they are scored on; returns what could not be checked."""
    if trained_on is None:
        return ["not checked here that no member was trained on these groups: --trained-on (holdout and oof do check)"]
    table = read_training_labels(trained_on)
    seen = {name: card for name, card in cards.items() if name in faces.members}
    learnt = {name: learnt_from(card, table, set(table["face"])) for name, card in seen.items()}
    refuse_leaks(faces, {name: known.trained for name, known in learnt.items() if known is not None})
    unknown = [name for name in faces.members if learnt.get(name) is None]
    return [f"what {name} was trained on is not known: no card, or it does not say" for name in unknown]


def _costs(faces: Faces, cards: Mapping[str, Card], tell: Told) -> dict[str, Cost]:
    """Bytes and seconds of every member; nothing where one is not known, since limits need them all."""
    costs = {n: Cost(c.bytes, c.seconds_per_32_crops / 32) for n, c in cards.items() if c.seconds_per_32_crops}
    if lacking := [name for name in faces.members if name not in costs]:
        tell(f"note: --members has no card with the cost of {', '.join(lacking)}; no limits then")
        return {}
    return costs


def _limits(request: TuneRequest) -> Limits:
    if request.timing is None:
        return Limits(request.limit_bytes, request.limit_seconds, request.frames)
    try:
        videos = json.loads(request.timing.read_text(encoding="utf-8"))["videos"]
        spent = [video["seconds"] for video in videos if video["status"] == "ok"]
        decode, detect = (sum(seconds[stage] for seconds in spent) / len(spent) for stage in ("decode", "detect"))
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise ValueError(
            f"{request.timing} is not the JSON of a run that scored videos ({error}): dfdc predict --json"
        ) from error
    return Limits(request.limit_bytes, request.limit_seconds, request.frames, decode, detect / request.frames)
