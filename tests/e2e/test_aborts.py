"""Sides that leave: a client's leaving reaches the upstream, an upstream's death reaches the client."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from .harness import Backend, Client, Cut, Gateway, Peer, assert_problem, eventually, reply, request

MIB = 1 << 20
BOUND = 0.5
"""Seconds; the promise is 0.1, the rest is for a busy machine."""

WAYS: dict[str, Callable[[Client], None]] = {"closes": Client.leave, "resets": Client.reset}
START = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"


class Watch:
    """An answer that sends `first` and then notes when the gateway hung up."""

    def __init__(self, first: bytes = b"") -> None:
        self.first = first
        self.left_at: float | None = None

    def __call__(self, peer: Peer) -> None:
        if self.first:
            peer.send(self.first)
        self.left_at = peer.left()
        peer.close()

    def assert_left_soon_after(self, moment: float, what: str) -> None:
        """Assert that the gateway hung up within the bound after `moment`; prints how long it took."""
        eventually(lambda: self.left_at, f"{what}: the upstream's connection is closed")
        assert self.left_at is not None
        print(f"{what}: the upstream's connection was closed {(self.left_at - moment) * 1000:.1f} ms later")
        assert self.left_at - moment < BOUND


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_client_that_leaves_before_the_first_byte_ends_the_exchange(
    gateway: Gateway, backend: Backend, way: Callable[[Client], None]
) -> None:
    path = backend.serve(watch := Watch())
    with gateway.client() as client:
        client.send(request("POST", path, body=b"abc"))
        backend.wait_for(path)
        moment = time.monotonic()
        way(client)
    watch.assert_left_soon_after(moment, "before the first byte")


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("kind", ["", "Content-Type: text/event-stream\r\n"], ids=["a body", "an event stream"])
def test_a_client_that_leaves_mid_stream_ends_the_exchange(
    gateway: Gateway, backend: Backend, way: Callable[[Client], None], kind: str
) -> None:
    path = backend.serve(watch := Watch(START.replace(b"OK\r\n", b"OK\r\n" + kind.encode())))
    with gateway.client() as client:
        client.send(request("GET", path))
        assert client.head().start.startswith(b"HTTP/1.1 200")
        moment = time.monotonic()
        way(client)
    watch.assert_left_soon_after(moment, "mid-stream")


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_client_that_leaves_mid_upload_ends_the_exchange(
    gateway: Gateway, backend: Backend, way: Callable[[Client], None]
) -> None:
    path = backend.serve(watch := Watch(), under="/large")
    with gateway.client() as client:
        client.send(request("POST", path, f"Content-Length: {10 * MIB}") + bytes(MIB))
        backend.wait_for(path)
        moment = time.monotonic()
        way(client)
    watch.assert_left_soon_after(moment, "mid-upload")


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_client_that_leaves_while_nothing_is_read_from_it_ends_the_exchange(
    gateway: Gateway, backend: Backend, way: Callable[[Client], None]
) -> None:
    """Its next request has more body than is kept ready, so reading pauses until the first one is answered."""
    path = backend.serve(watch := Watch())
    with gateway.client() as client:
        client.send(request("GET", path) + request("POST", "/large/x", f"Content-Length: {MIB}") + bytes(250_000))
        backend.wait_for(path)
        assert client.silent(0.2)
        moment = time.monotonic()
        way(client)
    watch.assert_left_soon_after(moment, "while reading is paused")


def test_a_chunked_upload_that_is_left_is_never_completed(gateway: Gateway, backend: Backend) -> None:
    ended = threading.Event()

    def reading(peer: Peer) -> None:
        peer.read_body()
        ended.set()
        peer.close()

    path = backend.serve(reading, under="/large")
    with gateway.client() as client:
        client.send(request("POST", path, "Transfer-Encoding: chunked") + b"100000\r\n" + bytes(MIB) + b"\r\n")
        backend.wait_for(path)
    assert ended.wait(30)
    assert not backend.one(path).body.complete


def test_a_client_that_leaves_an_endless_download_ends_it(gateway: Gateway, backend: Backend) -> None:
    ended: list[float] = []

    def endless(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                peer.send(bytes(MIB))
        finally:
            ended.append(time.monotonic())

    with gateway.client() as client:
        client.send(request("GET", backend.serve(endless)))
        client.head()
        moment = time.monotonic()
        client.reset()
    eventually(lambda: ended, "the download ends")
    assert ended[0] - moment < BOUND * 2


def test_a_client_that_leaves_harms_no_one_else(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(Watch())
    after = backend.serve(reply(200, b"ok"))
    for _ in range(20):
        with gateway.client() as client:
            client.send(request("GET", path))
    assert [gateway.get(after).data for _ in range(5)] == [b"ok"] * 5


DEATHS = {
    "a length cut short": (b"Content-Length: 1000\r\n\r\nhello", Peer.close),
    "a length cut short by a reset": (b"Content-Length: 1000\r\n\r\nhello", Peer.reset),
    "cut within a chunk": (b"Transfer-Encoding: chunked\r\n\r\n20\r\nhello", Peer.close),
    "cut between chunks": (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", Peer.close),
    "cut between chunks by a reset": (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", Peer.reset),
    "cut within the last chunk's end": (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", Peer.close),
    "a body to the end reset": (b"\r\nhello", Peer.reset),
}


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize(("rest", "die"), DEATHS.values(), ids=DEATHS)
def test_an_upstream_that_dies_mid_body_cuts_the_client_off(
    gateway: Gateway, backend: Backend, rest: bytes, die: Callable[[Peer], None], version: str
) -> None:
    head_read = threading.Event()

    def dying(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\n" + rest)
        peer.wait(head_read)
        die(peer)

    with gateway.client() as client:
        client.send(f"GET {backend.serve(dying)} HTTP/{version}\r\nHost: a\r\n\r\n".encode())
        head = client.head()
        head_read.set()
        body = client.body_of(head)
        assert not body.complete
        assert body.data in (b"hello", b"")
    assert gateway.get(backend.serve(reply(200, b"ok"))).data == b"ok"


@pytest.mark.parametrize("said", [False, True], ids=["cut off", "said to end"])
def test_a_body_that_ends_with_its_connection_is_whole_only_if_tls_says_so(
    gateway: Gateway, tls_backend: Backend, said: bool
) -> None:
    """Whoever stands between us and the service can end the TCP beneath it (RFC 9112 section 9.8)."""
    head_read = threading.Event()

    def ending(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        peer.wait(head_read)
        if said:
            peer.end_tls()
        peer.close()

    with gateway.client() as client:
        client.send(request("GET", tls_backend.serve(ending, "/trusted")))
        head = client.head()
        head_read.set()
        body = client.body_of(head)
        assert (body.complete, body.data) == (said, b"hello")


@pytest.mark.parametrize(("rest", "die"), DEATHS.values(), ids=DEATHS)
def test_an_upstream_that_dies_at_once_never_makes_a_whole_answer(
    gateway: Gateway, backend: Backend, rest: bytes, die: Callable[[Peer], None]
) -> None:
    def dying(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\n" + rest)
        die(peer)

    with gateway.client() as client:
        try:
            answer = client.ask(request("GET", backend.serve(dying)))
        except Cut:
            return
        if answer.status != 200:
            assert_problem(answer, "upstream_bad_response")
        else:
            assert not answer.body.complete
