#!/usr/bin/env python3
"""The entry of the command `dfdc`: `python dfdc.py ...`; what it does is in cli/."""

from __future__ import annotations

import sys
from pathlib import Path

# The rooms are plain packages beside this file; names such as `models` must not be found elsewhere first.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from cli.main import app, main

__all__ = ["app", "main"]

if __name__ == "__main__":
    main()
