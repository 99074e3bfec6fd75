"""What the parts of the page of `dfdc explore` have in common."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd


@dataclass(frozen=True)
class Drawn:
    """A picture that this run drew, as the page shows it."""

    file: str  # relative to the report's folder, with /
    width: int  # pixels
    height: int  # pixels
    title: str  # the picture's alternative text too
    caption: str = ""

    @property
    def source(self) -> str:
        """The file as an address."""
        return quote(self.file)


@dataclass(frozen=True)
class Section:
    """A part of the page with its place in the contents."""

    title: str
    lead: str = ""
    notes: tuple[str, ...] = ()  # what is missing and why
    template: str = ""  # what fills it; only notes are shown where this is empty
    values: Mapping[str, Any] = field(default_factory=dict)  # that the template shows

    @property
    def anchor(self) -> str:
        """The part's id."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())


def link(target: Path, folder: Path) -> str:
    """The address of a file relative to a folder; a colon in it is no protocol."""
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
