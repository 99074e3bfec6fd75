"""Every link and every picture of the documentation leads to something that is there."""

import re

import pytest

from scripts.command_line_page import PAGE
from tests.docs.blocks import DOCS, PAGES, ROOT, prose_of

LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|(?:src|href)=\"([^\"]+)\"")
MADE = {DOCS / PAGE}  # pages that are written when the site is built


def links_of(page):
    return [first or second for first, second in LINK.findall(prose_of(page))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_internal_link_and_picture_exists(page):
    inside = [link.split("#")[0] for link in links_of(page) if not re.match(r"[a-z]+:", link)]
    lost = [link for link in inside if link and not (target := (page.parent / link).resolve()).exists()
            and target not in MADE]  # fmt: skip
    assert not lost


@pytest.mark.parametrize("page", [page for page in PAGES if DOCS in page.parents], ids=lambda page: page.name)
def test_pages_of_the_site_link_into_the_site(page):
    """What lies outside docs/ is not on the site: such a file is named, and not linked."""
    inside = [link.split("#")[0] for link in links_of(page) if not re.match(r"[a-z]+:", link)]
    assert [link for link in inside if not (page.parent / link).resolve().is_relative_to(DOCS)] == []


def test_links_are_found_at_all():
    assert sum(len(links_of(page)) for page in PAGES) > 50


def test_external_links_are_encrypted():
    assert [(page.name, link) for page in PAGES for link in links_of(page) if link.startswith("http:")] == []
