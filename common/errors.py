"""The root of the errors that this project raises on purpose."""

from __future__ import annotations


class DfdcError(Exception):
    """Root of the errors this project raises on purpose; the message names the value and the next step."""
