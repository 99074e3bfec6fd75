"""Pages: one base template, one style sheet and one table script; Jinja2 escapes every value that a page shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

# Templates lie beside the code that fills them, so they are named by their path in the source tree.
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Cell:
    """A cell of a table with more than plain text; a plain value is shown as it is.

    Whatever lies before the text (swatch, stroke, bar) comes first, then text, names, after, strong and small.
    """

    text: object = ""
    names: tuple[str, ...] = ()  # from files: text from right to left inside them leaves the rest in order
    after: str = ""
    strong: str = ""  # a word in bold
    small: str = ""  # a note in small letters
    swatch: str = ""  # a CSS colour, shown as a box before the text
    stroke: str = ""  # CSS class of a person, whose kind of line is shown before the text
    bar: float | None = None  # 0..1, drawn before the text
    badge: str = ""  # CSS class of a badge around the text
    href: str = ""  # where the names link to
    kind: str = ""  # CSS class of the cell
    strength: float | None = None  # 0..1: how strongly the classes `above` and `below` colour the cell
    value: float | None = None  # what the cell is sorted by, where that is not its text


@dataclass(frozen=True)
class Table:
    """A table whose first cell of each row is the heading of the row; it is shown only if it has rows."""

    head: Sequence[object]  # str or Cell; the class `number` makes a column sort as numbers
    rows: Sequence[Sequence[object]]  # str or Cell
    kind: str = ""  # CSS classes: numbers, words, heat, names, weights, sortable, tall
    label: str = "table"  # what a screen reader calls it


def render(template: str, **context: object) -> str:
    """Fill a template and return the page.

    Args:
        template: its path from the root of the source tree, such as "explore/page.html.j2".
        context: the values that the template names. Jinja2 escapes all that are not `markupsafe.Markup`.

    Returns:
        The page's text. Bytes of a file name that are no UTF-8 become question marks.

    Raises:
        jinja2.UndefinedError: the template names a value that `context` lacks.
    """
    return _environment().get_template(template).render(context).encode("utf-8", "replace").decode("utf-8")


def number(value: float | None, digits: int, unit: str = "") -> str:
    """Write a number with `digits` decimals; "n/a" for None, NaN and infinities."""
    return f"{value:.{digits}f}{unit}" if value is not None and math.isfinite(value) else "n/a"


@cache
def _environment() -> Environment:
    # Imported here: a run without a page needs no Jinja2.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def source(name: str) -> Markup:
        """A style sheet or a script of the project, as it is: what lies inside <style> and <script> is not escaped."""
        return Markup((ROOT / name).read_text(encoding="utf-8"))  # noqa: S704

    environment = Environment(
        loader=FileSystemLoader(ROOT),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"source": source}
    environment.filters["number"] = number
    return environment
