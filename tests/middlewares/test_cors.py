"""Which pages may read an answer, and which may ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiogateway.errors import Problem
from aiogateway.middlewares.cors import EXPOSED, cors, preflights
from aiogateway.routes import Table
from tests.config_folders import load
from tests.middlewares.asked import head, ok, request

LISTED = ("https://app.example.com", "http://localhost:3000")
ROUTES = """
upstream = "b"
auth = "public"
[[route]]
path = "/listed"
methods = ["POST"]
[[route]]
path = "/widget"
methods = ["GET", "POST"]
cors = "public"
[[route]]
path = "/mixed"
methods = ["GET"]
cors = "public"
[[route]]
path = "/mixed"
methods = ["DELETE"]
"""
NOT_LISTED = [
    "null",
    "https://app.example.com.evil.test",
    "https://evil-app.example.com",
    "https://example.com",
    "http://app.example.com",
    "https://app.example.com:443",
    "https://app.example.com:8443",
    "https://app.example.com/",
    "https://APP.example.com",
    "HTTPS://app.example.com",
    "https://app.example.com.",
    "https://user@app.example.com",
    "https://localhost:3000",
    "http://localhost",
    "http://localhost:30000",
    "http://127.0.0.1:3000",
    "*",
    "https://app.example.com, https://evil.test",
    "app.example.com",
    "https://app.example.c\u043em",
]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    folder: Path = tmp_path_factory.mktemp("config")
    return load(folder, ROUTES)


async def told(origin: str | None, policy: str) -> dict[str, str]:
    """The fields that an answer gets, by name in lower case."""
    asked = request(head(*([] if origin is None else [f"Origin: {origin}"])))
    asked.cors = policy
    lines = (await cors(ok, Table({}, ()), LISTED)(asked)).lines
    fields = [line.partition(": ") for line in b"\r\n".join(lines).decode().split("\r\n")]
    return {name.lower(): value for name, _, value in fields if name != "X"}


@pytest.mark.parametrize("policy", ["allowlist", "public"])
@pytest.mark.parametrize("origin", LISTED)
async def test_a_listed_origin_reads_with_credentials(origin: str, policy: str) -> None:
    assert await told(origin, policy) == {
        "vary": "Origin",
        "access-control-allow-origin": origin,
        "timing-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": ", ".join(EXPOSED),
        "server-timing": "auth;dur=0.000, limit;dur=0.000, pool;dur=0.000, connect;dur=0.000, ttfb;dur=0.000",
    }


@pytest.mark.parametrize("origin", NOT_LISTED)
async def test_any_other_origin_reads_what_is_public_without_credentials(origin: str) -> None:
    assert await told(origin, "allowlist") == {"vary": "Origin"}
    assert await told(origin, "public") == {
        "vary": "Origin",
        "access-control-allow-origin": "*",
        "access-control-expose-headers": ", ".join(EXPOSED),
    }


@pytest.mark.parametrize("policy", ["allowlist", "public"])
async def test_an_answer_to_no_page_says_that_it_depends_on_the_origin(policy: str) -> None:
    assert await told(None, policy) == {"vary": "Origin"}


async def asked_before(table: Table, path: str, origin: str, method: str, *fields: str) -> dict[str, str]:
    """What a preflight's answer says, beside what every answer says; its policy stands under `policy`."""
    raw = head(
        f"Origin: {origin}",
        f"Access-Control-Request-Method: {method}",
        *fields,
        start=f"OPTIONS {path} HTTP/1.1",
    )
    asked = request(raw)
    answer = await preflights(ok, table, LISTED)(asked)
    assert answer.status == 200 and not answer.body
    lines = dict(line.decode().split(": ", 1) for line in answer.lines)
    return {"policy": asked.cors, **{name: value for name, value in lines.items() if name != "Date"}}


@pytest.mark.parametrize(
    ("path", "origin", "method", "policy", "methods"),
    [
        ("/listed", LISTED[0], "POST", "allowlist", "POST"),
        ("/listed", LISTED[0], "GET", "allowlist", "POST"),
        ("/widget", "https://customer.test", "POST", "public", "GET, HEAD, POST"),
        ("/widget", LISTED[0], "POST", "public", "GET, HEAD, POST"),
        ("/mixed", "https://customer.test", "GET", "public", "GET, HEAD"),
        ("/mixed", LISTED[0], "DELETE", "allowlist", "GET, HEAD, DELETE"),
        ("/nothing", LISTED[0], "PATCH", "allowlist", "GET, HEAD, POST, PUT, PATCH, DELETE"),
    ],
)
async def test_a_preflight_is_granted_by_the_policy_of_its_path(
    table: Table, path: str, origin: str, method: str, policy: str, methods: str
) -> None:
    assert await asked_before(table, path, origin, method) == {
        "policy": policy,
        "Vary": "Access-Control-Request-Method, Access-Control-Request-Headers",
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Max-Age": "7200",
    }


async def test_a_preflight_grants_the_fields_that_are_asked_for(table: Table) -> None:
    given = await asked_before(
        table, "/listed", LISTED[0], "POST", "Access-Control-Request-Headers: Authorization,X-Request-ID , content-type"
    )
    assert given["Access-Control-Allow-Headers"].lower().split(",") == ["authorization", "x-request-id", "content-type"]


@pytest.mark.parametrize(
    ("path", "origin", "method", "fields"),
    [
        ("/listed", "https://customer.test", "POST", ()),
        ("/listed", "null", "POST", ()),
        ("/listed", LISTED[0], "DELETE", ()),
        ("/listed", LISTED[0], "post", ()),
        ("/mixed", "https://customer.test", "DELETE", ()),
        ("/nothing", "https://customer.test", "GET", ()),
        ("/listed", LISTED[0], "POST", ("Access-Control-Request-Headers: a b",)),
        ("/listed", LISTED[0], "POST", ("Access-Control-Request-Headers: \u00e9",)),
        ("/listed", "https://app.example.c\u043em", "POST", ()),
        ("/listed", LISTED[0], "POST", (f"Origin: {LISTED[0]}",)),
    ],
)
async def test_any_other_preflight_is_refused(
    table: Table, path: str, origin: str, method: str, fields: tuple[str, ...]
) -> None:
    with pytest.raises(Problem) as caught:
        await asked_before(table, path, origin, method, *fields)
    assert caught.value.code == "forbidden"
    assert origin not in caught.value.detail


@pytest.mark.parametrize("fields", [(), ("Origin: https://app.example.com",), ("Access-Control-Request-Method: POST",)])
async def test_options_that_is_no_preflight_goes_on(table: Table, fields: tuple[str, ...]) -> None:
    answer = await preflights(ok, table, LISTED)(request(head(*fields, start="OPTIONS /listed HTTP/1.1")))
    assert answer.lines == [b"X: y"]
