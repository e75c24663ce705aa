"""The page of `bench --html` in Debian's chromium (`apt-get install chromium`), wide and narrow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import system_program

pytestmark = [pytest.mark.e2e, pytest.mark.system, pytest.mark.slow]

# Where a CI keeps what tests leave to look at.
ARTEFACTS = os.environ.get("YATAGARASU_ARTEFACTS")


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    report, page = folder / "r.json", folder / "r.html"
    names = ["hit", "mixed", "stampede", "faults", "coalescer"]
    options = ["--seconds", "1", "--runs", "1", "--set", "faults.when=once", "--set", "faults.clients=4", "-q"]
    command = [sys.executable, "-m", "yatagarasu", "bench", *names, *options]
    subprocess.run([*command, "--json", str(report)], check=True, timeout=200, stdout=subprocess.DEVNULL)
    again = [*command, "--compare", str(report), "--html", str(page)]
    subprocess.run(again, check=True, timeout=200, stdout=subprocess.DEVNULL)
    return page


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_in_a_browser(page_path: Path, width: int, tmp_path: Path):
    chromium = system_program("chromium")
    from playwright.sync_api import sync_playwright

    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if not request.url.startswith("data:") else None)
        page.goto(page_path.as_uri())
        # Nothing to complain of, nothing loaded but the page itself.
        assert said == [page_path.as_uri()]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("svg").count() == 5
        for plot in page.locator("svg").all():
            box = plot.bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
            assert box["width"] >= 0.85 * min(width, 600)
            line = plot.locator("path.line").first
            drawn = line.evaluate("path => [path.getTotalLength(), getComputedStyle(path).stroke]")
            assert drawn[0] > 100
            assert drawn[1] != "none"
            smallest = plot.evaluate("svg => 0.8 * 14 * svg.clientWidth / svg.viewBox.baseVal.width")
            label = plot.locator("text").first.bounding_box()
            assert label is not None
            # Letters of the axes are at least so many pixels high on the screen.
            assert label["height"] >= max(10, smallest)
        rows = page.locator("#survival tbody tr")
        assert rows.count() == 22
        assert page.locator("#survival").evaluate("it => it.scrollWidth") <= width
        assert all(cell.is_visible() for cell in page.locator("tbody tr").first.locator("td").all())
        folder = Path(ARTEFACTS) if ARTEFACTS else tmp_path
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"bench-{width}.png", full_page=True)
        assert (folder / f"bench-{width}.png").stat().st_size > 20_000
        browser.close()
