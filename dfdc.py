#!/usr/bin/env python3
"""DeepFake Detection Challenge: the public API, and the entry of the command `dfdc`.

    import dfdc

    detector = dfdc.load()
    detector.predict("clip.mp4").prob_fake
    detector.predict(["a.mp4", "b.mp4"]).to_frame()

`import dfdc` loads none of the libraries that it needs later: a name is imported from its room when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = str(Path(__file__).resolve().parent)
if ROOT not in sys.path:  # the rooms are plain packages beside this file, also when it is run from another folder
    sys.path.insert(0, ROOT)

if TYPE_CHECKING:
    from common import __version__
    from common.errors import DfdcError
    from ensemble.blend import Blend
    from faces.crop import CropSpec
    from inference.detector import Face, FakeDetector, crop, find_faces, load
    from inference.prediction import Prediction, Predictions

__all__ = [
    "Blend",
    "CropSpec",
    "DfdcError",
    "Face",
    "FakeDetector",
    "Prediction",
    "Predictions",
    "__version__",
    "crop",
    "find_faces",
    "load",
    "main",
]

# Name -> the module that defines it (PEP 562); every other public name is in inference/detector.py.
_MODULES = {
    "Blend": "ensemble.blend",
    "CropSpec": "faces.crop",
    "DfdcError": "common.errors",
    "__version__": "common",
    "app": "cli.main",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in __all__ and name not in _MODULES:
        raise AttributeError(f"module 'dfdc' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(_MODULES.get(name, "inference.detector")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def main() -> None:
    """Run the command `dfdc` with the arguments of this process."""
    from cli.stopping import ended_by_ctrl_c

    with ended_by_ctrl_c():  # before anything else: importing the command takes its time
        from cli.main import main as run_command

        run_command()


if __name__ == "__main__":
    main()
