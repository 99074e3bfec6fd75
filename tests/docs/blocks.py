"""The fenced blocks of the documentation, and what stands before each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
TUTORIAL = tuple(DOCS / "tutorial" / f"first-{what}.md" for what in ("video", "member", "blend", "submission"))
OTHERS = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "models/README.md",
    "train/README.md",
    "kaggle_dataset/README.md",
)
PAGES = (*sorted(DOCS.rglob("*.md")), *(ROOT / name for name in OTHERS))

BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)``` *$", re.M | re.S)
COMMENT = re.compile(r"<!--\s*((?:(?!-->).)*?)\s*-->\s*\Z", re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int  # of the fence
    language: str
    text: str
    note: str  # the HTML comment before it; empty for none

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path, language: str) -> list[Block]:
    """The blocks of one language, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        if match["language"] == language:
            note = COMMENT.search(text[: match.start()])
            line = text[: match.start()].count("\n") + 1
            found.append(Block(page, line, language, match["text"], note[1] if note else ""))
    return found


def blocks(language: str) -> list[Block]:
    """The blocks of one language in all pages."""
    return [block for page in PAGES for block in blocks_of(page, language)]


def prose_of(page: Path) -> str:
    """A page without its blocks and without code inside a line."""
    return re.sub(r"`[^`\n]*`", "", BLOCK.sub("", page.read_text(encoding="utf-8")))
