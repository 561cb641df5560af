"""How long an upstream is waited for: places, connections, heads, bodies, each with its code (contract)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from .harness import Backend, Gateway, Peer, assert_problem, chunked, elapsed, eventually, reply, request
from .hasty import IDLE, LATE, MEDIUM, MIB, SHORT, STREAM_IDLE


def silent(peer: Peer) -> None:
    """Take the request and say nothing until the gateway leaves."""
    peer.read_body()
    peer.left()
    peer.close()


@pytest.mark.parametrize(("under", "tier"), [("/b", SHORT), ("/own", 1.5), ("/medium", MEDIUM)])
def test_a_head_that_does_not_come_is_504_after_the_routes_tier(
    hasty: Gateway, backend: Backend, under: str, tier: float
) -> None:
    path = backend.serve(silent, under)
    with elapsed() as taken:
        assert_problem(hasty.send("POST", path, body=b"abc"), "upstream_timeout")
    assert tier - 0.05 <= taken.seconds <= tier + LATE
    eventually(lambda: backend.one(path).connection.closed, "the upstream's connection is closed")


def test_the_tier_counts_from_the_requests_last_byte(hasty: Gateway, backend: Backend) -> None:
    path, quiet = backend.serve(reply(200, b"ok")), backend.serve(silent)
    for target, status in ((path, 200), (quiet, 504)):
        with hasty.client() as client:
            client.send(request("POST", target, f"Content-Length: {100_000 * 5}"))
            for _ in range(5):
                assert client.silent(0.25)
                client.sock.sendall(bytes(100_000))
            with elapsed() as taken:
                assert client.read().status == status
            assert status == 200 or taken.seconds >= SHORT - 0.05


def test_interim_answers_do_not_stand_for_a_head(hasty: Gateway, backend: Backend) -> None:
    def hinting(peer: Peer) -> None:
        for _ in range(60):
            peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            time.sleep(0.1)

    with elapsed() as taken:
        assert_problem(hasty.get(backend.serve(hinting)), "upstream_timeout")
    assert taken.seconds <= SHORT + LATE


def test_a_full_pool_is_503_after_the_acquire_timeout(hasty: Gateway, backend: Backend) -> None:
    path = backend.serve(silent, "/narrow")
    with hasty.client() as holder:
        holder.send(request("GET", path))
        backend.wait_for(path)
        with elapsed() as taken:
            document = assert_problem(hasty.get(path), "upstream_pool_exhausted")
        assert 0.35 <= taken.seconds <= 0.4 + LATE
        assert document["retryable"]
    assert len(backend.seen(path)) == 1


def test_a_full_queue_is_503_at_once(hasty: Gateway, backend: Backend) -> None:
    go_on = threading.Event()

    def waiting(peer: Peer) -> None:
        peer.wait(go_on)
        peer.send(reply(200, b"ok"))

    path = backend.serve(waiting, "/full")
    with hasty.client() as holder, hasty.client() as queued, hasty.client() as probe:
        holder.send(request("GET", path))
        backend.wait_for(path)
        queued.send(request("GET", path))
        assert queued.silent(0.2)
        with elapsed() as taken:
            assert_problem(probe.ask(request("GET", path)), "upstream_pool_exhausted")
        assert taken.seconds < LATE
        go_on.set()
        assert [holder.read().data, queued.read().data] == [b"ok", b"ok"]


def test_a_connection_that_cannot_be_made_is_503_after_the_connect_timeout(hasty: Gateway) -> None:
    with elapsed() as taken:
        assert_problem(hasty.get("/deaf/x"), "upstream_unreachable")
    assert 0.45 <= taken.seconds <= 1.0 + LATE


def pausing(head: str, pause: float) -> Callable[[Peer], None]:
    """An answer in chunks with a pause in it."""

    def answer(peer: Peer) -> None:
        peer.send(f"HTTP/1.1 200 OK\r\n{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".encode())
        time.sleep(pause)
        peer.send(chunked(b"world"))

    return answer


SSE = "Content-Type: text/event-stream\r\n"
PAUSES = {
    "longer than the idle time": ("/b", "", IDLE + LATE, IDLE),
    "longer than the tier, which is longer": ("/medium", "", MEDIUM + LATE, MEDIUM),
    "an event stream's, longer than its idle time": ("/b", SSE, STREAM_IDLE + LATE, STREAM_IDLE),
    "shorter than the idle time": ("/b", "", IDLE * 0.6, None),
    "longer than the idle time, shorter than the tier": ("/medium", "", IDLE + 0.6, None),
    "an event stream's, shorter than its idle time": ("/b", SSE, IDLE + 0.6, None),
}


@pytest.mark.parametrize(("under", "head", "pause", "cut_after"), PAUSES.values(), ids=PAUSES)
def test_an_upstream_silent_in_the_middle_of_an_answer(
    hasty: Gateway, backend: Backend, under: str, head: str, pause: float, cut_after: float | None
) -> None:
    path = backend.serve(pausing(head, pause), under)
    with hasty.client() as client, elapsed() as taken:
        answer = client.ask(request("GET", path))
    assert answer.body.complete == (cut_after is None)
    if cut_after is not None:
        assert cut_after - 0.1 <= taken.seconds < pause


def test_an_upstream_that_stops_reading_an_upload_is_504(hasty: Gateway, backend: Backend) -> None:
    left = threading.Event()

    def deaf(peer: Peer) -> None:
        peer.wait(left)
        peer.close()

    path = backend.serve(deaf, "/medium")
    with hasty.client() as client:
        client.send(request("POST", path, f"Content-Length: {256 * MIB}"))
        pusher = threading.Thread(target=client.push, args=(bytes(256 * MIB),))
        pusher.start()
        with elapsed() as taken:
            assert_problem(client.read(), "upstream_timeout")
        left.set()
        pusher.join()
    assert IDLE - 0.05 <= taken.seconds <= MEDIUM + LATE
