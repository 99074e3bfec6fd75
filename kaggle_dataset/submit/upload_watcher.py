"""What the client of Kaggle prints while it uploads, and when it must be stopped."""

from __future__ import annotations

import re

from kaggle_dataset.submit.polling import Say


class Watcher:
    """Looks over the client's shoulder, to stop it before it does what it would call a success."""

    def __init__(self, files: int, say: Say) -> None:
        """Watch one upload.

        Args:
            files: how many it sends.
            say: is told of each that has arrived.
        """
        self.dropped, self.expired = "", False
        self.pause: float | None = None
        self._left, self._say = files, say

    def __call__(self, line: str) -> bool:
        """Whether to stop: a file has failed and would be left out, or the last request is about to be repeated."""
        if line.startswith("Upload successful: "):
            self._left -= 1
            self._say(line)
        elif re.match(r"Upload of .* expired", line):
            self.expired = True
        elif line.startswith("Upload unsuccessful: "):
            self.dropped = line.removeprefix("Upload unsuccessful: ").strip()
        # With files left it is the start of an upload that is asked for again, which does no harm.
        elif (again := re.match(r"Request failed: .* Will retry in +([\d.]+) seconds", line)) and self._left <= 0:
            self.pause = float(again[1])
        return bool(self.dropped) or self.pause is not None
