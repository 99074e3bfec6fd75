#!/usr/bin/env python3
"""Make an environment with the versions of Kaggle's image, for a dry run that is closer to a session.

python scripts/image_environment.py .venv-kaggle
.venv-kaggle/bin/dfdc dry-run --videos CLIPS

The versions are those of kaggle_dataset/image.toml, the rest is what the project asks for. A few GB are downloaded.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kaggle_dataset.bundle.wheels import read_image


def main(folder: Path, python: str, look: bool) -> int:
    """Make the environment, or with `look` say what would be installed; returns uv's exit status."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        print("uv is not here; `make setup` installs it, or: pip install uv", file=sys.stderr)
        return 2
    image = read_image()
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
        pins.writelines(f"{name}=={version}\n" for name, version in image.distributions.items())
        pins.flush()
        wanted = python or image.pythons[0]
        install = [uv, "pip", "install", "--overrides", pins.name, "-r", pins.name, str(ROOT)]
        if look:
            return subprocess.run([*install, "--dry-run", "--python", python or sys.executable], check=False).returncode
        made = subprocess.run([uv, "venv", "--python", wanted, str(folder)], check=False).returncode
        if made:
            print(f"Python {wanted} is Kaggle's; --python names one that is here", file=sys.stderr)
            return made
        return subprocess.run([*install, "--python", str(folder / "bin" / "python")], check=False).returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the environment is made")
    parser.add_argument("--python", default="", help="a version or path (default: the image's version)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be installed")
    asked = parser.parse_args()
    sys.exit(main(asked.folder, asked.python, asked.dry_run))
