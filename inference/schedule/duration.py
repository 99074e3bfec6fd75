"""Durations as people write them: 9h, 90m, 1h30m, 45s, 45."""

from __future__ import annotations

import math
import re

UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0}
PART = re.compile(r"(\d+(?:\.\d+)?)([hms]?)")


def parse_duration(text: str) -> float:
    """Seconds; ValueError for anything that is not a duration above zero."""
    parts = PART.findall(text.strip().lower())
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text.strip().lower() or seconds <= 0:
        raise ValueError(f"{text!r} is not a duration; write 9h, 90m, 1h30m or 45s")
    return seconds


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, for logs: 3725.4 -> 1:02:05; a time that is not known yet is infinite."""
    if not math.isfinite(seconds):
        return "a time not yet known"
    whole = round(max(0.0, seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
