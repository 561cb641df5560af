"""The pages that show the API: what they are served with, and what a real browser makes of them."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from playwright.async_api import Page, async_playwright

from aiogateway.admin.docs import add_docs
from aiogateway.apidocs import PATHS, Docs, handlers
from aiogateway.apidocs.pages import matches, takes_gzip
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response
from aiogateway.routes import Table, configure
from aiogateway.settings import Settings
from tests.browser import CHROMIUM, QUIET
from tests.proxy.served import serving

PLAIN = {"Accept-Encoding": "identity"}
SWAGGER = Path(__file__).resolve().parents[2] / "aiogateway" / "apidocs"


@pytest.fixture(scope="module")
def packaged() -> tuple[Settings, Table]:
    return configure({"JWT_SECRET": "k" * 32})


@contextlib.asynccontextmanager
async def admin(packaged: tuple[Settings, Table], *, try_it_out: bool = False) -> AsyncIterator[str]:
    """The base URL of an admin listener with nothing but the pages."""
    settings, table = packaged
    app = web.Application()
    docs = Docs(table, settings, "1.2.3", try_it_out=try_it_out)
    add_docs(app, lambda: docs)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def chromium(url: str) -> AsyncIterator[tuple[Page, list[str], list[str]]]:
    """A page of a real browser, what it asked for, and what it complained about."""
    asked: list[str] = []
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        try:
            page = await browser.new_page()
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda said: complaints.append(f"{said.type}: {said.text}"))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            await page.goto(url)
            await page.wait_for_selector(".opblock-tag")
            yield page, asked, complaints
        finally:
            await browser.close()


async def test_each_page_is_there_in_its_type_under_a_strict_policy(packaged: tuple[Settings, Table]) -> None:
    types = {
        "/docs": "text/html; charset=utf-8",
        "/openapi.json": "application/json",
        "/docs/initializer.js": "text/javascript; charset=utf-8",
        "/docs/swagger-ui-bundle.js": "text/javascript; charset=utf-8",
        "/docs/swagger-ui.css": "text/css; charset=utf-8",
        "/docs/favicon.png": "image/png",
    }
    assert types.keys() == PATHS - {"/docs/"}
    async with admin(packaged) as url, aiohttp.ClientSession() as session:
        for path, kind in types.items():
            async with session.get(url + path) as answer:
                assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
                policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
                assert await answer.read()
            assert policy["default-src"] == "'none'"
            assert policy["script-src"] == policy["connect-src"] == "'self'"
            assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
            assert not any("http" in value or "*" in value for value in policy.values())
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        async with session.get(f"{url}/docs/", allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (308, "../docs")
        async with session.get(f"{url}/docs/../setup.cfg") as answer:
            assert answer.status == 404


async def test_a_page_comes_as_gzip_to_who_takes_it_and_not_at_all_to_who_has_it(
    packaged: tuple[Settings, Table],
) -> None:
    async with admin(packaged) as url, aiohttp.ClientSession(auto_decompress=False) as session:
        bodies, tags = [], []
        for coding in ("gzip", "identity"):
            async with session.get(f"{url}/docs/swagger-ui-bundle.js", headers={"Accept-Encoding": coding}) as answer:
                body = await answer.read()
                assert answer.headers.get("Content-Encoding", "identity") == coding
                assert answer.headers["Vary"] == "Accept-Encoding"
                bodies.append(gzip.decompress(body) if coding == "gzip" else body)
                tags.append(answer.headers["ETag"])
                assert len(body) < 600_000 or coding == "identity"
            headers = {"Accept-Encoding": coding, "If-None-Match": tags[-1]}
            async with session.get(f"{url}/docs/swagger-ui-bundle.js", headers=headers) as answer:
                assert (answer.status, answer.headers["ETag"], await answer.read()) == (304, tags[-1], b"")
    assert bodies[0] == bodies[1]
    assert tags[0] != tags[1]


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        ("", False),
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip ; q=0.000", False),
        ("gzip;q=0.001", True),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("br, deflate", False),
        ("x-gzip", True),
        ("gzip;", True),
        (",;=,", False),
    ],
)
def test_gzip_is_taken_as_the_weights_say(value: str, taken: bool) -> None:
    assert takes_gzip(value) is taken


@pytest.mark.parametrize(
    ("value", "same"),
    [('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ('"b"', False), ("a", False), ("", False)],
)
def test_a_body_is_known_by_its_tag(value: str, same: bool) -> None:
    assert matches(value, '"a"') is same


async def test_both_listeners_say_the_same(packaged: tuple[Settings, Table]) -> None:
    settings, table = packaged
    ways = handlers(Docs(table, settings, "1.2.3"))

    async def answer(request: Request) -> Response:
        return await ways[request.path](request)

    async with admin(packaged) as url, serving(answer) as public, aiohttp.ClientSession() as session:
        for path in sorted(PATHS):
            async with session.get(url + path, allow_redirects=False, headers=PLAIN) as wanted:
                body = await wanted.read()
            client = await public.client()
            client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: identity\r\n\r\n".encode())
            found = await client.answer()
            assert (found.status, found.body) == (wanted.status, body)
            for name in ("content-type", "etag", "content-security-policy", "location", "cache-control"):
                # aiohttp names a type for an empty body too
                if name != "content-type" or body:
                    assert found.lines.get(name) == wanted.headers.get(name)


async def test_a_304_of_the_public_listener_has_no_length(packaged: tuple[Settings, Table]) -> None:
    settings, table = packaged
    async with serving(handlers(Docs(table, settings, "1.2.3"))["/docs"]) as public:
        client = await public.client()
        client.send(b"GET /docs HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n")
        found = await client.answer(bodiless=True)
        assert found.status == 304
        assert "content-length" not in found.lines
        client.send(b"HEAD /docs HTTP/1.1\r\nHost: a\r\n\r\n")
        found = await client.answer(bodiless=True)
        assert (found.status, int(found.lines["content-length"]) > 0) == (200, True)


async def test_pages_are_made_once_however_many_ask_at_once(packaged: tuple[Settings, Table]) -> None:
    settings, table = packaged
    docs = Docs(table, settings, "1.2.3")
    answers = await asyncio.gather(*(docs.answer("/openapi.json", "", "") for _ in range(8)))
    assert len({id(answer.body) for answer in answers}) == 1
    assert json.loads(answers[0].body)["info"]["version"] == "1.2.3"


async def test_one_who_leaves_while_pages_are_made_keeps_nobody_else_from_them(
    packaged: tuple[Settings, Table],
) -> None:
    settings, table = packaged
    docs = Docs(table, settings, "1.2.3")
    first = asyncio.create_task(docs.answer("/docs", "", ""))
    second = asyncio.create_task(docs.answer("/docs", "", ""))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).status == 200
    assert first.cancelled()


def test_the_page_and_its_own_script_name_nothing_outside() -> None:
    for name in ("index.html", "initializer.js"):
        text = (SWAGGER / name).read_text(encoding="utf-8")
        assert not re.search(r"https?:|//[a-z]", text)
        assert "<script>" not in text
        assert " on" not in re.sub(r"<noscript>.*?</noscript>|//.*", "", text).replace(" on:", "")
    style = (SWAGGER / "swagger" / "swagger-ui.css").read_text(encoding="utf-8")
    assert "@import" not in style
    assert set(re.findall(r"url\([\"']?(\w+:)", style)) == {"data:"}
    assert len(re.findall(r"url\(", style)) == len(re.findall(r"url\([\"']?data:", style))


def test_the_vendored_release_is_named_and_licensed() -> None:
    version = (SWAGGER / "swagger" / "VERSION").read_text(encoding="utf-8")
    release = re.match(r"swagger-ui-dist (5\.\d+\.\d+)", version)
    assert release is not None
    assert f'"{release[1]}"' in (SWAGGER / "swagger" / "swagger-ui-bundle.js").read_text(encoding="utf-8")
    assert {"LICENSE", "NOTICE"} <= {path.name for path in (SWAGGER / "swagger").iterdir()}


async def test_a_browser_shows_every_category_and_asks_nobody_else(packaged: tuple[Settings, Table]) -> None:
    categories = {route.category for route in packaged[1].routes}
    async with admin(packaged) as url, chromium(f"{url}/docs") as (page, asked, complaints):
        shown = await page.locator(".opblock-tag").evaluate_all("tags => tags.map(tag => tag.dataset.tag)")
        assert set(shown) == categories
        for category in sorted(categories):
            # One after the other: what is far from sight is not in the page at all.
            await page.locator(f".opblock-tag[data-tag={category}]").click()
            await page.wait_for_selector(f".opblock[id^=operations-{category}-]")
            await page.locator(f".opblock-tag[data-tag={category}]").click()
        await page.locator(".opblock-tag[data-tag=crawling]").click()
        await page.locator(".opblock-summary-path", has_text="fetch-pdf").first.click()
        await page.wait_for_selector(".opblock-body .responses-table")
        assert "form:user_id" in await page.locator(".opblock-body").inner_text()
        assert await page.locator(".try-out").count() == 0
    assert complaints == []
    assert {address.startswith(f"{url}/") for address in asked} == {True}
    assert {f"{url}/openapi.json", f"{url}/docs/swagger-ui.css"} <= set(asked)


async def test_where_requests_can_be_sent_the_page_sends_them(packaged: tuple[Settings, Table]) -> None:
    async with (
        admin(packaged, try_it_out=True) as url,
        chromium(f"{url}/docs#/homepage/get_v2_homepage_get_greeting") as (page, asked, _),
    ):
        await page.locator(".try-out__btn").click()
        await page.locator(".execute").click()
        await page.wait_for_selector(".live-responses-table .response-col_status")
    assert f"{url}/v2/homepage-get-greeting" in asked
    assert {address.startswith(f"{url}/") for address in asked} == {True}


async def test_the_page_follows_the_system_to_the_dark(packaged: tuple[Settings, Table]) -> None:
    async with admin(packaged) as url, chromium(f"{url}/docs") as (page, _, complaints):
        background = "getComputedStyle(document.documentElement).backgroundColor"
        await page.emulate_media(color_scheme="light")
        light = await page.evaluate(background)
        await page.emulate_media(color_scheme="dark")
        await page.wait_for_selector("html.dark-mode")
        assert await page.evaluate(background) != light
    assert complaints == []
