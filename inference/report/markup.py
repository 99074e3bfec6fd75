"""The few pieces of HTML that a report is made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def number(value: float, digits: int, unit: str = "") -> str:
    """With so many digits; n/a for what is no number."""
    return f"{value:.{digits}f}{unit}" if math.isfinite(value) else "n/a"


def percent(share: float) -> float:
    """A share as 0..100, the middle for NaN, so that nothing drawn leaves its frame."""
    return 50.0 if math.isnan(share) else 100 * min(max(share, 0.0), 1.0)


def small_table(caption: str, names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of ready HTML cells, the first of each row its heading; nothing at all when there are no rows."""
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    lines = [f'<tr><th scope="row">{name}</th><td>{"</td><td>".join(cells)}</td></tr>\n' for name, *cells in rows]
    top = f"<caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>"
    return f"<table>{top}\n<tbody>\n{''.join(lines)}</tbody></table>" if lines else ""
