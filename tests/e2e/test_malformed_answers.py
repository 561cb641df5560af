"""Upstreams that break HTTP: a 502 or a cut connection, never a hang, a 500 or a poisoned next request."""

from __future__ import annotations

import threading

import pytest

from aiogateway.upstreams.intake import FIRST, MORE

from .harness import Backend, Cut, Gateway, Peer, assert_problem, reply, request

OK = b"HTTP/1.1 200 OK\r\n"
TE = OK + b"Transfer-Encoding: chunked\r\n\r\n"

MALFORMED = {
    "garbage": b"\x00\x01garbage\r\n\r\n",
    "words": b"hello world\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "nothing": b"",
    "a cut status line": b"HTTP/1.1 20",
    "a cut head": OK + b"Content-Type: text/pl",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "ICY": b"ICY 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "lower-case http": b"http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "status 999": b"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok",
    "status 600": b"HTTP/1.1 600 Odd\r\nContent-Length: 2\r\n\r\nok",
    "status 099": b"HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nok",
    "status 1000": b"HTTP/1.1 1000 Odd\r\nContent-Length: 2\r\n\r\nok",
    "status 20": b"HTTP/1.1 20 Odd\r\nContent-Length: 2\r\n\r\nok",
    "status +20": b"HTTP/1.1 +20 Odd\r\nContent-Length: 2\r\n\r\nok",
    "status abc": b"HTTP/1.1 abc Odd\r\nContent-Length: 2\r\n\r\nok",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a list of lengths": OK + b"Content-Length: 1, 2\r\n\r\nab",
    "a negative length": OK + b"Content-Length: -2\r\n\r\nab",
    "a signed length": OK + b"Content-Length: +2\r\n\r\nab",
    "a hexadecimal length": OK + b"Content-Length: 0x2\r\n\r\nab",
    "an empty length": OK + b"Content-Length:\r\n\r\n",
    "length and chunks": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    "coding gzip": OK + b"Transfer-Encoding: gzip\r\n\r\nab",
    "coding gzip, chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    "coding chunked, gzip": OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    "coding chunked twice": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    "coding chunked in two fields": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding made-up": OK + b"Transfer-Encoding: xchunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    "chunks of HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    "a bad chunk size": TE + b"zz\r\nab\r\n0\r\n\r\n",
    "a negative chunk size": TE + b"-2\r\nab\r\n0\r\n\r\n",
    "an enormous chunk size": TE + b"ffffffffffffffffff\r\nab\r\n0\r\n\r\n",
    "a chunk that runs on": TE + b"2\r\nabcdef\r\n0\r\n\r\n",
    "chunks with bare LF": TE + b"2\nab\n0\n\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "bare LF after a field": OK + b"X-A: 1\nContent-Length: 2\r\n\r\nok",
    "bare CR in a field": OK + b"X-A: 1\rX-B: 2\r\nContent-Length: 2\r\n\r\nok",
    "a folded field": OK + b"X-A: 1\r\n  2\r\nContent-Length: 2\r\n\r\nok",
    "NUL in a field": OK + b"X-A: a\x00b\r\nContent-Length: 2\r\n\r\nok",
    "NUL in a name": OK + b"X-\x00: ab\r\nContent-Length: 2\r\n\r\nok",
    "a field without a colon": OK + b"X-A\r\nContent-Length: 2\r\n\r\nok",
    "a field without a name": OK + b": 1\r\nContent-Length: 2\r\n\r\nok",
    "a space before the colon": OK + b"Content-Length : 2\r\n\r\nok",
    "a space in a name": OK + b"X A: 1\r\nContent-Length: 2\r\n\r\nok",
    "a huge field": OK + b"X-A: " + b"a" * (1 << 20) + b"\r\nContent-Length: 2\r\n\r\nok",
    "an endless head": OK + b"X-A: 1\r\n" * 50_000 + b"Content-Length: 2\r\n\r\nok",
    "an endless status line": b"HTTP/1.1 200 " + b"O" * (1 << 20) + b"\r\nContent-Length: 2\r\n\r\nok",
}


@pytest.mark.parametrize("said", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_answer_is_502_or_a_cut(gateway: Gateway, backend: Backend, said: bytes) -> None:
    def breaking(peer: Peer) -> None:
        peer.read_body()
        try:
            peer.send(said)
        finally:
            peer.close()

    path, after = backend.serve(breaking), backend.serve(reply(200, b"ok"))
    with gateway.client(timeout=5.0) as client:
        try:
            answer = client.ask(request("GET", path))
        except Cut:
            pass
        else:
            if answer.status != 200:
                assert_problem(answer, "upstream_bad_response")
            else:
                assert not answer.body.complete, f"taken for good: {answer.head} {answer.body.kept[:100]!r}"
    fresh = [seen for seen in backend.seen(path) if seen.connection.requests == 1]
    assert len(fresh) <= 1, "sent again on a fresh connection"
    assert gateway.get(after).data == b"ok"


@pytest.mark.parametrize("said", [MALFORMED["garbage"], MALFORMED["two lengths"]], ids=["garbage", "two lengths"])
def test_a_malformed_answer_on_a_connection_left_open_is_502_at_once(
    gateway: Gateway, backend: Backend, said: bytes
) -> None:
    path = backend.serve(said)
    for _ in range(3):
        assert_problem(gateway.get(path), "upstream_bad_response")
    assert len({seen.connection.number for seen in backend.seen(path)}) == 3


SMUGGLED = reply(200, b"smuggled")
LEFTOVERS = {
    "past the length": ("GET", reply(200, b"ok") + SMUGGLED),
    "past the last chunk": ("GET", TE + b"2\r\nok\r\n0\r\n\r\n" + SMUGGLED),
    "after HEAD": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + SMUGGLED),
    "after a 204": ("GET", b"HTTP/1.1 204 No Content\r\n\r\n" + SMUGGLED),
    "after a 304": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n" + SMUGGLED),
    "garbage past the length": ("GET", reply(200, b"ok") + b"garbage"),
}


@pytest.mark.parametrize(("method", "said"), LEFTOVERS.values(), ids=LEFTOVERS)
def test_bytes_left_over_never_answer_the_next_request(
    gateway: Gateway, lonely: Backend, method: str, said: bytes
) -> None:
    path, after = lonely.serve(said, "/lonely"), lonely.serve(reply(200, b"right"), "/lonely")
    with gateway.client() as client:
        try:
            first = client.ask(request(method, path))
            assert first.status in (200, 204, 304, 502)
            assert b"smuggled" not in first.body.kept
        except Cut:
            pass
    for _ in range(3):
        assert gateway.get(after).data == b"right"


LONG_HEAD = "HTTP/1.1 200 OK\r\nContent-Length: {:>7}\r\n\r\n"


@pytest.mark.parametrize("size", [FIRST - len(LONG_HEAD.format(0)), FIRST + MORE, 300_000, 1 << 20])
def test_bytes_behind_a_long_answer_never_answer_the_request_behind_it(
    gateway: Gateway, lonely: Backend, size: int
) -> None:
    """They may still be with the kernel when the next request, which is there already, takes its turn."""
    said = LONG_HEAD.format(size).encode() + b"a" * size + SMUGGLED
    path, after = lonely.serve(said, "/lonely"), lonely.serve(reply(200, b"right"), "/lonely")
    with gateway.client() as client:
        client.send(request("GET", path) + request("GET", after))
        assert client.read().body.count == size
        assert client.read().data == b"right"


def test_an_answer_before_the_request_is_not_taken_for_one(gateway: Gateway, lonely: Backend, backend: Backend) -> None:
    sent, go_on = threading.Event(), threading.Event()

    def chatty(peer: Peer) -> None:
        peer.send(reply(200, b"asked"))
        peer.wait(go_on)
        peer.send(SMUGGLED)
        sent.set()

    path, after = lonely.serve(chatty, "/lonely"), lonely.serve(reply(200, b"right"), "/lonely")
    elsewhere = backend.serve(reply())
    assert gateway.get(path).data == b"asked"
    go_on.set()
    assert sent.wait(30)
    assert gateway.get(elsewhere).status == 200
    for _ in range(3):
        assert gateway.get(after).data == b"right"
