"""Every request is counted once it is over, by what became of it; nothing that clients make up makes a series."""

from __future__ import annotations

import os
import random
import signal
import string
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from .harness import (
    Backend,
    Client,
    Gateway,
    Peer,
    children,
    eventually,
    free_port,
    reply,
    request,
    running,
    write_table,
)

Samples = dict[str, list[tuple[dict[str, str], float]]]
DURATION = "http_server_request_duration_seconds_count"
TABLE = """
auth = "public"
upstream = "b"
[[route]]
path = "/a/{{name}}"
[[route]]
path = "/b/{{rest:path}}"
[[route]]
path = "/gone/{{rest:path}}"
upstream = "gone"
[[route]]
path = "/kept/{{rest:path}}"
cache = true
"""


def folder(at: Path, backend: Backend) -> Path:
    upstreams = f'[b]\nurl = "{backend.url}"\n[gone]\nurl = "http://127.0.0.1:{free_port()}"\n'
    return write_table(at / "table", upstreams, TABLE.replace("{{", "{").replace("}}", "}"))


@pytest.fixture(scope="module")
def watched(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(folder(tmp_path_factory.mktemp("watched"), backend)) as gateway:
        yield gateway


def samples(gateway: Gateway) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(gateway.admin("/metrics").data.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def value(found: Samples, name: str, **labels: str) -> float:
    return sum(number for given, number in found.get(name, []) if labels.items() <= given.items())


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        (
            request("GET", "/a/x"),
            {"http_route": "/a/{name}", "http_request_method": "GET", "http_response_status_code": "200"},
        ),
        (request("HEAD", "/a/x"), {"http_route": "/a/{name}", "http_request_method": "HEAD"}),
        (request("GET", "/nothing"), {"http_route": "unmatched", "error_type": "route_not_found"}),
        (request("TRACE", "/a/x"), {"http_route": "/a/{name}", "error_type": "method_not_allowed"}),
        (request("PROPFIND", "/a/x"), {"http_request_method": "_OTHER", "error_type": "method_not_allowed"}),
        (request("GET", "/gone/x"), {"http_route": "/gone/{rest:path}", "error_type": "upstream_unreachable"}),
        (
            request("OPTIONS", "/a/x", "Origin: http://localhost:3000", "Access-Control-Request-Method: GET"),
            {"http_route": "/a/{name}", "http_request_method": "OPTIONS", "http_response_status_code": "200"},
        ),
        (
            request("OPTIONS", "/a/x", "Origin: http://stranger.example", "Access-Control-Request-Method: GET"),
            {"http_route": "/a/{name}", "http_request_method": "OPTIONS", "error_type": "forbidden"},
        ),
        (b"GET / HTTP/1.1\r\nbad head\r\n\r\n", {"http_route": "unmatched", "error_type": "bad_request"}),
        (request("GET", "/healthz"), {"http_route": "/healthz", "http_response_status_code": "200"}),
    ],
)
def test_a_request_is_counted_by_what_became_of_it(
    watched: Gateway, backend: Backend, data: bytes, labels: dict[str, str]
) -> None:
    backend.serve(reply(), at="/a/x")
    before = value(samples(watched), DURATION, **labels)
    with watched.client() as client:
        client.send(data)
        client.head()
    eventually(lambda: value(samples(watched), DURATION, **labels) == before + 1, f"{labels} is counted once")


def test_a_duration_ends_with_the_body(watched: Gateway, backend: Backend) -> None:
    def slow(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        peer.left()
        peer.close()

    path = backend.serve(slow)
    before = samples(watched)
    with watched.client() as client:
        client.send(request("GET", path))
        client.head()
        during = samples(watched)
        assert value(during, "http_server_active_requests") == 1
        assert value(during, DURATION) == value(before, DURATION)
    eventually(lambda: value(samples(watched), "http_server_active_requests") == 0, "nothing is being answered")
    after = samples(watched)
    assert value(after, DURATION, error_type="client_closed", http_response_status_code="200") == 1
    assert value(after, "gateway_client_aborts_total", phase="response") == 1


@pytest.mark.parametrize("under", ["/b", "/kept"])
def test_clients_that_leave_are_counted_by_how_far_they_came(watched: Gateway, backend: Backend, under: str) -> None:
    def silent(peer: Peer) -> None:
        peer.left()
        peer.close()

    path = backend.serve(silent, under)

    def aborts() -> dict[str, float]:
        return {
            phase: value(samples(watched), "gateway_client_aborts_total", phase=phase)
            for phase in ("request", "waiting")
        }

    before = aborts()
    with watched.client() as client:
        client.send(request("POST", path, "Content-Length: 100") + b"part")
    with watched.client() as client:
        client.send(request("GET", path))
        backend.wait_for(path)
    eventually(
        lambda: aborts() == {phase: count + 1 for phase, count in before.items()}, "each is counted in its phase"
    )


def test_an_upstream_that_breaks_off_is_told_apart(watched: Gateway, backend: Backend) -> None:
    def broken(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        peer.wait(headed)
        peer.close()

    headed = threading.Event()
    path = backend.serve(broken)
    with watched.client() as client:
        client.send(request("GET", path))
        head = client.head()
        headed.set()
        assert not client.body_of(head).complete
    labels = {"error_type": "upstream_bad_response", "http_response_status_code": "200"}
    eventually(lambda: value(samples(watched), DURATION, **labels) == 1, "the broken answer is counted")
    assert value(samples(watched), "http_client_request_duration_seconds_count", upstream="b", **labels) == 1


RENEWED = b'HTTP/1.1 304 Said\r\nETag: "a"\r\n\r\n'
BAD = reply(503, b"bad", kind="text/plain")


@pytest.mark.parametrize(
    ("second", "fields", "served", "asked"),
    [
        (BAD, (), ("200", ""), ("503", "upstream_error")),
        (RENEWED, (), ("200", ""), ("304", "")),
        (RENEWED, ('If-None-Match: "a"',), ("304", ""), ("304", "")),
        (reply(200, b"new"), (), ("200", ""), ("200", "")),
        (BAD, ("Cache-Control: no-cache",), ("503", "upstream_error"), ("503", "upstream_error")),
        (b"HTTP/1.1 999999 Said\r\n\r\n", (), ("200", ""), ("", "upstream_bad_response")),
    ],
)
def test_what_the_cache_asked_for_counts_as_the_upstream_answered_it(
    watched: Gateway,
    backend: Backend,
    second: bytes,
    fields: tuple[str, ...],
    served: tuple[str, str],
    asked: tuple[str, str],
) -> None:
    good = reply(200, b"good", "Cache-Control: max-age=0, stale-if-error=60", 'ETag: "a"')
    answers = iter([good, second])
    path = backend.serve(lambda peer: peer.send(next(answers)), "/kept")

    def counted() -> list[float]:
        found = samples(watched)
        return [
            value(found, name, http_response_status_code=status, error_type=error, **labels)
            for name, labels, (status, error) in (
                (DURATION, {"http_route": "/kept/{rest:path}"}, served),
                ("http_client_request_duration_seconds_count", {"upstream": "b"}, asked),
            )
        ]

    assert watched.get(path).data == b"good"
    before = counted()
    assert str(watched.get(path, *fields).status) == served[0]
    eventually(lambda: counted() == [number + 1 for number in before], "each side is counted for itself")


def test_sizes_and_the_upstreams_side_are_counted(watched: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, b"x" * 300_000))
    before = samples(watched)
    assert watched.send("POST", path, body=b"y" * 100_000).status == 200
    after = samples(watched)
    for name, size in (("request", 100_000), ("response", 300_000)):
        key = f"http_server_{name}_body_size_bytes_sum"
        assert value(after, key) - value(before, key) == size
    assert value(after, "gateway_overhead_seconds_count") > value(before, "gateway_overhead_seconds_count")
    assert value(after, "http_client_open_connections", upstream="b", http_connection_state="idle") >= 1
    assert value(after, "gateway_upstream_up", upstream="b") == 1


def test_an_upstream_that_is_gone_is_not_up(watched: Gateway) -> None:
    assert watched.get("/gone/x").status == 503
    found = samples(watched)
    assert value(found, "gateway_upstream_up", upstream="gone") == 0
    assert value(found, "gateway_upstream_connect_failures_total", upstream="gone", reason="refused") >= 1


def test_random_paths_methods_and_fields_make_a_bounded_number_of_series(watched: Gateway, backend: Backend) -> None:
    backend.serve(reply(), at="/b/r")
    dice = random.Random(7)
    methods = ("GET", "POST", "PUT", "LINK", "PURGE", "SEARCH", "MKCOL", "BREW")

    def word() -> str:
        return "".join(dice.choices(string.ascii_letters + string.digits, k=12))

    def storm(count: int) -> int:
        for _ in range(count):
            target = dice.choice((f"/{word()}", f"/b/r/{word()}?{word()}={word()}", f"/a/{word()}/{word()}"))
            fields = (f"X-Request-ID: {word()}", f"User-Agent: {word()}", f"Origin: {word()}")
            watched.send(dice.choice(methods), target, *fields)
        return sum(map(len, samples(watched).values()))

    storm(300)
    known = samples(watched)
    routes = {labels["http_route"] for labels, _ in known[DURATION]}
    own = {"/healthz", "/readyz"}
    assert routes <= {"/a/{name}", "/b/{rest:path}", "/gone/{rest:path}", "/kept/{rest:path}", "unmatched"} | own
    assert storm(600) == sum(map(len, known.values())), "more of the same makes no more series"


def test_no_counter_goes_back_when_a_worker_is_replaced(backend: Backend, tmp_path: Path) -> None:
    backend.serve(reply(), at="/b/counted")
    with running(folder(tmp_path, backend), GATEWAY_WORKERS="2") as gateway:
        for _ in range(40):
            assert gateway.get("/b/counted").status == 200
        labels = {"http_route": "/b/{rest:path}"}
        eventually(lambda: value(samples(gateway), DURATION, **labels) == 40, "all are counted, whoever is asked")
        assert [value(samples(gateway), DURATION, **labels) for _ in range(10)] == [40] * 10
        victim = children(gateway.process.pid)[0]
        os.kill(victim, signal.SIGKILL)
        eventually(
            lambda: victim not in (now := children(gateway.process.pid)) and len(now) == 2, "the worker is replaced"
        )
        seen = []
        for _ in range(20):
            with Client(gateway.admin_port) as client:
                client.ask(request("GET", "/healthz"))
            seen.append(value(samples(gateway), DURATION, **labels))
        assert seen == [40] * 20
        eventually(lambda: value(samples(gateway), "gateway_workers") == 2, "two workers serve")
