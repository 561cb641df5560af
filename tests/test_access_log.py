"""What the line about a request says, and what it never says."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.access_log import AccessLog, Clock, plain, query_names
from aiogateway.proxy.request import Request
from aiogateway.tokens import Identity
from tests.middlewares.asked import head, request

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1MSJ9.c2lnbmF0dXJl"


def line_of(asked: Request, form: str = "json") -> bytes:
    lines: list[bytes] = []
    AccessLog(lines.append, form, lambda: 1_700_000_000.25).log(asked)
    (line,) = lines
    return line


def told(asked: Request) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(line_of(asked))
    return found


def ended(asked: Request, **found: object) -> Request:
    asked.id = "id-1"
    asked.record.ended = asked.record.started + 0.25
    for name, value in found.items():
        setattr(asked.record, name, value)
    return asked


async def test_a_line_tells_what_happened_to_a_request() -> None:
    asked = ended(
        request(head("User-Agent: curl/8")),
        route="/a/{x}",
        status=503,
        code="upstream_unreachable",
        upstream="b",
        destination="http://b:1",
        attempts=2,
        bytes_in=3,
        bytes_out=4,
        pool=0.1,
        connect=0.02,
        trace_id="ab" * 16,
    )
    asked.identity = Identity("u-1", (), 0.0, b"")
    assert told(asked) == {
        "time": "2023-11-14T22:13:20.000Z",
        "level": "info",
        "event": "request",
        "request_id": "id-1",
        "trace_id": "ab" * 16,
        "client": asked.client,
        "user": "u-1",
        "method": "GET",
        "path": asked.path,
        "route": "/a/{x}",
        "status": 503,
        "code": "upstream_unreachable",
        "flags": "UF,URX",
        "upstream": "b",
        "destination": "http://b:1",
        "attempts": 2,
        "cache": None,
        "bytes_in": 3,
        "bytes_out": 4,
        "duration": 0.25,
        "pool": 0.1,
        "connect": 0.02,
        "ttfb": 0.0,
        "upstream_time": 0.0,
        "ended_by": "upstream",
        "user_agent": "curl/8",
    }


@pytest.mark.parametrize(
    ("found", "status", "flags", "ended_by"),
    [
        ({"status": 200, "attempts": 1}, 200, "", "upstream"),
        ({"status": 200}, 200, "", "gateway"),
        ({"code": "client_closed"}, 499, "DC", "client"),
        ({"code": "client_closed", "status": 200, "attempts": 1}, 200, "DC", "client"),
        ({"code": "rate_limited", "status": 429}, 429, "RL", "gateway"),
        ({"code": "unauthenticated", "status": 401}, 401, "UAEX", "gateway"),
        ({"code": "upstream_timeout", "status": 504, "attempts": 1}, 504, "UT", "gateway"),
        ({"code": "upstream_pool_exhausted", "status": 503, "attempts": 1}, 503, "UO", "gateway"),
        ({"code": "upstream_bad_response", "status": 200, "attempts": 1}, 200, "UC", "upstream"),
        ({"code": "upstream_error", "status": 500, "attempts": 1}, 500, "", "upstream"),
        ({"code": "draining", "status": 200, "attempts": 1}, 200, "OM", "gateway"),
    ],
)
async def test_how_a_request_ended_is_told_in_envoys_letters(
    found: dict[str, Any], status: int, flags: str, ended_by: str
) -> None:
    line = told(ended(request(head()), **found))
    assert (line["status"], line["flags"], line["ended_by"]) == (status, flags, ended_by)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/a/b", "/a/b"),
        ("/a/joe@example.com/b", "/a/***/b"),
        ("/a/joe%40example.com", "/a/***"),
        ("/a/JOE%40example.com/", "/a/***/"),
        (f"/reset/{JWT}/x", "/reset/***/x"),
        ("/caf\udcc3\udca9", "/caf%C3%A9"),
        ("/\x1b[31m", "/%1B[31m"),
        ("/a\u2028b\u202e", "/a%E2%80%A8b%E2%80%AE"),
        ("/a\r\nSet-Cookie", "/a%0D%0ASet-Cookie"),
        ("/" + "a" * 2000, "/" + "a" * 764 + "..."),
    ],
)
def test_a_path_is_short_plain_and_holds_nothing_private(text: str, shown: str) -> None:
    assert plain(text, 768) == shown


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", ""),
        ("?a=1&b=2", "?a=&b="),
        ("?user[id]=7", "?user[id]="),
        ("?justavalue", ""),
        (f"?{JWT}", ""),
        (f"?{JWT}=1&ok=1", "?ok="),
        ("?joe@example.com=1", ""),
        ("?a%20b=1", ""),
        ("?" + "&".join(f"k{n}=v" for n in range(40)), "?" + "&".join(f"k{n}=" for n in range(16))),
    ],
)
def test_of_a_query_only_names_are_shown(query: str, shown: str) -> None:
    assert query_names(query) == shown


@pytest.mark.parametrize(
    "text", ["/" + "a" * 20_000 + "é", "%4" * 10_000 + "é", "eyJ" * 9000, "a@" * 9000, "/" * 20_000 + "@"]
)
def test_a_hostile_path_costs_no_more_than_its_length(text: str) -> None:
    shown, steps = plain(text, 768), 200
    assert len(shown) <= 768
    for _ in range(steps):  # seconds, if the time grew with the square
        plain(text, 768)


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=3000))
def test_any_text_becomes_bounded_printable_ascii(text: str) -> None:
    shown = plain(text, 200)
    assert len(shown) <= 200 and shown.isascii() and (shown.isprintable() or not shown) and "@" not in shown


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("agent", ['"' * 900, "\\" * 900, "\x80\x9b31m" * 100, "me@example.com", JWT, "\t" * 50])
async def test_a_line_is_one_short_line_whatever_clients_send(form: str, agent: str) -> None:
    fields = (f"User-Agent: {agent}".encode("latin-1").decode("latin-1"), f"Authorization: Bearer {JWT}", "Cookie: s=1")
    raw = head(*fields).replace(b"GET / ", b"GET /" + b'"\\' * 900 + b"?secret=" + b"v" * 900 + b" ")
    line = line_of(ended(request(raw)), form)
    assert line.endswith(b"\n") and line.count(b"\n") == 1 and len(line) < 4096
    assert line.isascii() and line[:-1].decode().isprintable()
    assert b"vvv" not in line and b"eyJ" not in line and b"@" not in line and b"s=1" not in line


def test_the_clock_tells_milliseconds() -> None:
    clock = Clock()
    assert [clock.text(moment) for moment in (0.0, 0.0015, 59.9999, 60.5)] == [
        "1970-01-01T00:00:00.000Z",
        "1970-01-01T00:00:00.001Z",
        "1970-01-01T00:00:59.999Z",
        "1970-01-01T00:01:00.500Z",
    ]
