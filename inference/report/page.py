"""The report of a run: one HTML file that opens anywhere, offline: every video's probability and what led to it."""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from common.files import write_text
from common.html import html
from inference.report.markup import number, percent, small_table
from inference.report.run_section import RunFacts, run_section
from inference.result import PRIOR, PersonResult, ScoredFace, Thumbnail, VideoResult

BINS = 20  # of the histogram over 0..1
PERSON_STYLES = 6  # .p0 to .p5 in report.css; a seventh person looks like the first

# The browser itself then refuses every request, so "no network" does not rest on our care alone.
CONTENT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def write_report(path: Path, results: Sequence[VideoResult], run: RunFacts, max_sections: int = 300) -> None:
    """Write the HTML report of `results` to `path`, whole or not at all; the same input gives the same bytes.

    results: one per video, in the order of the table. max_sections: how many videos get a section with pictures,
    those that were not judged first; the table has all of them. Raises ValueError when max_sections is negative.
    """
    if max_sections < 0:
        raise ValueError(f"max_sections is {max_sections}; it must be 0 or more")
    # The sort is stable, so both groups keep the order of the table.
    chosen = sorted(range(len(results)), key=lambda index: results[index].status == "ok")[:max_sections]
    write_text(path, _page(results, run, chosen))


def _page(results: Sequence[VideoResult], run: RunFacts, chosen: Sequence[int]) -> str:
    css, script = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    part = f"{len(chosen)} of {len(results)} videos (the table has all)" if len(chosen) < len(results) else "All videos"
    sections = "\n".join(_section(index, results[index], run) for index in chosen)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{html(run.title)}</title>
<meta http-equiv="Content-Security-Policy" content="{CONTENT_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<style>
{css}</style></head>
<body><header><h1>{html(run.title)}</h1>
<p class="lead">P(fake) is a probability from an ensemble of neural networks, not proof: it can be wrong in either
direction, most of all on videos unlike those the networks were trained on.</p></header>
<main>
{_headline(results, run)}
{_table(results, frozenset(chosen))}
<section><div class="title"><h2>Video by video</h2><p>{part}, those not judged first.</p></div>
{sections}</section>
{run_section(run)}
</main>
<script>
{script}</script></body></html>
"""


def _stages(results: Sequence[VideoResult]) -> list[str]:
    """The stages that any video went through, in the order in which they first appear."""
    return list(dict.fromkeys(stage for result in results for stage in result.seconds))


def _side(prob_fake: float) -> str:
    return "fake" if prob_fake >= 0.5 else "real"


def _headline(results: Sequence[VideoResult], run: RunFacts) -> str:
    counts = Counter(result.status for result in results)
    why = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()) if status != "ok")
    each = run.wall_seconds / len(results) if results else math.nan
    cards = (
        ("Videos", str(len(results)), f"{number(run.wall_seconds, 1, ' s')} wall clock"),
        ("Judged", str(counts["ok"]), "status ok"),
        ("Not judged", str(len(results) - counts["ok"]), f"{why or 'none'}; prior {PRIOR}"),
        ("Seconds per video", number(each, 2), "wall clock"),
        (
            "Cores at work",
            f"{number(run.profile.cores_busy, 1)} of {run.profile.cores}",
            f"bound by {run.profile.bound()}",
        ),
    )
    tiles = [f"<div><dt>{name}</dt><dd>{value}<small>{html(note)}</small></dd></div>\n" for name, value, note in cards]
    return f'<section class="summary">\n<dl class="cards">\n{"".join(tiles)}</dl>\n{_histogram(results)}\n</section>'


def _histogram(results: Sequence[VideoResult]) -> str:
    scored = [result.prob_fake for result in results if result.status == "ok" and math.isfinite(result.prob_fake)]
    counts = Counter(min(int(percent(prob_fake) * BINS / 100), BINS - 1) for prob_fake in scored)
    highest = max(counts.values(), default=0)
    bars = "".join(
        f'<rect class="{_side((index + 0.5) / BINS)}" x="{100 * (index + 0.1) / BINS:.2f}%" width="{80 / BINS:.2f}%" '
        f'y="{100 - 100 * count / highest:.2f}%" height="{100 * count / highest:.2f}%">'
        f"<title>{index / BINS:.2f} to {(index + 1) / BINS:.2f}: {count}</title></rect>\n"
        for index, count in sorted(counts.items())
    )
    return f"""<figure><figcaption>P(fake) of the judged videos <small>tallest bar: {highest}</small></figcaption>
<svg class="histogram" role="img" aria-label="Histogram of P(fake), {len(scored)} videos in {BINS} bins">
<line class="half" x1="50%" x2="50%" y1="0%" y2="100%"/><line class="grid" x1="0%" x2="100%" y1="100%" y2="100%"/>
{bars}</svg>
<div class="ends"><span>0 <b class="real">real</b></span><span>0.5</span><span><b class="fake">fake</b> 1</span></div>
</figure>"""


def _table(results: Sequence[VideoResult], linked: frozenset[int]) -> str:
    stages = _stages(results)
    named = [("video", ""), ("P(fake)", ' class="number"'), ("status", "")]
    numbers = ["people", "faces", "duration, s", *(f"{stage}, s" for stage in stages)]
    head = "".join(
        f'<th scope="col"{kind} aria-sort="none"><button type="button">{html(name)}</button></th>\n'
        for name, kind in [*named, *((name, ' class="number"') for name in numbers), ("reason", "")]
    )
    rows = "".join(_row(index, result, stages, index in linked) for index, result in enumerate(results))
    return f"""<section><div class="title"><h2 id="all">All videos</h2>
<p id="filter" hidden><output></output>
<label>Filter <input type="search" placeholder="name, status or reason" autocomplete="off"></label></p></div>
<div class="scroll" tabindex="0" role="region" aria-labelledby="all"><table id="videos">
<thead><tr>
{head}</tr></thead>
<tbody>
{rows}</tbody></table></div></section>"""


def _row(index: int, result: VideoResult, stages: Sequence[str], linked: bool) -> str:
    name = f"<bdi>{html(result.filename)}</bdi>"
    name = f'<a href="#video-{index}">{name}</a>' if linked else name
    numbers = [str(len(result.people)), str(len(result.faces)), number(result.duration or math.nan, 1)]
    numbers += [number(result.seconds.get(stage, math.nan), 2) for stage in stages]
    cells = "".join(f'<td class="number">{number}</td>' for number in numbers)
    prob = f'<td data-value="{number(result.prob_fake, 6)}">{_prob(result)}</td>'
    rest = f'<td>{_badge(result)}</td>{cells}<td class="reason">{html(result.reason)}</td>'
    return f'<tr id="row-{index}"><th scope="row">{name}</th>{prob}{rest}</tr>\n'


def _prob(result: VideoResult) -> str:
    """The number with a bar from the middle: to the left is real, to the right is fake."""
    if result.status != "ok":
        return f'<span class="unjudged">{number(result.prob_fake, 3)} <small>not judged</small></span>'
    at = percent(result.prob_fake)
    bar = f'<i class="{_side(at / 100)}" style="left:{min(at, 50):.1f}%;width:{abs(at - 50):.1f}%"></i>'
    return f'<span class="probability"><b>{number(result.prob_fake, 3)}</b><span class="bar">{bar}</span></span>'


def _badge(result: VideoResult) -> str:
    return f'<span class="badge {"ok" if result.status == "ok" else "fallback"}">{html(result.status)}</span>'


def _section(index: int, result: VideoResult, run: RunFacts) -> str:
    prior = f"<b>Not judged.</b> {PRIOR} is the prior and says nothing about this video.<br>"
    prior = "" if result.status == "ok" else prior
    note = f'<p class="note">{prior}{html(result.reason)}</p>\n' if prior or result.reason else ""
    # A video that cannot be opened has no size, rate or length to show.
    size = f"<span>{result.width} &times; {result.height}</span>" if result.width else ""
    rate = f"<span>{number(result.fps, 2, ' fps')}</span><span>{result.frames} frames</span>" if result.fps else ""
    length = f"<span>{number(result.duration, 1, ' s')}</span>" if result.duration else ""
    # A strip that scrolls on a narrow screen must be reachable by keyboard.
    strip = "".join(_thumbnail(result, thumbnail) for thumbnail in result.thumbnails)
    strip = strip and f'<div class="strip" tabindex="0" role="group" aria-label="Judged frames">\n{strip}</div>\n'
    return f"""<article id="video-{index}" aria-labelledby="name-{index}">
<header><h3 id="name-{index}"><bdi>{html(result.filename)}</bdi></h3>{_badge(result)}{_prob(result)}</header>
<p class="facts">{size}{rate}{length}<span>{len(result.faces)} faces judged</span></p>
{note}{strip}<div class="details">{_chart(result)}<div class="tables">{_evidence(result, run)}</div></div>
<p class="back"><a href="#row-{index}">Back to its row</a></p></article>
"""


def _thumbnail(result: VideoResult, thumbnail: Thumbnail) -> str:
    """One frame; the boxes lie over it in percent, so that their labels keep their size on any screen."""
    boxes = "".join(_box(face, result) for face in result.faces if face.frame == thumbnail.frame)
    width, height = (max(1, round(side * thumbnail.scale)) for side in (result.width, result.height))
    second, picture = number(thumbnail.second, 1, " s"), base64.b64encode(thumbnail.jpeg).decode("ascii")
    return (
        f'<figure><div class="picture"><img loading="lazy" decoding="async" width="{width}" height="{height}" '
        f'alt="Frame at {second}" src="data:image/jpeg;base64,{picture}">{boxes}</div>'
        f"<figcaption>{second} <small>frame {thumbnail.frame}</small></figcaption></figure>\n"
    )


def _box(face: ScoredFace, result: VideoResult) -> str:
    corners = [float(value) for value in face.box_xyxy]
    if not (result.width and result.height and all(map(math.isfinite, corners))):
        return ""
    x0, x1 = (percent(x / result.width) for x in corners[::2])
    y0, y1 = (percent(y / result.height) for y in corners[1::2])
    kind = f"p{face.person % PERSON_STYLES}" + (" inside" if y0 < 12 else "")  # no room for a label above the face
    place = f"left:{x0:.1f}%;top:{y0:.1f}%;width:{x1 - x0:.1f}%;height:{y1 - y0:.1f}%"
    label = f"<b>{number(face.prob_fake, 2)}</b>"
    return f'<span class="box {kind}" style="{place}" title="{_face_words(face)}">{label}</span>'


def _face_words(face: ScoredFace) -> str:
    found = f"found by {face.detector} at {number(face.score, 2)}"
    return html(f"person {face.person}, {number(face.second, 1)} s: P(fake) {number(face.prob_fake, 3)}, {found}")


def _chart(result: VideoResult) -> str:
    """P(fake) over time, if a face was judged. In percent, so that text and lines keep their size on any screen."""
    faces = [face for face in result.faces if math.isfinite(face.prob_fake) and math.isfinite(face.second)]
    if not faces:
        return ""
    faces.sort(key=lambda face: (face.person, face.second))
    ends = [second for second in (result.duration, *(face.second for face in faces)) if math.isfinite(second)]
    span = max(ends) if max(ends) > 0 else 1.0  # one frame of a video without duration still needs an axis
    curves = "".join(_curve(list(group), span) for _, group in groupby(faces, key=lambda face: face.person))
    ticks = "".join(f'<text x="{at}%" y="100%" dy="18">{span * at / 100:.1f}</text>\n' for at in (0, 25, 50, 75, 100))
    final, y = number(result.prob_fake, 3), f"{100 - percent(result.prob_fake):.2f}%"
    return f"""<figure><figcaption>P(fake) over seconds <small>dashed: the whole video, {final}</small></figcaption>
<div class="chart"><svg role="img" aria-label="P(fake) of {len(faces)} faces over {span:.1f} s; whole video: {final}">
<line class="grid" x2="100%"/><line class="half" x2="100%" y1="50%" y2="50%"/>
<line class="grid" x2="100%" y1="100%" y2="100%"/><line class="final" x2="100%" y1="{y}" y2="{y}"/>
<g class="levels"><text dy="4">fake 1</text><text y="50%" dy="4">0.5</text><text y="100%" dy="4">real 0</text></g>
<text class="final" x="100%" dx="8" y="{y}" dy="4">{final}</text>
{curves}<g class="ticks">{ticks}</g></svg></div></figure>"""


def _curve(faces: Sequence[ScoredFace], span: float) -> str:
    """One person's line and dots; a single face is a dot alone."""
    points = [(percent(face.second / span), 100 - percent(face.prob_fake)) for face in faces]
    style, path = f"p{faces[0].person % PERSON_STYLES}", "L".join(f"{x:.2f} {y:.2f}" for x, y in points)
    dots = "".join(
        f'<circle class="{style}" cx="{x:.2f}%" cy="{y:.2f}%" r="4"><title>{_face_words(face)}</title></circle>\n'
        for face, (x, y) in zip(faces, points, strict=True)
    )
    line = f'<svg class="{style}" viewBox="0 0 100 100" preserveAspectRatio="none"><path d="M{path}"/></svg>\n'
    return line + dots if len(points) > 1 else dots


def _evidence(result: VideoResult, run: RunFacts) -> str:
    """The small tables beside the chart: people, members, detector steps, seconds."""
    detectors = Counter(face.detector for face in result.faces).most_common()
    seconds = [(html(stage), number(value, 2)) for stage, value in result.seconds.items()]
    tables = (
        small_table("People", ("", "frames seen", "P(fake)"), map(_person_row, result.people)),
        small_table("Members", ("", "mean logit", "as P(fake)"), _member_rows(result, run)),
        small_table(
            "Found by", ("detector step", "faces"), [(html(detector), str(count)) for detector, count in detectors]
        ),
        small_table("Time spent", ("stage", "s"), seconds),
    )
    return "".join(tables)


def _person_row(who: PersonResult) -> tuple[str, str, str]:
    swatch = f'<i class="swatch p{who.person % PERSON_STYLES}"></i>'
    return f"{swatch}person {who.person}", str(who.frames), number(who.prob_fake, 3)


def _member_rows(result: VideoResult, run: RunFacts) -> list[tuple[str, str, str]]:
    """Name, mean logit over faces and its sigmoid; members of the run first, then any others that judged a face."""
    rows = []
    for member in dict.fromkeys([*run.members, *(name for face in result.faces for name in face.logits)]):
        if logits := [face.logits[member] for face in result.faces if member in face.logits]:
            mean = sum(logits) / len(logits)
            rows.append((html(member), number(mean, 2), number((1 + math.tanh(mean / 2)) / 2, 3)))
    return rows
