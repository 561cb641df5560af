"""Every request finds its route's own chain."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiogateway.errors import Problem
from aiogateway.metrics import Metrics
from aiogateway.middlewares import compose
from aiogateway.middlewares.routing import routing
from aiogateway.overload import Overload
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response
from aiogateway.routes import Table
from tests.config_folders import load
from tests.middlewares.asked import head, request, tools

ROUTES = """
upstream = "b"
auth = "public"
max_body = "1 KiB"
[[route]]
path = "/items/{id}"
methods = ["GET"]
[[route]]
path = "/healthz"
methods = ["POST"]
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    folder: Path = tmp_path_factory.mktemp("config")
    return load(folder, ROUTES)


async def named(asked: Request) -> Response:
    """A chain's end that says which route it was given, and with what."""
    return Response(200, [b"X: y"], f"{asked.route.pattern} {dict(asked.match.params)}".encode())


async def local(asked: Request) -> Response:
    return Response(200, [b"X: y"], b"local")


async def ask(table: Table, start: str) -> Response:
    handler = routing(table, dict.fromkeys(table.routes, named), {"/healthz": local}, Overload(), Metrics())
    return await handler(request(head(start=f"{start} HTTP/1.1")))


@pytest.mark.parametrize(
    ("start", "told"),
    [
        ("GET /items/7?x=/healthz", b"/items/{id} {'id': '7'}"),
        ("HEAD /items/7", b"/items/{id} {'id': '7'}"),
        ("GET http://a/items/a%20b", b"/items/{id} {'id': 'a%20b'}"),
        ("GET /healthz", b"local"),
        ("HEAD /healthz?x", b"local"),
    ],
)
async def test_a_request_goes_the_way_of_its_route(table: Table, start: str, told: bytes) -> None:
    assert (await ask(table, start)).body == told


@pytest.mark.parametrize(
    ("start", "code", "allow"),
    [
        ("GET /nothing", "route_not_found", None),
        ("GET /items/", "route_not_found", None),
        ("OPTIONS *", "bad_request", None),
        ("DELETE /items/7", "method_not_allowed", "GET, HEAD"),
        ("POST /healthz", "method_not_allowed", "GET, HEAD"),
        ("GET /items/%2e%2e", "bad_request", None),
    ],
)
async def test_a_request_without_a_route_is_told_why(table: Table, start: str, code: str, allow: str | None) -> None:
    with pytest.raises(Problem) as caught:
        await ask(table, start)
    assert caught.value.code == code
    assert dict(caught.value.headers).get("Allow") == allow


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (head(start="GET /items/7 HTTP/1.1"), 200),
        (head(start="GET /healthz HTTP/1.1"), 200),
        (head(start="GET /nothing HTTP/1.1"), 404),
        (head("Expect: a-miracle", start="GET /nothing HTTP/1.1"), 417),
    ],
)
async def test_every_answer_of_the_whole_way_has_a_name(table: Table, raw: bytes, status: int) -> None:
    with tools() as (settings, given):
        response = await compose(settings, table, named, {"/healthz": local}, given)(request(raw))
    assert response.status == status
    assert sum(line.startswith(b"X-Request-ID: ") for line in response.lines) == 1
