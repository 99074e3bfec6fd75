"""The site as `make docs` builds it: without a warning, and without anything that a browser would fetch elsewhere."""

import re
import subprocess
import sys

import pytest
import yaml

from common import __version__
from tests.docs.blocks import ROOT

# What makes a browser fetch: attributes of these, not the links that a reader may follow.
FETCHED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"?(?:https?:)?//|<link\b[^>]*\bhref=\"?(?:https?:)?//"
)


@pytest.mark.slow
def test_the_site_builds_strictly_and_works_offline(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        check=False, capture_output=True, text=True, cwd=ROOT, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(tmp_path / "site").as_posix(): path for path in (tmp_path / "site").rglob("*.html")}
    assert {"index.html", "reference/command-line.html", "reference/python.html", "glossary.html"} <= pages.keys()
    texts = {name: path.read_text(encoding="utf-8") for name, path in pages.items()}
    assert [name for name, text in texts.items() if FETCHED.search(text)] == []
    assert "--max-fallback" in texts["reference/command-line.html"]
    assert "prob_fake" in texts["reference/python.html"]
    styles = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.css"))
    assert "url(http" not in styles and "@import" not in styles


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()  # what version 1.2.0 of the format needs
    assert (citation["version"], citation["license"]) == (__version__, "Apache-2.0")
