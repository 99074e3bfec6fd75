"""The page in a real browser: wide and narrow, dark and light, by keyboard, and what axe-core says of it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.waiting import LIMIT, wait_until

CHROMIUM = Path("/usr/bin/chromium")
AXE = "axe-core@4.14.1"  # fetched by npm where the test runs
# Everything a reader meets; serious and critical findings fail.
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm, which fetches axe-core"),
]


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("axe")
    subprocess.run(["npm", "pack", "--silent", AXE], cwd=folder, check=True, timeout=LIMIT)
    subprocess.run(["tar", "xzf", next(folder.glob("*.tgz"))], cwd=folder, check=True)
    return (folder / "package" / "axe.min.js").read_text()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


def until(page, script):
    """Wait for what a script says; Playwright's own way to wait is refused by the page's security policy."""
    wait_until(lambda: page.evaluate(script), script)


def look(page, axe, picture):
    """Take a picture, and refuse what axe-core calls serious, and a page that is wider than its window."""
    page.screenshot(path=picture, full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{picture}: scrolls sideways"
    page.evaluate(axe)
    found = page.evaluate(f"axe.run(document, {json.dumps(RULES)})")
    bad = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
    assert not bad, [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in bad]


def test_the_page(server, browser, axe, pictures, clip, nobody, tmp_path):
    text = tmp_path / "letter.mp4"
    text.write_text("no video\n" * 100)
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if "Content Security" in said.text else None)
    page.set_default_timeout(LIMIT * 1000)
    # Listened to from the start: told at the last moment, the browser may open the dialog before it knows of it.
    choosers = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))  # noqa: PLW0108 - it takes no built-in
    page.goto(server.address)
    until(page, "document.querySelectorAll('#videos > li').length || !document.querySelector('#none').hidden")

    # By keyboard: the first stop is the button that opens the list of files.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "choose-files"
    page.keyboard.press("Enter")
    wait_until(lambda: page.evaluate("1") and choosers, "the dialog of files")  # each call lets Playwright hear events
    choosers[0].set_files([clip, nobody, text])
    until(page, "document.querySelector('#status').textContent.startsWith('All 3 finished')")
    row = page.locator("#videos > li", has_text=clip.name).first
    assert "P(fake)" in row.inner_text()
    assert row.locator("p.verdict").inner_text()  # the sentence of inference/verdict.py
    assert "no_face: not scored" in page.locator("#videos > li", has_text=nobody.name).first.inner_text()
    assert "is not a video" in page.locator("#videos > li", has_text="letter.mp4").first.inner_text()
    row.locator("button.name").focus()
    page.keyboard.press("Space")
    row.locator("article").wait_for()
    assert row.locator("article img").count() >= 4
    assert row.locator("button.name").get_attribute("aria-expanded") == "true"
    look(page, axe, pictures / "wide.png")

    page.emulate_media(color_scheme="dark")
    look(page, axe, pictures / "wide_dark.png")
    page.set_viewport_size({"width": 390, "height": 844})
    look(page, axe, pictures / "narrow_dark.png")
    page.emulate_media(color_scheme="light")
    look(page, axe, pictures / "narrow.png")

    # The history outlives the page, and a video goes by keyboard.
    page.reload()
    row = page.locator("#videos > li", has_text=clip.name).first
    row.locator("button.name").wait_for()
    before = page.locator("#videos > li").count()
    row.locator("button.remove").focus()
    page.keyboard.press("Enter")
    until(page, f"document.querySelectorAll('#videos > li').length === {before - 1}")
    assert page.evaluate("document.activeElement.tagName") == "BUTTON"

    page.goto(f"{server.address}/docs")  # still narrow
    look(page, axe, pictures / "docs.png")
    assert not errors
    page.close()


def test_the_page_asks_for_the_token(start_server, browser, axe, pictures, tmp_path):
    token = "a-token-of-many-letters"  # noqa: S105
    with start_server(tmp_path, DFDC_TOKEN=token) as server:
        page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
        page.set_default_timeout(LIMIT * 1000)
        page.goto(server.address)
        for given in ("wrong-token-of-letters", token):
            until(page, "document.querySelector('#ask').open")
            page.keyboard.type(given)
            if given == token:
                assert "The token is wrong" in page.locator("#ask").inner_text()
                look(page, axe, pictures / "token.png")
            page.keyboard.press("Enter")
        until(page, "!document.querySelector('#none').hidden")
        page.close()
