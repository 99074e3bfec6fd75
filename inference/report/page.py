"""The report of a run: one HTML file that opens anywhere, offline: every video's probability and what led to it."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from common.files import write_text
from common.html import Cell, Table, number, render
from ensemble.blend import Blend
from inference.report.drawing import (
    PERSON_STYLES,
    chart_of,
    histogram_of,
    picture_of,
    probability_bar,
    telling_pictures,
)
from inference.report.run_section import RunFacts, plan_table, run_facts, time_table
from inference.result import PersonResult, VideoResult
from inference.stages import COLUMNS
from inference.verdict import legend_of, person_name, verdict_of


def write_report(
    path: Path,
    results: Sequence[VideoResult],
    run: RunFacts,
    max_sections: int = 300,
    videos: Mapping[str, Path] | None = None,
) -> None:
    """Write the HTML report of `results` to `path`, whole or not at all; the same input gives the same bytes.

    The table has all videos: those that were scored come first, the highest P(fake) at the top, and those that were
    not scored follow in the order given.

    Args:
        path: the file.
        results: one per video.
        run: what is the same for all of them.
        max_sections: how many videos, from the top of the table, get a section with pictures.
        videos: the files by their names in the results. Those in the page's folder, or in folders below, are
            played by a click on a picture.

    Raises:
        ValueError: max_sections is negative.
    """
    if max_sections < 0:
        raise ValueError(f"max_sections is {max_sections}; it must be 0 or more")
    # Sorting is stable: equal scores keep the order given.
    ordered = sorted(results, key=_rank)
    stages = list(dict.fromkeys(stage for result in results for stage in result.seconds))
    links = _links(path, videos or {})
    page = render(
        "inference/report/page.html.j2",
        title=run.title,
        cards=_headline(results, run),
        histogram=histogram_of([result.prob_fake for result in results if result.status == "ok"]),
        stages=stages,
        stage_names=COLUMNS,
        videos=[_video(result, run.members, run.blend, links.get(result.filename, "")) for result in ordered],
        legend=legend_of(run.blend),
        sections=min(max_sections, len(ordered)),
        prior=f"{run.blend.unseen:g}",
        time=time_table(run.profile),
        bound=run.profile.bound(),
        plans=plan_table(run.plans),
        facts=run_facts(run),
    )
    write_text(path, page)


def render_section(result: VideoResult, members: Sequence[str], blend: Blend) -> str:
    """Make the section of one video as a page of its own, in the form that it has in the report.

    Args:
        result: of the video.
        members: of the ensemble, in the order in which they are listed.
        blend: which gave the probability.

    Returns:
        The page's HTML; its only <article> is the section.
    """
    video = _video(result, members, blend)
    return render(
        "inference/report/one.html.j2", title=result.filename, video=video, index=0, prior=f"{blend.unseen:g}"
    )


def _links(page: Path, videos: Mapping[str, Path]) -> dict[str, str]:
    """Addresses, as seen from the page, of the videos that lie beside it: page and videos may be moved together."""
    folder = page.resolve().parent
    beside = [(name, video.resolve()) for name, video in videos.items()]
    return {
        name: quote(os.fsencode(video.relative_to(folder).as_posix()))
        for name, video in beside
        if video.is_relative_to(folder)
    }


def _rank(result: VideoResult) -> tuple[bool, float]:
    """Scored videos first, the highest P(fake) at the top; NaN after all numbers."""
    known = result.status == "ok" and not math.isnan(result.prob_fake)
    return result.status != "ok", -result.prob_fake if known else math.inf


def _headline(results: Sequence[VideoResult], run: RunFacts) -> list[tuple[str, str, str]]:
    counts = Counter(result.status for result in results)
    why = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()) if status != "ok")
    each = run.wall_seconds / len(results) if results else math.nan
    cores = f"{number(run.profile.cores_busy, 1)} of {run.profile.cores}"
    return [
        ("Videos", str(len(results)), f"{number(run.wall_seconds, 1, ' s')} wall clock"),
        ("Scored", str(counts["ok"]), "status ok"),
        ("Not scored", str(len(results) - counts["ok"]), f"{why or 'none'}; prior {run.blend.unseen:g}"),
        ("Seconds per video", number(each, 2), "wall clock"),
        ("Cores at work", cores, f"bound by {run.profile.bound()}"),
    ]


def _video(result: VideoResult, members: Sequence[str], blend: Blend, link: str = "") -> Mapping[str, Any]:
    """What the table and the section of a video show; link: its address, empty where it cannot be played."""
    return {
        "result": result,
        "link": link,
        "verdict": verdict_of(result, blend),
        "telling": telling_pictures(result),
        "bar": probability_bar(result.prob_fake),
        "pictures": [picture_of(result, thumbnail) for thumbnail in result.thumbnails],
        "chart": chart_of(result),
        "tables": _evidence(result, members),
    }


def _evidence(result: VideoResult, members: Sequence[str]) -> list[tuple[str, Table]]:
    """The small tables beside the chart: members, detectors, seconds."""
    detectors = Counter(face.detector for face in result.faces).most_common()
    seconds = [(COLUMNS[stage], number(value, 2)) for stage, value in result.seconds.items()]
    return [
        ("People", Table(("", "frames seen", "P(fake)"), [_person_row(who) for who in result.people])),
        ("Members", Table(("", "mean logit", "as P(fake)"), _member_rows(result, members))),
        ("Found by", Table(("detector", "faces"), [(detector, str(count)) for detector, count in detectors])),
        ("Time spent", Table(("stage", "s"), seconds)),
    ]


def _person_row(who: PersonResult) -> tuple[Cell, str, str]:
    stroke = f"p{who.person % PERSON_STYLES}"
    return Cell(person_name(who.person), stroke=stroke), str(who.frames), number(who.prob_fake, 3)


def _member_rows(result: VideoResult, members: Sequence[str]) -> list[tuple[str, str, str]]:
    """Name, mean logit over faces and its sigmoid; members of the run first, then any others that scored a face."""
    rows = []
    for member in dict.fromkeys([*members, *(name for face in result.faces for name in face.logits)]):
        if logits := [face.logits[member] for face in result.faces if member in face.logits]:
            mean = sum(logits) / len(logits)
            rows.append((member, number(mean, 2), number((1 + math.tanh(mean / 2)) / 2, 3)))
    return rows
