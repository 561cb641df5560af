"""The cache in front of a real upstream: what is asked again, what isn't, and what each client gets."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate

import pytest

from .harness import (
    Backend,
    Gateway,
    Peer,
    assert_problem,
    chunked,
    eventually,
    reply,
    request,
    running,
    write_table,
)

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

[[route]]
path = "/minute/{rest:path}"
cache = 60

[[route]]
path = "/off/{rest:path}"
"""
KEPT = "Cache-Control: max-age=600"


@pytest.fixture(scope="module")
def gateway(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    table = write_table(tmp_path_factory.mktemp("cache") / "table", UPSTREAMS.format(url=backend.url), ROUTES)
    with running(table, GATEWAY_CACHE_MAX_OBJECT="256KiB") as running_gateway:
        yield running_gateway


def get(path: str, *fields: str) -> bytes:
    return request("GET", path, *fields)


def status_of(gateway: Gateway, path: str, *fields: str) -> str:
    """What `Cache-Status` says of a GET."""
    return str(gateway.ask(get(path, *fields)).value("cache-status"))


def test_a_fresh_answer_is_given_without_asking_again(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, b"once", KEPT, 'ETag: "a"'))
    first, second = gateway.ask(get(path)), gateway.ask(get(path))
    assert (first.status, first.data, first.value("age")) == (200, b"once", None)
    assert first.value("cache-status") == "aiogateway; fwd=uri-miss; fwd-status=200; stored"
    assert (second.status, second.data, second.value("age"), second.value("etag")) == (200, b"once", "0", '"a"')
    assert str(second.value("cache-status")).startswith("aiogateway; hit; ttl=")
    backend.one(path)


def test_an_answer_whose_end_is_parsed_as_its_beginning_is_read_is_kept_whole(
    gateway: Gateway, backend: Backend
) -> None:
    """Behind an interim head more comes at once than the parser gives out before it is read."""
    pieces = [bytes([number]) * 15_000 for number in range(13)]
    head = f"HTTP/1.1 200 OK\r\n{KEPT}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    hinted, sent = threading.Event(), threading.Event()

    def answer(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        peer.wait(hinted)
        peer.send(head + chunked(*pieces))
        sent.set()

    # A connection that has brought much before takes as much at once.
    assert gateway.ask(get(backend.serve(reply(200, bytes(20 << 20))))).body.complete
    path = backend.serve(answer)
    with gateway.client() as client:
        client.send(get(path))
        assert client.head().start.startswith(b"HTTP/1.1 103")
        os.kill(gateway.process.pid, signal.SIGSTOP)
        try:
            hinted.set()
            assert sent.wait(30)
        finally:
            os.kill(gateway.process.pid, signal.SIGCONT)
        assert client.read().body.count == sum(map(len, pieces))
    assert gateway.ask(get(path)).body.count == sum(map(len, pieces))
    backend.one(path)


def test_a_route_without_a_cache_says_nothing_of_one(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, b"x", KEPT), under="/off")
    assert [gateway.ask(get(path)).value("cache-status") for _ in range(2)] == [None, None]
    assert len(backend.seen(path)) == 2


@pytest.mark.parametrize(
    ("under", "fields", "times"),
    [
        ("/b", (), 2),
        ("/minute", (), 1),
        ("/minute", ("Cache-Control: max-age=0",), 2),
        ("/minute", ("Cache-Control: no-store",), 2),
        ("/b", ("Cache-Control: s-maxage=60, max-age=0",), 1),
        ("/b", ("Cache-Control: private, max-age=60",), 2),
        ("/b", ("Cache-Control: max-age=60", "Set-Cookie: a=b"), 2),
        ("/b", ("Cache-Control: max-age=60", "Vary: *"), 2),
        ("/b", ("Cache-Control: max-age=60", "Age: 61"), 2),
        ("/b", ("Cache-Control: max-age=-1",), 2),
        ("/b", ("Cache-Control: max-age=60, max-age=70",), 2),
        ("/b", ("Cache-Control: no-store", "CDN-Cache-Control: max-age=60"), 1),
        ("/b", ("Cache-Control: max-age=60", "CDN-Cache-Control: no-store"), 2),
        ("/b", ("Cache-Control: no-store, must-understand, max-age=60",), 1),
        ("/b", ("Expires: 0",), 2),
        ("/b", (f"Expires: {formatdate(time.time() + 3600, usegmt=True)}",), 1),
    ],
)
def test_an_answer_is_asked_for_again_unless_it_may_be_kept(
    gateway: Gateway, backend: Backend, under: str, fields: tuple[str, ...], times: int
) -> None:
    path = backend.serve(reply(200, b"x", *fields), under=under)
    assert [gateway.ask(get(path)).data for _ in range(2)] == [b"x", b"x"]
    assert len(backend.seen(path)) == times


def test_variants_stand_side_by_side(gateway: Gateway, backend: Backend) -> None:
    def by_language(peer: Peer) -> None:
        peer.send(reply(200, str(peer.request.value("accept-language")).encode(), KEPT, "Vary: Accept-Language"))

    path = backend.serve(by_language)
    for _ in range(2):
        for language in ("de", "en"):
            assert gateway.ask(get(path, f"Accept-Language: {language}")).data == language.encode()
    assert len(backend.seen(path)) == 2
    assert status_of(gateway, path, "Accept-Language: fr") == "aiogateway; fwd=vary-miss; fwd-status=200; stored"


def test_a_stale_answer_is_validated_and_renewed_by_a_304(gateway: Gateway, backend: Backend) -> None:
    def once(peer: Peer) -> None:
        if peer.request.value("if-none-match") == '"v"':
            peer.send(b'HTTP/1.1 304 X\r\nCache-Control: max-age=600\r\nETag: "v"\r\nX-New: 1\r\n\r\n')
        else:
            peer.send(reply(200, b"body", "Cache-Control: max-age=0", 'ETag: "v"'))

    path = backend.serve(once)
    assert gateway.ask(get(path)).data == b"body"
    second = gateway.ask(get(path))
    assert (second.status, second.data, second.value("x-new")) == (200, b"body", "1")
    assert second.value("cache-status") == "aiogateway; fwd=stale; fwd-status=304; stored"
    assert status_of(gateway, path).startswith("aiogateway; hit")
    assert len(backend.seen(path)) == 2


def test_a_client_that_has_it_gets_a_304(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, b"body", KEPT, 'ETag: "v"'))
    for _ in range(2):
        answer = gateway.ask(get(path, 'If-None-Match: W/"v"'))
        assert (answer.status, answer.data, answer.value("etag"), answer.value("content-type")) == (
            304,
            b"",
            '"v"',
            None,
        )
    backend.one(path)


@pytest.mark.parametrize(
    ("asked", "status", "data", "said"),
    [
        ("bytes=0-1", 206, b"01", "bytes 0-1/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=5-99", 206, b"56789", "bytes 5-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=-0", 416, b"", "bytes */10"),
        ("bytes=3-2", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("lines=0-1", 200, b"0123456789", None),
    ],
)
def test_a_part_is_cut_from_what_is_stored(
    gateway: Gateway, backend: Backend, asked: str, status: int, data: bytes, said: str | None
) -> None:
    path = backend.serve(reply(200, b"0123456789", KEPT))
    gateway.ask(get(path))
    answer = gateway.ask(get(path, f"Range: {asked}"))
    assert (answer.status, answer.data, answer.value("content-range")) == (status, data, said)
    backend.one(path)


def test_a_part_of_what_is_not_stored_is_the_upstreams_and_never_stored(gateway: Gateway, backend: Backend) -> None:
    part = reply(206, b"01", KEPT, "Content-Range: bytes 0-1/10")
    path = backend.serve(part)
    for count in (1, 2):
        assert gateway.ask(get(path, "Range: bytes=0-1")).status == 206
        assert len(backend.seen(path)) == count


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(("status", "times"), [(204, 2), (303, 2), (404, 1)])
def test_what_changes_a_uri_makes_it_forgotten(
    gateway: Gateway, backend: Backend, method: str, status: int, times: int
) -> None:
    def answer(peer: Peer) -> None:
        peer.read_body()
        peer.send(
            reply(200, b"x", KEPT)
            if peer.request.method == "GET"
            else f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()
        )

    path = backend.serve(answer)
    gateway.ask(get(path))
    gateway.ask(request(method, path, body=b""))
    gateway.ask(get(path))
    assert len([seen for seen in backend.seen(path) if seen.method == "GET"]) == times


def test_many_who_ask_at_once_share_one_answer_as_it_arrives(gateway: Gateway, backend: Backend) -> None:
    go, many = threading.Event(), 12

    def slow(peer: Peer) -> None:
        peer.send(f"HTTP/1.1 200 OK\r\n{KEPT}\r\nContent-Length: 10\r\n\r\n01234".encode())
        peer.wait(go)
        peer.send(b"56789")

    path = backend.serve(slow)
    clients = [gateway.client() for _ in range(many)]
    try:
        for client in clients:
            client.send(get(path))
        heads = [client.head() for client in clients]
        go.set()
        assert [client.body_of(head).data for client, head in zip(clients, heads, strict=True)] == [
            b"0123456789"
        ] * many
    finally:
        for client in clients:
            client.leave()
    backend.one(path)
    assert status_of(gateway, path).startswith("aiogateway; hit")


def test_the_others_get_it_though_the_first_leaves(gateway: Gateway, backend: Backend) -> None:
    go = threading.Event()

    def slow(peer: Peer) -> None:
        peer.wait(go)
        peer.send(reply(200, b"x", KEPT))

    path = backend.serve(slow)
    with gateway.client() as first, gateway.client() as second:
        first.send(get(path))
        backend.wait_for(path)
        second.send(get(path))
        first.leave()
        go.set()
        assert second.read().data == b"x"
    backend.one(path)


def test_when_all_leave_the_upstream_is_let_go(gateway: Gateway, backend: Backend) -> None:
    left = threading.Event()

    def watch(peer: Peer) -> None:
        peer.send(f"HTTP/1.1 200 OK\r\n{KEPT}\r\nContent-Length: 10\r\n\r\n01234".encode())
        peer.left()
        left.set()

    path = backend.serve(watch)
    with gateway.client() as first, gateway.client() as second:
        first.send(get(path))
        second.send(get(path))
        first.head(), second.head()
        first.leave()
        second.leave()
        assert left.wait(30)


def test_an_answer_for_one_client_only_is_given_to_that_one(gateway: Gateway, backend: Backend) -> None:
    go = threading.Event()
    count = iter(range(100))

    def private(peer: Peer) -> None:
        number = next(count)
        peer.wait(go)
        peer.send(reply(200, str(number).encode(), "Cache-Control: private"))

    path = backend.serve(private)
    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(gateway.ask, get(path)) for _ in range(5)]
        backend.wait_for(path)
        go.set()
        found = sorted(each.result().data for each in asked)
    assert found == [b"0", b"1", b"2", b"3", b"4"]


def test_an_upstream_that_dies_mid_body_is_seen_by_all_and_nothing_is_kept(gateway: Gateway, backend: Backend) -> None:
    go = threading.Event()

    def dies(peer: Peer) -> None:
        peer.send(f"HTTP/1.1 200 OK\r\n{KEPT}\r\nContent-Length: 10\r\n\r\n01234".encode())
        peer.wait(go)
        peer.close()

    path = backend.serve(dies)
    for _ in range(2):
        with gateway.client() as client:
            go.clear()
            client.send(get(path))
            head = client.head()
            go.set()
            assert not client.body_of(head).complete
    assert len(backend.seen(path)) == 2


def test_much_without_a_length_is_given_to_all_and_not_kept(gateway: Gateway, backend: Backend) -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"

    def much(peer: Peer) -> None:
        peer.send(f"HTTP/1.1 200 OK\r\n{KEPT}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(160):
            peer.send(chunk)
        peer.send(b"0\r\n\r\n")

    path = backend.serve(much)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: gateway.ask(get(path)).body.count, range(3)))
    assert found == [160 * 65536] * 3
    before = len(backend.seen(path))
    assert gateway.ask(get(path)).body.count == 160 * 65536
    assert len(backend.seen(path)) == before + 1


def test_a_head_is_answered_from_a_stored_get(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, b"0123", KEPT))
    gateway.ask(get(path))
    with gateway.client() as client:
        client.send(request("HEAD", path))
        head = client.head()
        assert (head.value("content-length"), head.value("age")) == ("4", "0")
    backend.one(path)


def test_only_if_cached_asks_nobody(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, b"x", KEPT))
    assert_problem(gateway.ask(get(path, "Cache-Control: only-if-cached")), "not_in_cache")
    gateway.ask(get(path))
    assert gateway.ask(get(path, "Cache-Control: only-if-cached")).data == b"x"
    backend.one(path)


def test_a_stale_answer_is_given_while_it_is_renewed_behind_the_clients_back(
    gateway: Gateway, backend: Backend
) -> None:
    count = iter(range(100))
    path = backend.serve(
        lambda peer: peer.send(
            reply(200, str(next(count)).encode(), "Cache-Control: max-age=0, stale-while-revalidate=60")
        )
    )
    assert gateway.ask(get(path)).data == b"0"
    assert gateway.ask(get(path)).data == b"0"
    backend.wait_for(path, 2)
    eventually(lambda: gateway.ask(get(path)).data == b"1" or None, "the renewed answer")


def test_a_stale_answer_stands_in_for_an_error(gateway: Gateway, backend: Backend) -> None:
    answers = iter([reply(200, b"good", "Cache-Control: max-age=0, stale-if-error=60"), reply(503, b"bad")])
    path = backend.serve(lambda peer: peer.send(next(answers)))
    assert gateway.ask(get(path)).data == b"good"
    answer = gateway.ask(get(path))
    assert (answer.status, answer.data) == (200, b"good")
    assert answer.value("cache-status") == "aiogateway; fwd=stale; fwd-status=503; detail=stale-if-error"
