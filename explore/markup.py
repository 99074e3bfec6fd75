"""The few pieces of HTML that the page of `dfdc explore` is made of."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from common.html import html


@dataclass(frozen=True)
class Drawn:
    """A picture that this run drew, as the page shows it."""

    file: str  # relative to the report's folder, with /
    width: int  # pixels
    height: int  # pixels
    title: str  # plain text, the picture's alternative text too
    caption: str = ""  # plain text


def name(value: object) -> str:
    """A name from a file: letters that are written from right to left must not turn what stands beside it."""
    return f"<bdi>{html(value)}</bdi>"


def link(target: Path, folder: Path) -> str:
    """The address of a file relative to a folder, for an attribute; a colon in it is no protocol."""
    return quote(os.fsencode(os.path.relpath(target.absolute(), folder.absolute())))


def number(value: Any) -> str:
    """A cell's number: whole ones whole, others with three digits that count; nothing for what is missing."""
    if value is None or pd.isna(value):
        return ""
    value = float(value)
    if not math.isfinite(value):
        return "n/a"
    if value == round(value) or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}"


def share(value: Any) -> str:
    """A share 0..1 in percent; n/a for what is not known."""
    return "n/a" if value is None or pd.isna(value) else f"{100 * float(value):.3g} %"


def section(title: str, lead: str, *body: str) -> str:
    """A part of the page with its place in the contents. lead and body: ready HTML."""
    anchor = "".join(letter if letter.isalnum() else "-" for letter in title.lower())
    rest = "\n".join(filter(None, body))
    return f'<section id="{anchor}"><h2>{html(title)}</h2>\n<p class="lead">{lead}</p>\n{rest}</section>'


def cells(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "", label: str = "") -> str:
    """A table of ready HTML cells, the first of each row its heading, in a box that scrolls by itself."""
    lines = []
    for first, *rest in rows:
        filled = "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in rest)
        lines.append(f'<tr><th scope="row">{first}</th>{filled}</tr>\n')
    names = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    box = f'<div class="scroll" tabindex="0" role="region" aria-label="{html(label or "table")}">'
    return (
        f'{box}<table class="{kind}"><thead><tr>{names}</tr></thead>\n<tbody>\n{"".join(lines)}</tbody></table></div>'
    )


def table(frame: pd.DataFrame, kind: str = "", label: str = "") -> str:
    """A table of whatever columns there are: underscores in their names become spaces, missing values empty cells."""
    rows = [[_cell(value) for value in row] for row in frame.itertuples(index=False, name=None)]
    head = [html(str(column).replace("_", " ")) for column in frame.columns]
    return cells(head, rows, kind, label) if rows else ""


def _cell(value: Any) -> str:
    return name(value) if isinstance(value, str) else number(value)


def tiles(facts: Iterable[tuple[str, str, str]]) -> str:
    """Large numbers: name, value, note; plain text."""
    filled = (f"<div><dt>{html(a)}</dt><dd>{html(b)}<small>{html(c)}</small></dd></div>\n" for a, b, c in facts)
    return f'<dl class="cards">\n{"".join(filled)}</dl>'


def figure(drawn: Drawn, anchor: str = "") -> str:
    """A picture loaded when it comes near the screen; its place is kept free until then."""
    source = quote(drawn.file)
    place = f' id="{anchor}"' if anchor else ""
    image = (
        f'<img loading="lazy" decoding="async" width="{drawn.width}" height="{drawn.height}" '
        f'alt="{html(drawn.title)}" src="{source}">'
    )
    note = f"<small>{html(drawn.caption)}</small>" if drawn.caption else ""
    return (
        f'<figure{place}><a href="{source}">{image}</a><figcaption>{name(drawn.title)} {note}</figcaption></figure>\n'
    )


def note(words: str) -> str:
    """What is missing and why, in plain text."""
    return f'<p class="note">{html(words)}</p>'
