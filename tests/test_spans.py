"""Spans of requests, as a collector gets them, and what a bad collector costs: spans, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from structlog.testing import capture_logs

from aiogateway.errors import CODES
from aiogateway.proxy.record import Record
from aiogateway.proxy.request import Request
from aiogateway.settings import read
from aiogateway.spans import Spans, sender, spans_from
from aiogateway.spans.collector import traces_url
from aiogateway.spans.finished import Finished
from aiogateway.spans.shape import spans_of
from aiogateway.tokens import Identity
from tests.collector import Arrived, Collector, Handler, decoded, takes
from tests.e2e.harness import eventually
from tests.middlewares.asked import head, request

TRACE, OWN, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "53995c3f42cd8ad8"
WALL = 1_700_000_000.0


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """More patience with collectors than they need, so that a busy machine loses nothing; and the log as it was."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "30")
    monkeypatch.setattr(sender, "FLUSH", 30.0)
    names = ("opentelemetry", "requests", "urllib3")
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


START = "GET /v2/users/17?page=2 HTTP/1.1"


def asked_for(*fields: str, start: str = START, **known: Any) -> Request:
    """A request that an upstream answered well; `known` are attributes of its record that are otherwise."""
    asked = request(head(*fields, start=start))
    asked.id = "req-1"
    record = asked.record
    values = {
        "started": 100.0,
        "asked": 100.25,
        "headed": 100.5,
        "released": 100.75,
        "ended": 101.0,
        "route": "/v2/users/{id}",
        "status": 200,
        "upstream": "crawling",
        "destination": "http://user:password@crawling.test:8005/base",
        "attempts": 1,
        "pool": 0.125,
        "bytes_in": 3,
        "bytes_out": 42,
        "trace_id": TRACE,
        "span_id": OWN,
        "parent_id": PARENT,
        "sampled": True,
    }
    for name, value in {**values, **known}.items():
        setattr(record, name, value)
    return asked


REFUSED: dict[str, Any] = {
    "attempts": 0,
    "asked": 0.0,
    "headed": 0.0,
    "released": 0.0,
    "pool": 0.0,
    "upstream": "",
    "destination": "",
}


@asynccontextmanager
async def sending(endpoint: str) -> AsyncIterator[Spans]:
    spans = Spans(endpoint, period=0.05)
    spans.start()
    try:
        yield spans
    finally:
        await spans.close()


async def arrived(collector: Collector, *requests: Request) -> list[Arrived]:
    """What the collector has of these requests once all is flushed."""
    async with sending(collector.url) as spans:
        for each in requests:
            spans.finished(each, WALL)
    assert spans.lost == 0
    return collector.spans


async def until(holds: Callable[[], bool]) -> None:
    """Wait, and let the loop go on meanwhile."""
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in threads
            await asyncio.sleep(0.005)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "spans"]


async def test_a_request_is_a_server_span_and_what_was_asked_of_the_upstream_a_client_span_below(
    collector: Collector,
) -> None:
    server, client = await arrived(collector, asked_for())
    assert (server.name, server.kind) == ("GET /v2/users/{id}", "SERVER")
    assert (client.name, client.kind) == ("GET crawling", "CLIENT")
    assert server.trace_id == client.trace_id == TRACE
    assert server.parent_id == PARENT
    assert client.parent_id == server.span_id != client.span_id
    assert client.span_id == OWN, "what the upstream reports hangs below the span that asked it"


async def test_without_an_upstream_there_is_one_span_with_the_known_id(collector: Collector) -> None:
    (server,) = await arrived(collector, asked_for(**REFUSED, status=401, code="unauthenticated", parent_id=""))
    assert (server.kind, server.span_id, server.parent_id) == ("SERVER", OWN, "")


async def test_a_connection_that_was_only_tried_is_a_client_span(collector: Collector) -> None:
    tried: dict[str, Any] = {"asked": 0.0, "headed": 0.0, "released": 0.0, "connect": 0.5, "attempts": 2}
    server, client = await arrived(collector, asked_for(**tried, status=503, code="upstream_unreachable"))
    assert (client.end - client.start, client.end) == (500_000_000, server.end)
    assert client.attributes["error.type"] == "upstream_unreachable" and client.failed
    assert client.attributes["http.request.resend_count"] == 1
    assert "http.response.status_code" not in client.attributes


async def test_times_are_those_of_the_record_at_the_wall_clock(collector: Collector) -> None:
    server, client = await arrived(collector, asked_for())
    told = [(moment - WALL * 1e9) / 1e9 for moment in (server.start, client.start, client.end, server.end)]
    assert told == pytest.approx([-1.0, -0.75, -0.25, 0.0], abs=1e-5)


async def test_attributes_are_those_of_the_semantic_conventions(collector: Collector) -> None:
    asked = asked_for()
    asked.connection.peer = "203.0.113.9"
    asked.identity = Identity("user-17", (), 0.0, b"")
    server, client = await arrived(collector, asked)
    assert server.attributes == {
        "http.request.method": "GET",
        "http.route": "/v2/users/{id}",
        "http.response.status_code": 200,
        "http.request.body.size": 3,
        "http.response.body.size": 42,
        "url.scheme": "http",
        "url.path": "/v2/users/17",
        "network.protocol.version": "1.1",
        "network.peer.address": "203.0.113.9",
        "client.address": "203.0.113.9",
        "user.id": "user-17",
        "gateway.request_id": "req-1",
        "gateway.upstream": "crawling",
        "gateway.ended_by": "upstream",
    }
    assert client.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "server.address": "crawling.test",
        "server.port": 8005,
        "gateway.upstream": "crawling",
        "gateway.pool.duration": 0.125,
        "gateway.ttfb.duration": 0.25,
    }


@pytest.mark.parametrize(
    ("known", "server_error", "client_error"),
    [
        ({}, None, None),
        ({"status": 404}, None, "404"),
        ({"status": 500}, "500", "500"),
        ({"status": 502, "code": "upstream_error"}, "upstream_error", "upstream_error"),
        ({"status": 504, "code": "upstream_timeout", "headed": 0.0}, "upstream_timeout", "upstream_timeout"),
        ({"status": 200, "code": "upstream_bad_response"}, "upstream_bad_response", "upstream_bad_response"),
        ({"status": 0, "code": "client_closed", "headed": 0.0}, None, None),
        ({"status": 200, "code": "client_closed"}, None, None),
        ({**REFUSED, "status": 429, "code": "rate_limited"}, None, None),
        ({**REFUSED, "status": 503, "code": "overloaded"}, "overloaded", None),
    ],
)
async def test_a_span_fails_where_its_own_side_failed(
    known: dict[str, Any], server_error: str | None, client_error: str | None, collector: Collector
) -> None:
    server, *client = await arrived(collector, asked_for(**known))
    assert (server.failed, server.attributes.get("error.type")) == (server_error is not None, server_error)
    for span in client:
        assert (span.failed, span.attributes.get("error.type")) == (client_error is not None, client_error)


async def test_an_unmatched_path_and_an_uncommon_method_make_no_names(collector: Collector) -> None:
    known: dict[str, Any] = {**REFUSED, "status": 404, "code": "route_not_found", "route": "unmatched"}
    (server,) = await arrived(collector, asked_for(start="PROPFIND /x HTTP/1.1", **known))
    assert server.name == "HTTP"
    assert server.attributes["http.request.method"] == "_OTHER"
    assert "http.route" not in server.attributes


async def test_nothing_secret_or_personal_is_in_a_span(collector: Collector) -> None:
    asked = asked_for(
        "Authorization: Bearer secret-1",
        "Cookie: session=secret-2",
        "X-Api-Key: secret-3",
        "User-Agent: secret-4",
        start="GET /users/joe@example.com/eyJzZWNyZXQ.eyJzZWNyZXQ.x?token=secret-5 HTTP/1.1",
    )
    asked.identity = Identity("joe@example.com", (), 0.0, b"secret-6")
    server, _ = await arrived(collector, asked)
    assert server.attributes["url.path"] == "/users/***/***"
    assert server.attributes["user.id"] == "***"
    for word in (b"secret", b"example.com", b"eyJ", b"password", b"token"):
        assert all(word not in body for body in collector.bodies), word


async def test_the_service_is_named_and_the_environment_names_it_otherwise(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    await arrived(collector, asked_for(**REFUSED))
    monkeypatch.setenv("OTEL_SERVICE_NAME", "edge")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging,service.version=9,broken")
    await arrived(collector, asked_for(**REFUSED))
    first, second = (span.resource for span in collector.spans)
    assert set(first) == {"service.name", "service.version", "service.instance.id"}
    assert first["service.name"] == "aiogateway"
    assert (second["service.name"], second["service.version"]) == ("edge", "9")
    assert second["deployment.environment.name"] == "staging"
    assert first["service.instance.id"] != second["service.instance.id"]


async def test_header_fields_for_the_collector_come_from_the_environment_and_are_never_told(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hush%20hush,hush hush")
    await arrived(collector, asked_for())
    assert "api-key: hush hush\n" in collector.heads[0]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hush%0Ahush")
    async with sending(collector.url) as spans:
        spans.finished(asked_for(), WALL)
    assert spans.lost == 2
    told = "".join(capfd.readouterr())
    assert "InvalidHeader" in told
    assert "hush" not in told


async def test_the_collector_is_asked_directly(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    (tmp_path / ".netrc").write_text("default login joe password hush\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(await arrived(collector, asked_for())) == 2
    assert "authorization" not in collector.heads[0].lower()


async def test_nothing_else_is_started(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "*")
    before = set(threading.enumerate())
    async with sending(collector.url) as spans:
        assert [thread.name for thread in set(threading.enumerate()) - before] == ["spans"]
        spans.finished(asked_for(), WALL)
        eventually(lambda: len(collector.spans) == 2, "the spans came without a flush")
    assert threads() == []
    assert all(line.startswith("POST /v1/traces ") for line in collector.heads)


def status(code: int, *fields: tuple[str, str]) -> Callable[[Handler], None]:
    def behave(handler: Handler) -> None:
        handler.answer(code, *fields)

    return behave


def hangs(handler: Handler) -> None:
    handler.wait()


def hangs_up(handler: Handler) -> None:
    handler.close_connection = True


def drips(handler: Handler) -> None:
    handler.answer(200, length=1000)
    while not handler.wait(0.1):
        handler.wfile.write(b"x")


def talks_nonsense(handler: Handler) -> None:
    handler.wfile.write(b"\x00\x01\x02 nonsense\r\n\r\n")
    handler.close_connection = True


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (status(400), "status 400"),
        (status(401), "status 401"),
        (status(503), "status 503"),
        (status(429, ("Retry-After", "3600")), "status 429"),
        (status(307, ("Location", "/v1/traces")), "status 307"),
        (hangs, "ReadTimeout"),
        (hangs_up, "ConnectionError"),
        (talks_nonsense, "ConnectionError"),
    ],
)
async def test_a_bad_collector_loses_spans_is_told_of_once_and_may_recover(
    behaviour: Callable[[Handler], None],
    reason: str,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    collector.behaviour = behaviour
    with capture_logs() as told:
        async with sending(collector.url) as spans:
            for lost in (2, 4):
                spans.finished(asked_for(), WALL)
                await until(lambda lost=lost: spans.lost == lost)  # type: ignore[misc]
            collector.behaviour = takes
            spans.finished(asked_for(), WALL)
            await until(lambda: len(collector.spans) == 2)
    assert spans.lost == 4
    assert told == [
        {"event": "the collector takes no spans", "reason": reason, "log_level": "warning"},
        {"event": "the collector takes spans again", "lost": 4, "log_level": "info"},
    ]
    assert capfd.readouterr() == ("", "")


async def test_a_collector_that_is_not_there_loses_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with socket.socket() as taken, capture_logs() as told:
        taken.bind(("127.0.0.1", 0))
        async with sending(f"http://127.0.0.1:{taken.getsockname()[1]}") as spans:
            spans.finished(asked_for(), WALL)
        assert spans.lost == 2
    assert [line["reason"] for line in told] == ["ConnectionError"]


async def test_an_answer_without_end_is_not_read_to_it(collector: Collector) -> None:
    def floods(handler: Handler) -> None:
        handler.answer(200, length=1 << 40)
        while not handler.wait(0):
            handler.wfile.write(bytes(1 << 16))

    collector.behaviour = floods
    await arrived(collector, asked_for())
    assert len(collector.bodies) == 1


@pytest.mark.parametrize("behaviour", [hangs, drips])
async def test_what_finds_the_queue_full_is_dropped_and_counted(
    behaviour: Callable[[Handler], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "FLUSH", 0.5)
    with Collector(behaviour) as collector:
        spans = Spans(collector.url, period=0.05)
        spans.start()
        both, alone = asked_for(), asked_for(**REFUSED)
        spans.finished(both, WALL)
        eventually(lambda: collector.bodies, "the collector has the first")
        for _ in range(sender.CAPACITY):
            spans.finished(both, WALL)
        assert spans.lost == 0
        spans.finished(both, WALL)
        spans.finished(alone, WALL)
        assert spans.lost == 3
        await spans.close()
        assert threads(), "the end didn't wait for the collector"
        await spans.close()
        collector.over.set()
        eventually(lambda: not threads(), "the thread ends once it can")
    assert len(set(collector.bodies)) == 1, "what was given up is not sent"


async def test_many_requests_go_in_several_batches_and_none_is_lost(collector: Collector) -> None:
    count = 3 * sender.BATCH + 1
    found = await arrived(collector, *(asked_for(span_id=f"{number:016x}") for number in range(1, count + 1)))
    assert [int(span.span_id, 16) for span in found if span.kind == "CLIENT"] == list(range(1, count + 1))
    assert len({span.span_id for span in found}) == 2 * count
    assert len(collector.bodies) >= 4
    assert len({line for head in collector.heads for line in head.splitlines() if line.startswith("Host")}) == 1


def test_only_where_a_collector_is_configured_are_spans_sent() -> None:
    key = {"JWT_SECRET": "k" * 32}
    assert spans_from(read(key)) is None
    assert spans_from(read({**key, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"})) is not None


async def test_what_was_never_started_closes() -> None:
    await Spans("http://127.0.0.1:4318").close()


def test_without_a_collector_nothing_of_opentelemetry_is_imported() -> None:
    program = "import sys, aiogateway.cli, aiogateway.app; print([n for n in sys.modules if 'opentelem' in n])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        ("https://collector/otlp/", "https://collector/otlp/v1/traces"),
        ("https://collector/otlp?tenant=a", "https://collector/otlp/v1/traces?tenant=a"),
        ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
    ],
)
def test_the_path_of_traces_is_appended(endpoint: str, url: str) -> None:
    assert traces_url(endpoint) == url


MOMENTS = st.floats(0, 1e6)


@given(
    method=st.text(max_size=5),
    texts=st.lists(st.text(st.characters(max_codepoint=126), max_size=5), min_size=5, max_size=5),
    status=st.integers(0, 999),
    code=st.sampled_from(["", *CODES]),
    moments=st.lists(MOMENTS, min_size=6, max_size=6),
    attempts=st.integers(0, 4),
)
def test_whatever_is_known_of_a_request_makes_spans_in_order(
    method: str, texts: list[str], status: int, code: str, moments: list[float], attempts: int
) -> None:
    record = Record(moments[0])
    record.ended = record.started + moments[1]
    record.asked, record.headed, record.released, record.connect = moments[2:]
    record.status, record.code, record.attempts = status, code, attempts
    record.trace_id, record.span_id, record.parent_id = TRACE, OWN, PARENT
    path, request_id, client, peer, user = texts
    finished = Finished(record, method, "http", path, (1, 1), request_id, client, peer, user, WALL)
    found = decoded(encode_spans(spans_of(finished, Resource({}))).SerializeToString())
    assert len(found) == (2 if record.asked or record.connect else 1)
    assert all(span.start <= span.end for span in found)
    assert all(found[0].start <= span.start and span.end <= found[0].end for span in found)
    assert {span.trace_id for span in found} == {TRACE}
