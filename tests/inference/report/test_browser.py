"""The report in a real browser, as wide as a phone: filtered, and never wider than its window."""

from pathlib import Path

import pytest

from tests.inference.report.test_page import face, render, scored
from tests.waiting import LIMIT

CHROMIUM = Path("/usr/bin/chromium")
PHONE = {"width": 390, "height": 844}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium"),
]
VISIBLE = "names => [...document.querySelectorAll(names)].filter(e => e.getClientRects().length).length"


def test_the_filter_chooses_rows_and_sections_and_a_phone_does_not_scroll_sideways(tmp_path):
    from playwright.sync_api import sync_playwright

    # The names are numbered against the scores, so that their order is not that of the page.
    many = tuple(scored(f"clip{i:03}.mp4", (face(),), prob_fake=i / 50) for i in range(1, 50))
    (tmp_path / "page.html").write_text(render(tmp_path, many, max_sections=20))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport=PHONE)
        page.set_default_timeout(LIMIT * 1000)
        page.goto((tmp_path / "page.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert [page.evaluate(VISIBLE, names) for names in ("tbody tr[id^=row]", "article")] == [49, 20]
        page.screenshot(path=tmp_path / "phone.png")
        page.fill(".filter input", "clip049")
        assert [page.evaluate(VISIBLE, names) for names in ("tbody tr[id^=row]", "article")] == [1, 1]
        page.fill(".filter input", "clip003")  # its score is too low for a section
        assert [page.evaluate(VISIBLE, names) for names in ("tbody tr[id^=row]", "article")] == [1, 0]
        page.fill(".filter input", "")
        assert page.evaluate(VISIBLE, "article") == 20
        browser.close()
