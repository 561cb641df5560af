"""The demo's sample page in real Chromium: each step done, each refusal shown."""

from __future__ import annotations

import contextlib
import re
import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import chromium
from tests.e2e.harness import Gateway, running

PATIENCE = 15_000


@pytest.fixture(scope="module")
def demo() -> Iterator[Gateway]:
    with running(None, "demo", JWT_SECRET="", GATEWAY_AUTH_MODE="", GATEWAY_RATE_LIMIT="") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def address(demo: Gateway) -> str:
    found = re.search(r"Open (http://\S+) in a browser", demo.output)
    assert found is not None, demo.output[:500]
    return found[1]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@contextlib.contextmanager
def opened(browser: Browser, address: str) -> Iterator[Page]:
    """The page; it must not throw, nor ask anybody but its own origin and the gateway."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    faults: list[str] = []
    asked: set[str] = set()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: asked.add(request.url))
    page.goto(address)
    yield page
    page.close()
    assert not faults
    assert all(re.match(r"(https?|wss?)://127\.0\.0\.1:", url) for url in asked), asked


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page of somebody who did nothing yet."""
    with opened(browser, address) as page:
        yield page


@pytest.fixture(scope="module")
def logged_in(browser: Browser, address: str) -> Iterator[Page]:
    """The page of somebody who logged in, once for all: five tries a minute are let through."""
    with opened(browser, address) as page:
        page.click("#login button.main")
        said(page, "login", "Logged in as user-")
        assert_traced(page, "login", 200)
        yield page


def said(page: Page, step: str, text: str) -> None:
    """Wait until a step says something with this in it."""
    expect(page.locator(f"#{step} .said")).to_contain_text(text, timeout=PATIENCE)


def assert_traced(page: Page, step: str, status: int, *, timed: bool = True) -> None:
    """Assert that the newest request of a step shows its status, its id and where the time went."""
    call = page.locator(f"#{step} .calls li").first
    expect(call.locator(".status")).to_have_text(str(status))
    expect(call.locator(".id code")).to_have_text(re.compile(r"^[0-9a-f]{24}$"))
    if timed:
        expect(call.locator(".times")).to_contain_text("ttfb")


def test_the_page_lets_in_only_itself_and_the_gateway(demo: Gateway, address: str) -> None:
    with urllib.request.urlopen(address) as answer:
        policy, text = answer.headers["Content-Security-Policy"], answer.read().decode()
    assert "default-src 'none'" in policy
    assert f"connect-src http://127.0.0.1:{demo.port} ws://127.0.0.1:{demo.port};" in policy
    assert "{{" not in text and f'content="http://127.0.0.1:{demo.port}"' in text


def test_a_wrong_password_is_told_with_code_and_request_id(page: Page) -> None:
    page.fill("#login [name=password]", "wrong")
    page.click("#login button.main")
    said(page, "login", "401")
    assert_traced(page, "login", 401)


def test_an_upload_shows_how_far_it_is_and_arrives_whole(logged_in: Page) -> None:
    logged_in.click("#upload button.main")
    said(logged_in, "upload", "sample-25.pdf arrived whole")
    assert_traced(logged_in, "upload", 200)
    assert logged_in.locator("#upload progress").evaluate("bar => bar.value") == 1


def test_an_upload_can_be_given_up(logged_in: Page) -> None:
    logged_in.select_option("#upload [name=size]", "200")
    logged_in.evaluate(
        """() => new MutationObserver((_, observer) => {
             const bar = document.querySelector("#upload progress");
             if (bar.value > 0) { observer.disconnect(); document.querySelector("#upload [name=abort]").click(); }
           }).observe(document.querySelector("#upload"), {attributes: true, childList: true, subtree: true})"""
    )
    logged_in.click("#upload button.main")
    said(logged_in, "upload", "Given up")


def test_without_a_token_the_upload_is_refused(page: Page) -> None:
    page.select_option("#upload [name=size]", "1")
    page.click("#upload button.main")
    said(page, "upload", "401")
    expect(page.locator("#upload .problem")).to_contain_text("unauthenticated")


def test_a_crawl_goes_on_to_its_end(logged_in: Page) -> None:
    logged_in.click("#crawl button.main")
    said(logged_in, "crawl", "8 pages read")
    expect(logged_in.locator("#crawl .pages li")).to_have_count(8)
    assert_traced(logged_in, "crawl", 200)


def test_an_answer_arrives_word_by_word_with_voice_and_mouth(logged_in: Page) -> None:
    logged_in.click("#chat button.main")
    expect(logged_in.locator("#chat .events i.token").nth(2)).to_be_visible()
    assert not logged_in.locator("#chat .events i.done").count(), "the first words came before the last event"
    said(logged_in, "chat", "events, each as it came")
    expect(logged_in.locator("#answer")).to_contain_text("You asked: “What does it cost?”")
    expect(logged_in.locator("#chat .events i.audio")).to_have_count(3)
    assert_traced(logged_in, "chat", 200)


def test_a_step_does_not_begin_again_before_it_ends(logged_in: Page) -> None:
    logged_in.click("#chat button.main")
    expect(logged_in.locator("#chat .events i.token").nth(2)).to_be_visible()
    logged_in.press("#chat input[name=question]", "Enter")
    said(logged_in, "chat", "events, each as it came")
    assert (logged_in.locator("#answer").text_content() or "").count("You asked") == 1
    expect(logged_in.locator("#chat .events i.done")).to_have_count(1)
    expect(logged_in.locator("#chat button.main")).to_be_enabled()


def test_a_socket_opens_with_the_token_answers_and_closes(logged_in: Page) -> None:
    logged_in.click("#socket [name=open]")
    said(logged_in, "socket", "Open.")
    expect(logged_in.locator("#socket .id")).to_contain_text("subprotocol bearer")
    logged_in.click("#socket [name=send]")
    expect(logged_in.locator("#socket .lines li").nth(1)).to_contain_text("first word after")
    logged_in.click("#socket [name=close]")
    said(logged_in, "socket", "Closed with 1000")


REFUSALS = {
    "401": ("401", "unauthenticated"),
    "403": ("403", "forbidden"),
    "404": ("404", "route_not_found"),
    "413": ("413", "body_too_large"),
    "429": ("429", "rate_limited"),
    "503": ("503", "upstream_error"),
}


def test_every_refusal_is_read_by_the_page(logged_in: Page) -> None:
    for label, (status, code) in REFUSALS.items():
        logged_in.click(f"#guards button:has-text('{label}')")
        said(logged_in, "guards", f"{status}:")
        said(logged_in, "guards", code)
        assert_traced(logged_in, "guards", int(status), timed=False)


@pytest.mark.parametrize("width", [380, 1400])
def test_nothing_is_wider_than_the_window(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
