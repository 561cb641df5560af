"""Answers that come before an upload ended, and uploads that end too soon."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import pytest

from .harness import Backend, Client, Cut, Gateway, Peer, Response, assert_problem, chunked, eventually, reply, request

MIB = 1 << 20
UPLOAD = 100 * MIB


def stop_reading(peer: Peer, said: bytes) -> None:
    """Answer the head and close, as servers do that want no more."""
    peer.send(said)
    peer.left()
    peer.close()


def keep_reading(peer: Peer, said: bytes) -> None:
    """Answer the head, then take what still comes."""
    peer.send(said)
    peer.read_body()
    peer.close()


def close_at_once(peer: Peer, said: bytes) -> None:
    """Answer the head and close with unread bytes, which makes a RST of it."""
    peer.send(said)
    peer.half_close()
    peer.left()
    peer.close()


MANNERS = {"stops reading": stop_reading, "keeps reading": keep_reading, "closes": close_at_once}


def attentive(client: Client) -> Response:
    """Upload until an answer shows, as a good client does."""
    piece = bytes(MIB)
    for _ in range(UPLOAD // MIB):
        if not client.silent(0) or not client.push(piece):
            break
    return client.read()


def heedless(client: Client) -> Response:
    """Upload to the end or to an error, and only then read."""
    piece = bytes(MIB)
    for _ in range(UPLOAD // MIB):
        if not client.push(piece):
            break
    return client.read()


CLIENTS = {"an attentive client": attentive, "a heedless client": heedless}


@pytest.mark.parametrize("upload", CLIENTS.values(), ids=CLIENTS)
@pytest.mark.parametrize("manner", MANNERS.values(), ids=MANNERS)
@pytest.mark.parametrize("status", [413, 401, 200])
def test_an_early_answer_is_read_during_the_upload(
    gateway: Gateway,
    backend: Backend,
    status: int,
    manner: Callable[[Peer, bytes], None],
    upload: Callable[[Client], Response],
) -> None:
    said = reply(status, b'{"detail":"early"}', "Connection: close")
    path = backend.serve(lambda peer: manner(peer, said), under="/large")
    with gateway.client() as client:
        client.send(request("POST", path, f"Content-Length: {UPLOAD}"))
        answer = upload(client)
    assert (answer.status, answer.data) == (status, b'{"detail":"early"}')
    assert gateway.get(backend.serve(reply(200, b"ok"))).data == b"ok"


def test_an_early_answer_comes_while_the_client_pauses(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(lambda peer: keep_reading(peer, reply(403, b'{"detail":"no"}')), under="/large")
    with gateway.client() as client:
        client.send(request("POST", path, f"Content-Length: {UPLOAD}") + bytes(MIB))
        assert client.read().status == 403
    assert not backend.wait_for(path).body.complete


def test_an_early_answer_to_a_whole_upload_leaves_everything_usable(gateway: Gateway, backend: Backend) -> None:
    answered = threading.Event()

    def early(peer: Peer) -> None:
        peer.send(reply(200, b"early"))
        answered.set()
        peer.read_body()

    path = backend.serve(early, under="/large")
    with gateway.client() as client:
        client.send(request("POST", path, f"Content-Length: {MIB}") + bytes(MIB // 2))
        assert answered.wait(30)
        client.push(bytes(MIB // 2))
        assert client.read().data == b"early"
    assert gateway.get(backend.serve(reply(200, b"after"))).data == b"after"


def test_an_early_answer_to_a_client_that_sends_on_in_good_faith_arrives_whole(
    gateway: Gateway, backend: Backend
) -> None:
    answered = threading.Event()

    def early(peer: Peer) -> None:
        peer.send(reply(200, b"k" * 60_000))
        answered.set()
        peer.left()
        peer.close()

    path = backend.serve(early, under="/large")
    for _ in range(5):
        answered.clear()
        with gateway.client(window=16_384) as client:
            client.send(request("POST", path, f"Content-Length: {30 * 100_000}") + bytes(100_000))
            assert answered.wait(30)
            assert all(client.push(bytes(100_000)) for _ in range(29)), "the upload was cut off"
            assert client.read().data == b"k" * 60_000
    assert "never retrieved" not in gateway.output


@pytest.mark.parametrize("size", [2, 60_000])
def test_an_answer_is_not_lost_to_bytes_behind_an_upload_in_chunks(
    gateway: Gateway, backend: Backend, size: int
) -> None:
    """They are never read as a request, and a close with bytes unread would be a reset."""
    path, behind = backend.serve(reply(200, b"k" * size)), backend.serve(reply(), under="/large")
    upload = request("POST", path, "Transfer-Encoding: chunked") + chunked(b"hello")
    for _ in range(10):
        with gateway.client(window=16_384) as client:
            client.push(upload + request("POST", behind, f"Content-Length: {MIB}") + bytes(MIB))
            answer = client.read()
            assert (answer.data, answer.value("connection")) == (b"k" * size, "close")
            assert client.hung_up()
    assert not backend.seen(behind)


ENDS: dict[str, Callable[[Peer], None]] = {"closes": Peer.close, "resets": Peer.reset}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_an_upstream_that_ends_mid_upload_is_a_bad_response(
    gateway: Gateway, backend: Backend, end: Callable[[Peer], None]
) -> None:
    path = backend.serve(end, under="/large")
    with gateway.client() as client:
        client.send(request("POST", path, f"Content-Length: {UPLOAD}"))
        assert_problem(attentive(client), "upstream_bad_response")
    assert len(backend.seen(path)) == 1


def test_a_body_over_the_limit_by_its_length_is_413_at_once(gateway: Gateway, backend: Backend) -> None:
    for under, limit in (("/tiny", 1 << 10), ("/limited", 256 << 10), ("/b", 1 << 20)):
        path = backend.serve(reply(), under)
        assert_problem(gateway.ask(request("POST", path, f"Content-Length: {limit + 1}")), "body_too_large")
        assert not backend.seen(path)


@pytest.mark.parametrize(("under", "limit"), [("/tiny", 1 << 10), ("/limited", 256 << 10)])
def test_a_body_of_just_the_limit_passes(gateway: Gateway, backend: Backend, under: str, limit: int) -> None:
    path = backend.serve(reply(), under)
    assert gateway.send("POST", path, body=bytes(limit)).status == 200
    head = request("POST", path, "Transfer-Encoding: chunked")
    assert gateway.ask(head + chunked(bytes(limit - 1), b"x")).status == 200
    assert [seen.body.count for seen in backend.seen(path)] == [limit, limit]


def test_small_chunks_over_the_limit_are_413_and_go_nowhere(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(), "/tiny")
    head = request("POST", path, "Transfer-Encoding: chunked")
    assert_problem(gateway.ask(head + chunked(*[b"x" * 100] * 11)), "body_too_large")
    assert not backend.seen(path)


def test_chunks_over_the_limit_are_413_mid_stream_and_the_upstreams_request_is_aborted(
    gateway: Gateway, backend: Backend
) -> None:
    path = backend.serve(reply(), "/limited")
    with gateway.client() as client:
        client.send(request("POST", path, "Transfer-Encoding: chunked"))
        for _ in range(40):
            if not client.push(b"4000\r\n" + bytes(0x4000) + b"\r\n"):
                break
        assert_problem(client.read(), "body_too_large")
    bodies = [seen.body for seen in backend.seen(path)]
    eventually(
        lambda: all(seen.connection.closed for seen in backend.seen(path)), "the upstream's connection is closed"
    )
    assert all(not body.complete and body.count <= 256 << 10 for body in bodies)


def test_a_client_that_reads_late_still_gets_its_413(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(), "/limited")
    with gateway.client() as client:
        client.send(request("POST", path, f"Content-Length: {4 * MIB}"))
        client.push(bytes(4 * MIB))
        assert_problem(client.read(), "body_too_large")


BROKEN = {"no size": b"hello\r\n", "a negative size": b"-1\r\n\r\n", "running on": b"2\r\nabcdef\r\n0\r\n\r\n"}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_broken_chunks_are_400_or_a_cut_and_never_a_whole_request(
    gateway: Gateway, backend: Backend, broken: bytes
) -> None:
    path = backend.serve(reply(), "/large")
    with gateway.client() as client:
        client.send(request("POST", path, "Transfer-Encoding: chunked") + chunked(bytes(100_000), end=b"") + broken)
        try:
            assert client.read().status == 400
        except Cut:
            assert client.hung_up()
    assert not any(seen.body.complete for seen in backend.seen(path))


def test_an_answer_that_is_reset_while_the_request_is_still_sent_is_never_complete(
    gateway: Gateway, backend: Backend
) -> None:
    """Whoever writes may be told of the reset, and who reads finds nothing but an end."""

    def resetting(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf of it")
        time.sleep(0.05)  # until the upload stands still, for nobody reads it
        peer.reset()

    path = backend.serve(resetting, under="/large")
    for _ in range(10):
        with gateway.client() as client:
            client.push(request("POST", path, "Content-Length: 100000000") + bytes(12 << 20))
            with contextlib.suppress(Cut):
                assert not client.read().body.complete
