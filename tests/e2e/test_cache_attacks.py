"""What others may try on the cache: each client gets what is its own, and what is under way comes to an end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from .harness import Backend, Gateway, Peer, reply, request, running, write_table

UPSTREAMS = """
[main]
url = "{url}"
"""
ROUTES = """
auth = "public"
rate_limit = "off"
upstream = "main"

[[route]]
path = "/b/{rest:path}"
cache = true
"""
KEPT = "Cache-Control: max-age=600"


@pytest.fixture(scope="module")
def gateway(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    table = write_table(tmp_path_factory.mktemp("attacks") / "table", UPSTREAMS.format(url=backend.url), ROUTES)
    with running(table, GATEWAY_CACHE_MAX_OBJECT="4MiB", PYTHONASYNCIODEBUG="1") as running_gateway:
        yield running_gateway


def get(path: str, *fields: str) -> bytes:
    return request("GET", path, *fields)


def test_fields_for_one_client_reach_nobody_else_though_they_share_an_answer(
    gateway: Gateway, backend: Backend
) -> None:
    go = threading.Event()

    def slow(peer: Peer) -> None:
        fields = 'Cache-Control: max-age=600, private="X-Balance"\r\nX-Balance: 7'
        peer.send(f"HTTP/1.1 200 OK\r\n{fields}\r\nContent-Length: 4\r\n\r\nab".encode())
        peer.wait(go)
        peer.send(b"cd")

    path = backend.serve(slow)
    with gateway.client() as first, gateway.client() as second:
        first.send(get(path))
        mine = first.head()
        second.send(get(path))
        others = second.head()
        go.set()
        assert (first.body_of(mine).data, second.body_of(others).data) == (b"abcd", b"abcd")
    backend.one(path)
    assert (mine.value("x-balance"), others.value("x-balance")) == ("7", None)


def test_fields_for_one_client_reach_that_one(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, b"x", 'Cache-Control: max-age=600, private="X-Balance"', "X-Balance: 7"))
    assert [gateway.ask(get(path)).value("x-balance") for _ in range(2)] == ["7", None]


def test_an_answer_for_one_client_that_nobody_waits_for_is_given_up(gateway: Gateway, backend: Backend) -> None:
    left, asked = threading.Event(), iter(range(100))

    def answer(peer: Peer) -> None:
        number = next(asked)
        if number == 0:
            peer.send(reply(200, b"old", "Cache-Control: max-age=0, stale-while-revalidate=60", 'ETag: "a"'))
        elif number == 1:
            peer.send(b'HTTP/1.1 304 Not Modified\r\nETag: "b"\r\n\r\n')
        else:
            peer.send(b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 10\r\n\r\n01234")
            peer.left()
            left.set()

    path = backend.serve(answer)
    assert [gateway.ask(get(path)).data for _ in range(2)] == [b"old", b"old"]
    backend.wait_for(path, 3)
    assert left.wait(30)


@pytest.mark.parametrize("said", ["Vary: X-Other", "Cache-Control: max-age=0, no-transform"])
def test_what_is_renewed_is_still_said_to_depend_on_codings(gateway: Gateway, backend: Backend, said: str) -> None:
    fields = ("Cache-Control: max-age=0", "Vary: X-Other", 'ETag: "a"')
    answers = iter(
        [
            reply(200, b"x" * 5000, *fields),
            f'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n{said}\r\n\r\n'.encode(),
        ]
    )
    path = backend.serve(lambda peer: peer.send(next(answers)))
    gateway.ask(get(path))
    renewed = gateway.ask(get(path, "Accept-Encoding: gzip"))
    assert "fwd-status=304" in str(renewed.value("cache-status"))
    if "no-transform" in said:
        assert renewed.value("content-encoding") is None
    else:
        assert renewed.value("content-encoding") == "gzip"
        assert "accept-encoding" in ", ".join(renewed.values("vary")).lower()


def test_only_if_cached_asks_nobody_whatever_else_is_wished(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, b"x", KEPT))
    assert gateway.ask(get(path, "Cache-Control: only-if-cached, no-store")).status == 504
    assert backend.seen(path) == []
