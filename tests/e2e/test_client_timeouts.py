"""How long a client is waited for: heads, bodies, idle connections (contract, the time variables)."""

from __future__ import annotations

import threading
import time

import pytest

from .harness import Backend, Cut, Gateway, Peer, assert_problem, chunked, elapsed, eventually, reply, request
from .hasty import HEAD, IDLE, KEEPALIVE, LATE, MIB

pytestmark = pytest.mark.usefixtures("slow")  # started as early as may be, as it takes half a minute


SILENT_BODIES = {
    "small, of a length": (["Content-Length: 100"], b"abc", False),
    "small, in chunks": (["Transfer-Encoding: chunked"], chunked(b"abc", end=b""), False),
    "nothing of a body": (["Content-Length: 100"], b"", False),
    "large, of a length": ([f"Content-Length: {MIB}"], bytes(100_000), True),
    "large, in chunks": (["Transfer-Encoding: chunked"], chunked(bytes(100_000), end=b""), True),
}


@pytest.mark.parametrize(("fields", "part", "streamed"), SILENT_BODIES.values(), ids=SILENT_BODIES)
def test_a_client_silent_in_the_middle_of_a_body_is_408(
    hasty: Gateway, backend: Backend, fields: list[str], part: bytes, streamed: bool
) -> None:
    path = backend.serve(reply(), "/medium")
    with hasty.client() as client:
        client.send(request("POST", path, *fields) + part)
        with elapsed() as taken:
            assert_problem(client.read(), "request_timeout")
        assert IDLE - 0.05 <= taken.seconds <= IDLE + LATE
        assert client.hung_up()
    assert len(backend.seen(path)) == int(streamed)
    eventually(lambda: all(seen.connection.closed for seen in backend.seen(path)), "the upload is aborted")
    assert not any(seen.body.complete for seen in backend.seen(path))


def test_a_body_that_keeps_coming_is_not_cut(hasty: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, b"ok"))
    with hasty.client() as client:
        client.send(request("POST", path, "Content-Length: 7"))
        for _ in range(7):
            assert client.silent(0.25)
            client.sock.sendall(b"x")
        assert client.read().data == b"ok"


PIECES = {
    "in two pieces": (100_000, 31_073),
    "in one": (131_073,),
    "larger, in one": (200_000,),
    "larger, in two": (150_000, 50_000),
}


@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
def test_a_body_that_is_in_is_not_waited_for_while_the_upstream_thinks(
    hasty: Gateway, backend: Backend, pieces: tuple[int, ...]
) -> None:
    """Bodies that are in before a connection is free, of sizes at which reading pauses: their end must be noticed."""
    freed = threading.Event()

    def holding(peer: Peer) -> None:
        peer.wait(freed)
        peer.send(reply(200, b"first"))

    def thinking(peer: Peer) -> None:
        peer.read_body()
        time.sleep(IDLE + 0.3)
        peer.send(reply(200, b"ok"))

    first, path, behind = backend.serve(holding, "/full"), backend.serve(thinking, "/full"), backend.serve(reply())
    with hasty.client() as holder, hasty.client() as client:
        holder.send(request("GET", first))
        backend.wait_for(first)
        client.send(request("POST", path, f"Content-Length: {sum(pieces)}"))
        for piece in pieces:
            client.sock.sendall(bytes(piece))
            assert client.silent(0.1)
        client.sock.sendall(request("GET", behind))
        freed.set()
        assert holder.read().data == b"first"
        answer = client.read()
        assert (answer.status, answer.data) == (200, b"ok")
        assert client.read().status == 200
    assert backend.one(path).body.count == sum(pieces)


HEADS = {
    "half a head": (b"GET /b/x HTTP/1.1\r\nHost: a\r\n", b""),
    "half a line": (b"GET /b", b""),
    "a head that drips": (b"GET /b/x HTTP/1.1\r\nX-A: ", b"a"),
}


@pytest.mark.parametrize(("start", "drip"), HEADS.values(), ids=HEADS)
def test_a_head_that_does_not_end_is_408_or_a_close(hasty: Gateway, start: bytes, drip: bytes) -> None:
    with hasty.client() as client, elapsed() as taken:
        client.send(start)
        for _ in range(100):
            if not client.silent(0.1):
                break
            client.push(drip)
        try:
            answer = client.read()
        except Cut:
            pass
        else:
            assert_problem(answer, "request_timeout")
            assert client.hung_up()
    assert HEAD - 0.1 <= taken.seconds <= HEAD + LATE


def test_a_second_head_on_a_kept_connection_is_bounded_too(hasty: Gateway, backend: Backend) -> None:
    with hasty.client() as client:
        assert client.ask(request("GET", backend.serve(reply()))).status == 200
        with elapsed() as taken:
            client.send(b"GET /b/x HTTP/1.1\r\nHost: a\r\n")
            assert not client.silent(HEAD + KEEPALIVE + LATE)
        assert taken.seconds <= HEAD + LATE


def test_a_connection_that_says_nothing_is_closed(hasty: Gateway) -> None:
    with hasty.client() as client, elapsed() as taken:
        assert client.hung_up()
    assert taken.seconds <= max(HEAD, KEEPALIVE) + LATE


def test_an_idle_connection_is_closed_after_the_keepalive_timeout(hasty: Gateway, backend: Backend) -> None:
    with hasty.client() as client:
        assert client.ask(request("GET", backend.serve(reply()))).status == 200
        with elapsed() as taken:
            assert client.hung_up()
    assert KEEPALIVE - 0.1 <= taken.seconds <= KEEPALIVE + LATE
