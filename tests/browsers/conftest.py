"""Pages of several origins in real Chromium, before the demo and before a gateway with a backend of the tests' own."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import chromium
from tests.e2e.harness import Backend, Gateway, running, write_table

PATIENCE = 20_000
ROUTES = """
auth = "public"
rate_limit = "off"
upstream = "main"
[[route]]
path = "/b/{rest:path}"
[[route]]
path = "/up/{rest:path}"
max_body = "1 GiB"
[[route]]
path = "/widget/{rest:path}"
cors = "public"
[[route]]
path = "/ws/{rest:path}"
websocket = true
[[route]]
path = "/members/{rest:path}"
auth = "required"
websocket = true
[[route]]
path = "/widget-ws/{rest:path}"
cors = "public"
websocket = true
"""


class Blank(http.server.BaseHTTPRequestHandler):
    """A page with nothing on it."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>blank</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Origins:
    """`listed` is in the gateway's allow-list, `stranger` isn't."""

    listed: str
    stranger: str


@pytest.fixture(scope="package")
def origins() -> Iterator[Origins]:
    """Two ports and names of this machine that serve blank pages."""
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Blank) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    listed, stranger = (server.server_address[1] for server in servers)
    yield Origins(f"http://127.0.0.1:{listed}", f"http://localhost:{stranger}")
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for all tests here."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def demo(origins: Origins) -> Iterator[Gateway]:
    """The demo, with the listed origin beside its own page's."""
    settings = {"JWT_SECRET": "", "GATEWAY_AUTH_MODE": "", "GATEWAY_RATE_LIMIT": "", "ALLOWED_ORIGINS": origins.listed}
    with running(None, "demo", **settings) as gateway:
        yield gateway


@pytest.fixture(scope="package")
def own_backend() -> Iterator[Backend]:
    """A backend that answers as each test scripts it."""
    with Backend() as backend:
        yield backend


@pytest.fixture(scope="package")
def own_gateway(origins: Origins, own_backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway before that backend."""
    folder = tmp_path_factory.mktemp("browsers") / "config"
    config = write_table(folder, f'main = {{ url = "{own_backend.url}" }}', ROUTES)
    with running(config, GATEWAY_AUTH_MODE="enforce", ALLOWED_ORIGINS=origins.listed) as gateway:
        yield gateway


Open = Callable[[str], Page]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens blank pages, each without a memory; they are closed with the test."""
    contexts = []

    def open_one(origin: str) -> Page:
        context = browser.new_context()
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(origin)
        page.evaluate(HELP)
        return page

    yield open_one
    for context in contexts:
        context.close()


@pytest.fixture
def page(open_page: Open, origins: Origins) -> Page:
    """A page of the listed origin."""
    return open_page(origins.listed)


@pytest.fixture
def stranger(open_page: Open, origins: Origins) -> Page:
    """A page of an origin that nobody listed."""
    return open_page(origins.stranger)


@pytest.fixture(scope="package")
def token(demo: Gateway) -> str:
    """The token that the demo prints."""
    found = re.search(r"Bearer (ey[\w.-]+)", demo.output)
    assert found is not None
    return found[1]


# What a script of these pages can ask; an answer is told with all that the script may read of it.
HELP = """
() => {
  window.ask = async (url, options = {}) => {
    let answer;
    try { answer = await fetch(url, options); } catch (error) { return {error: error.name}; }
    const text = await answer.text();
    let body = null;
    try { body = JSON.parse(text); } catch { body = text; }
    return {status: answer.status, body, fields: Object.fromEntries(answer.headers)};
  };
}
"""
