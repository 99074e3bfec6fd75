"""The page of a built dataset: what it weighs, file by file, and what was changed on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from common.files import write_text
from common.html import Cell, Table, number, render
from kaggle_dataset.bundle.checks import LIMIT_BYTES, LIMIT_FILES, Report


def write_report(path: Path, identity: str, report: Report, drift: Mapping[str, float | None]) -> None:
    """Write the HTML page of a build to `path`, whole or not at all; it opens anywhere, offline.

    Args:
        path: the file.
        identity: name of the built folder.
        report: of the checks that the build passed.
        drift: member -> by how much prob_fake of a face moved at most when stored in fp16; None: not measured.

    Raises:
        OSError: `path` cannot be written.
    """
    kinds = Counter[str]()
    for name, size in report.files.items():
        kinds[report.kinds[name]] += size
    files = [*((name, report.kinds[name], size) for name, size in report.files.items())]
    files += [(name, "other dataset", size) for name, size in report.others.items()]
    rows = [
        (Cell(names=(name,)), kind, Cell(f"{size:,}", kind="number", value=float(size)))
        for name, kind, size in sorted(files, key=lambda file: (-file[2], file[0]))
    ]
    cards = [
        ("Attached", f"{report.total / 1e6:,.1f} MB", f"{report.left:,} of {LIMIT_BYTES:,} bytes are left"),
        ("Files", str(len(report.files)), f"of {LIMIT_FILES}"),
        *((kind, f"{size / 1e6:,.1f} MB", f"{size:,} bytes") for kind, size in kinds.most_common()),
    ]
    page = render(
        "kaggle_dataset/bundle/report.html.j2",
        title=f"Build {identity}",
        cards=cards,
        files=Table((Cell("file"), Cell("kind"), Cell("bytes", kind="number")), rows, "sortable", "files"),
        drops=report.drops,
        drift=[(name, "not measured" if moved is None else number(moved, 4)) for name, moved in drift.items()],
    )
    write_text(path, page)
