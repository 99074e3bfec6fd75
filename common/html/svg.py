"""Drawings of matplotlib as SVG that lies inside a page and takes the page's colours, light or dark."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

# Each becomes a variable of common/html/style.css, so that a dark page has its own. The last two are Okabe and Ito's,
# which the colour-blind tell apart.
INK, SOFT, LINE = "#1b2027", "#5a6572", "#dde1e6"
BLUE, RED = "#0072b2", "#d55e00"
THEME = {INK: "ink", SOFT: "soft", LINE: "line", BLUE: "blue", RED: "vermilion"}
GREY = "#8b95a1"  # seen on light and on dark: a point of a bitmap cannot follow the page
WIDTH = 4.3  # inches: letters of a picture as wide as a phone are then as high as they say
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: letters are measured alike on any machine
    "font.size": 9.5,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "text.usetex": False,
    "axes.facecolor": "none",
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.formatter.useoffset": False,
    "grid.color": LINE,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
}


def css_colour(colour: str) -> str:
    """How a page's style names a colour of a picture: one of THEME follows the page, any other stays as it is."""
    return f"var(--{THEME[colour]})" if colour in THEME else colour


def standalone(picture: str) -> str:
    """An <svg> element of a page as a picture of its own, in the colours of a light page."""
    picture = str(picture)  # Markup would escape what is put into it
    for colour, name in THEME.items():
        picture = picture.replace(f"var(--{name})", colour)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'  # a page needs neither
    return picture.replace("<svg ", f"<svg {names} ", 1)


def svg(draw: Callable[[Figure], None], height: float, label: str, width: float = WIDTH) -> Markup:
    """Draw a picture into a page.

    Args:
        draw: draws on an empty figure.
        height: inches.
        label: what it shows, for those who cannot see it.
        width: inches.

    Returns:
        An <svg> element, the same for the same picture.
    """
    # Not pyplot: it keeps a global list of figures.
    import matplotlib
    from matplotlib.figure import Figure

    text = StringIO()
    # The salt differs between pictures, or their elements would have the same names in one page.
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": label}):
        figure = Figure(figsize=(width, height), dpi=72, layout="constrained", facecolor="none")
        draw(figure)
        figure.savefig(text, format="svg", dpi=180, metadata={"Date": None, "Creator": None})
    return _inline(text.getvalue(), label)


def _inline(text: str, label: str) -> Markup:
    """Without what a page does not need: prologue, metadata, names of groups, fonts, digits that nobody sees."""
    from markupsafe import Markup

    found = re.search(r'<svg [^>]*viewBox="([^"]+)"[^>]*>(.*)</svg>', text, flags=re.DOTALL)
    if not found:
        raise ValueError(f"matplotlib wrote no <svg> but {text[:60]!r}")
    # A style sheet of a picture would be one of the whole page.
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", found[2], flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r" font-family: [^;]*;", "", body)
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), body)
    body = re.sub(r"\s*\n\s*", "\n", body)
    for colour in THEME:
        body = body.replace(colour, css_colour(colour))
    # matplotlib has escaped all text in the body.
    picture = Markup('<svg role="img" aria-label="{}" viewBox="{}">{}</svg>')
    return picture.format(label, found[1], Markup(body))  # noqa: S704
