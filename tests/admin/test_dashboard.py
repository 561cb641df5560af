"""The dashboard in real Chromium: what it shows, how it is used, and that nothing it is told does anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, Route, expect

from tests.browser import chromium
from tests.e2e.harness import Gateway, free_port, running, write_table

NAMES = ("accounts", "billing", "crawling")
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202e</script><script>alert(2)</script>"
PHONE: Any = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    port = free_port()
    upstreams = "".join(f'[{name}]\nurl = "http://127.0.0.1:{port}"\n' for name in NAMES)
    routes = 'auth = "public"\n' + "".join(
        f'[[route]]\npath = "/{name}/{{rest:path}}"\nupstream = "{name}"\n' for name in NAMES
    )
    with running(write_table(tmp_path_factory.mktemp("dash") / "table", upstreams, routes)) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


class Shown:
    """A page, and what went on in it that must not."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.wrong: list[str] = []
        page.on("dialog", self._opened)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", self._said)
        page.on("request", lambda request: self._asked(request, origin))

    def _opened(self, dialog: Dialog) -> None:
        self.wrong.append("dialog")
        dialog.dismiss()

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.wrong.append(message.text)

    def _asked(self, request: Request, origin: str) -> None:
        if not request.url.startswith(f"{origin}/"):
            self.wrong.append(f"asked {request.url}")


@pytest.fixture
def shown(browser: Browser, gateway: Gateway) -> Iterator[Shown]:
    origin = f"http://127.0.0.1:{gateway.admin_port}"
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    shown = Shown(context.new_page(), origin)
    shown.page.goto(f"{origin}/")
    expect(shown.page.locator("button.name").first).to_be_visible()
    yield shown
    context.close()
    assert shown.wrong == []


def names(page: Page) -> list[str]:
    return page.locator("button.name").all_inner_texts()


def test_every_upstream_is_shown_with_its_state_in_a_word(shown: Shown) -> None:
    assert sorted(names(shown.page)) == sorted(NAMES)
    expect(shown.page.locator("#state")).to_have_text("ready")
    assert set(shown.page.locator("#rows .badge").all_inner_texts()) <= {"○ idle", "✕ down"}


def test_a_failure_is_shown_first_with_its_request_id(shown: Shown, gateway: Gateway) -> None:
    answer = gateway.send("GET", "/crawling/x", "X-Request-ID: find-me-1")
    assert answer.status == 503
    expect(shown.page.locator("#failures li").first).to_contain_text("find-me-1", timeout=8000)
    expect(shown.page.locator("#failures li").first).to_contain_text("upstream_unreachable")
    expect(shown.page.locator("button.name").first).to_have_text("crawling")
    expect(shown.page.locator("#rows tr").first).to_contain_text("down")
    shown.page.locator("button.name").first.click()
    expect(shown.page.locator("tr.details")).to_contain_text("can't be connected to")


def test_the_keyboard_alone_searches_sorts_and_opens(shown: Shown) -> None:
    page = shown.page
    page.keyboard.press("/")
    page.keyboard.type("bill")
    expect(page.locator("button.name")).to_have_count(1)
    assert "search=bill" in page.url
    page.locator("#search").fill("")
    page.locator('[data-sort="name"]').focus()
    page.keyboard.press("Enter")
    assert names(page) == sorted(NAMES)
    page.keyboard.press("Enter")
    assert names(page) == sorted(NAMES, reverse=True)
    expect(page.locator('th[aria-sort="descending"]')).to_have_count(1)
    page.locator('[data-name="billing"]').focus()
    page.keyboard.press("Enter")
    expect(page.locator("tr.details")).to_have_count(1)
    expect(page.locator('[data-name="billing"]')).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("tr.details")).to_have_count(0)


def test_what_is_chosen_outlives_a_reload(shown: Shown) -> None:
    page = shown.page
    page.locator("#show").select_option("busy")
    page.locator("#theme").click()
    page.locator("#theme").click()
    page.reload()
    expect(page.locator("#show")).to_have_value("busy")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.locator("#search").fill("no such name")
    expect(page.locator("#nothing")).to_have_text("No upstream is like that.")


def test_nothing_is_wider_than_a_phone(shown: Shown) -> None:
    shown.page.set_viewport_size(PHONE)
    shown.page.locator("button.name").first.click()
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_hostile_texts_are_texts(shown: Shown) -> None:
    def poison(route: Route) -> None:
        answer = route.fetch()
        told = answer.json()
        if "upstreams" in told:
            for each in told["upstreams"]:
                each.update(name=HOSTILE + each["name"], reason=HOSTILE, hints=[HOSTILE])
            told["gateway"]["reasons"] = [HOSTILE]
        else:
            keys = ("request_id", "route", "code", "flags", "upstream", "method")
            told["failures"] = [{"time": 1, "status": 500, "duration": 1, **dict.fromkeys(keys, HOSTILE)}]
        route.fulfill(response=answer, json=told)

    shown.page.route("**/admin/*", poison)
    expect(shown.page.locator("#failures li code").first).to_contain_text("<img src=x", timeout=8000)
    shown.page.locator("button.name").first.click()
    expect(shown.page.locator("tr.details li.hint")).to_contain_text("<script>")
    assert shown.page.locator("img").count() == 0


def test_old_figures_are_said_to_be_old_until_there_are_new_ones(shown: Shown) -> None:
    shown.page.route("**/admin/*", lambda route: route.abort())
    expect(shown.page.locator("#stale")).to_be_visible(timeout=8000)
    shown.page.unroute("**/admin/*")
    expect(shown.page.locator("#stale")).to_be_hidden(timeout=8000)


def test_the_first_paint_is_told(shown: Shown) -> None:
    paint = shown.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    print(f"first paint of the dashboard: {paint:.0f} ms (bound: 1000)")
    assert paint > 0


def test_the_page_lets_nothing_else_in(gateway: Gateway) -> None:
    answer = gateway.admin("/")
    assert "default-src 'none'" in (answer.value("content-security-policy") or "")
    assert b"http://" not in answer.data and b"https://" not in answer.data
    folder = Path(__file__).parents[2] / "aiogateway" / "admin" / "dashboard"
    scripts = "".join(path.read_text() for path in folder.glob("*.js"))
    assert "innerHTML" not in scripts and "https://" not in scripts
