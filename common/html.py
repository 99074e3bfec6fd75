"""Text for a page, escaped in one place."""

from __future__ import annotations

from html import escape


def html(value: object) -> str:
    """Escaped for HTML text and attributes; bytes of a file name that are no UTF-8 become question marks."""
    return escape(str(value).encode("utf-8", "replace").decode("utf-8"))
