"""A picture of the demo's sample page: `python -m tests.sample_page_screenshot FILE`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from playwright.sync_api import expect

from tests.browser import chromium
from tests.e2e.harness import running

# (what to press, what the step says then)
STEPS = (
    ("#login .main", "#login .said.good"),
    ("#upload .main", "#upload .said.good"),
    ("#socket [name=open]", "#socket .said.good"),
    ("#socket [name=send]", "#socket .lines li small"),
    ("#guards button:nth-child(4)", "#guards .said.bad"),
    ("#crawl .main", "#crawl .said.good"),
    ("#chat .main", "#chat .events i.audio"),
)


def main(file: Path) -> None:
    with (
        running(None, "demo", JWT_SECRET="", GATEWAY_AUTH_MODE="", GATEWAY_RATE_LIMIT="") as demo,
        chromium() as browser,
    ):
        found = re.search(r"Open (http://\S+) in", demo.output)
        assert found is not None
        # Without motion, so that no picture catches a blink.
        page = browser.new_page(viewport={"width": 1180, "height": 1010}, color_scheme="light", reduced_motion="reduce")
        page.goto(found[1])
        for pressed, shown in STEPS:
            page.click(pressed)
            expect(page.locator(shown).first).to_be_visible(timeout=15_000)
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
