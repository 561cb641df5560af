"""A user acts for themselves, whatever the way in which a request says for whom."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiogateway.errors import Problem
from aiogateway.metrics import Metrics
from aiogateway.middlewares import compose
from aiogateway.middlewares.auth import Guard
from aiogateway.middlewares.chain import Handler
from aiogateway.middlewares.form import form
from aiogateway.middlewares.owner import is_in_body, owner
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response
from aiogateway.routes import Table
from aiogateway.stores import Limiter, SharedCounters
from aiogateway.tokens import Identity
from tests.config_folders import load
from tests.middlewares.asked import bodies, head, ok, request, tools

ROUTES = """
upstream = "b"
auth = "required"
[[route]]
path = "/of/{user_id}"
owner = "user_id"
[[route]]
path = "/list"
owner = "user_id"
[[route]]
path = "/form"
owner = "form:user_id"
[[route]]
path = "/json"
owner = "json:user_id"
"""
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = 'multipart/form-data; boundary="x"'
ME = Identity("u1", (), 0.0, b"X-User-Id: u1")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    folder: Path = tmp_path_factory.mktemp("config")
    return load(folder, ROUTES)


@pytest.fixture
def limiter() -> Iterator[Limiter]:
    counters = SharedCounters(capacity=100)
    yield Limiter(counters, None)
    counters.close()


def guard(limiter: Limiter, *, observe: bool = False) -> Guard:
    return Guard(None, limiter, (), Metrics(), observe=observe)


def way(name: str, check: Guard) -> Handler:
    handler = owner(ok, name, check)
    return form(handler, [name], bodies(), whole=False, lenient=check.observe) if is_in_body(name) else handler


async def ask(table: Table, check: Guard, path: str, *fields: str, body: bytes = b"", who: Identity | None = ME) -> str:
    """The code of the problem, or `ok`."""
    length = [f"Content-Length: {len(body)}"] if body else []
    asked = request(head(*fields, *length, start=f"POST {path} HTTP/1.1") + body)
    asked.match = table.match(asked.path)
    asked.route = asked.match.endpoint.route("POST")
    asked.identity = who
    assert asked.route.owner is not None
    try:
        await way(asked.route.owner, check)(asked)
    except Problem as problem:
        return problem.code
    return "ok"


def part(value: str, disposition: str = 'form-data; name="user_id"') -> bytes:
    return f"--x\r\nContent-Disposition: {disposition}\r\n\r\n{value}\r\n".encode()


CASES: list[tuple[str, tuple[str, ...], bytes, str]] = [
    ("/of/u1", (), b"", "ok"),
    ("/of/%75%31", (), b"", "ok"),
    ("/of/u2", (), b"", "forbidden"),
    ("/of/U1", (), b"", "forbidden"),
    ("/of/u1%20", (), b"", "forbidden"),
    ("/of/u1%2575", (), b"", "forbidden"),
    ("/of/u2?user_id=u1", (), b"", "forbidden"),
    ("/list?user_id=u1", (), b"", "ok"),
    ("/list?a=1&user_id=%75%31&b", (), b"", "ok"),
    ("/list", (), b"", "forbidden"),
    ("/list?user_id=", (), b"", "forbidden"),
    ("/list?user_id=u2", (), b"", "forbidden"),
    ("/list?user_id=u1&user_id=u2", (), b"", "forbidden"),
    ("/list?user_id=u1&user_id=u1", (), b"", "forbidden"),
    ("/list?user_id=u1&%75ser_id=u2", (), b"", "forbidden"),
    ("/list?user_id=u1&x=1;user_id=u2", (), b"", "refused"),
    ("/list?user_id=u1&user_id[]=u2", (), b"", "refused"),
    ("/list?user_id=u1&User_Id=u2", (), b"", "refused"),
    ("/form", (f"Content-Type: {URLENCODED}",), b"a=1&user_id=u1", "ok"),
    ("/form", (f"Content-Type: {URLENCODED}; charset=UTF-8",), b"user_id=u1", "ok"),
    ("/form", (f"Content-Type: {URLENCODED}",), b"a=1", "forbidden"),
    ("/form", (f"Content-Type: {URLENCODED}",), b"user_id=u2", "forbidden"),
    ("/form", (f"Content-Type: {URLENCODED}",), b"user_id=u1&user_id=u2", "forbidden"),
    ("/form", (), b"", "forbidden"),
    ("/form?user_id=u1", (), b"", "forbidden"),
    ("/form?user_id=u2", (f"Content-Type: {URLENCODED}",), b"user_id=u1", "forbidden"),
    ("/form?a=1", (f"Content-Type: {URLENCODED}",), b"user_id=u1", "ok"),
    ("/list??user_id=u2&user_id=u1", (), b"", "refused"),
    ("/form", ("Content-Type: application/json",), b'{"user_id": "u1"}', "unsupported_form"),
    ("/form", (f"Content-Type: {URLENCODED}", "Content-Encoding: gzip"), b"user_id=u1", "unsupported_form"),
    ("/form", (f"Content-Type: {MULTIPART}",), part("u1") + b"--x--\r\n", "ok"),
    ("/form", (f"Content-Type: {MULTIPART}",), part("u2") + b"--x--\r\n", "forbidden"),
    ("/form", (f"Content-Type: {MULTIPART}",), part("u1") + part("u2") + b"--x--\r\n", "forbidden"),
    (
        "/form",
        (f"Content-Type: {MULTIPART}",),
        part("data", 'form-data; name="f"; filename="a"') + part("u1") + b"--x--\r\n",
        "forbidden",
    ),
    ("/form", (f"Content-Type: {MULTIPART}",), b"user_id=u1", "bad_request"),
    ("/json", ("Content-Type: application/json",), b'{"user_id": "u1"}', "ok"),
    ("/json", ("Content-Type: application/json",), b'{"user_id": "u1", "user\\u005fid": "u2"}', "forbidden"),
    ("/json", ("Content-Type: application/json",), b'{"a": {"user_id": "u1"}}', "forbidden"),
    ("/json", ("Content-Type: application/json",), b'["user_id", "u1"]', "bad_request"),
    ("/json", (f"Content-Type: {URLENCODED}",), b"user_id=u1", "unsupported_form"),
]


@pytest.mark.parametrize(("path", "fields", "body", "told"), CASES)
async def test_only_the_tokens_user_once_passes(
    table: Table, limiter: Limiter, path: str, fields: tuple[str, ...], body: bytes, told: str
) -> None:
    expected = {"forbidden", "bad_request"} if told == "refused" else {told}
    assert await ask(table, guard(limiter), path, *fields, body=body) in expected


@pytest.mark.parametrize(("path", "fields", "body", "told"), CASES)
async def test_observing_lets_all_pass_and_loses_nothing(
    table: Table, limiter: Limiter, path: str, fields: tuple[str, ...], body: bytes, told: str
) -> None:
    assert await ask(table, guard(limiter, observe=True), path, *fields, body=body) == "ok"


async def test_a_superadmin_acts_for_others_and_nobody_for_anybody(table: Table, limiter: Limiter) -> None:
    admin = Identity("u9", ("user", "superadmin"), 0.0, b"X-User-Id: u9")
    assert await ask(table, guard(limiter), "/of/u1", who=admin) == "ok"
    assert await ask(table, guard(limiter), "/of/u1", who=Identity("u9", ("admin",), 0.0, b"")) == "forbidden"
    assert await ask(table, guard(limiter), "/of/u1", who=None) == "forbidden"


async def test_the_body_that_was_looked_at_goes_on_whole(table: Table, limiter: Limiter) -> None:
    body = json.dumps({"user_id": "u1", "text": "x" * 1000}).encode()
    raw = head("Content-Type: application/json", f"Content-Length: {len(body)}", start="POST /json HTTP/1.1")
    asked = request(raw + body)
    asked.match = table.match(asked.path)
    asked.route = asked.match.endpoint.route("POST")
    asked.identity = ME
    await way("json:user_id", guard(limiter))(asked)
    assert (asked.received, asked.sent, asked.rest) == (True, body, None)


async def test_a_route_gets_the_guards_it_asks_for_and_a_request_without_a_token_none_of_it(table: Table) -> None:
    reached: list[str] = []

    async def proxy(asked: Request) -> Response:
        reached.append(asked.path)
        return Response(200, [b"X: y"])

    with tools() as (settings, given):
        answer = await compose(settings, table, proxy, {}, given)(request(head(start="POST /of/u1 HTTP/1.1")))
    assert answer.status == 401 and not reached
    assert b"WWW-Authenticate: Bearer" in answer.lines
    with tools(GATEWAY_AUTH_MODE="off") as (settings, given):
        answer = await compose(settings, table, proxy, {}, given)(request(head(start="POST /of/u1 HTTP/1.1")))
    assert answer.status == 200 and reached == ["/of/u1"]
