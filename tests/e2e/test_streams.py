"""Streams: what is written on one side shows on the other at once, and what nobody reads is held back."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from .harness import Backend, Body, Client, Gateway, Peer, chunked, eventually, reply, request

MIB = 1 << 20
EVENTS = 5
KINDS = {
    "event stream in chunks": "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n",
    "event stream to the end": "Content-Type: text/event-stream\r\n",
    "text in chunks": "Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n",
    "text of a length": f"Content-Type: text/plain\r\nContent-Length: {EVENTS * 12}\r\n",
}


def at_least(found: list[float], count: int) -> bool:
    """Whether so many were noted."""
    return len(found) >= count


def has_come(body: Body, count: int) -> bool:
    """Whether so many bytes of a body came."""
    return body.count >= count


def collect(client: Client, arrived: list[float], count: int) -> bytes:
    """Read an answer's raw bytes until `count` events came; notes when each did."""
    got = b""
    while len(arrived) < count:
        got += client.sock.recv(1 << 16)
        arrived.extend([time.monotonic()] * (got.count(b"\n\n") - len(arrived)))
    return got


@pytest.mark.parametrize("fields", KINDS.values(), ids=KINDS)
def test_events_arrive_one_by_one(gateway: Gateway, backend: Backend, fields: str) -> None:
    """Each is written only after the one before it arrived, 50 ms later."""
    written: list[float] = []
    arrived: list[float] = []

    def telling(peer: Peer) -> None:
        peer.send(f"HTTP/1.1 200 OK\r\n{fields}\r\n".encode())
        for number in range(EVENTS):
            eventually(partial(at_least, arrived, number), f"event {number} arrived")
            time.sleep(0.05)
            written.append(time.monotonic())
            event = b"data: %04d\n\n" % number
            peer.send(chunked(event, end=b"") if "chunked" in fields else event)
        if "chunked" in fields:
            peer.send(chunked())
        elif "Length" not in fields:
            peer.close()

    with gateway.client() as client:
        client.send(request("GET", backend.serve(telling)))
        collect(client, arrived, EVENTS)
    lags = [then - before for before, then in zip(written, arrived, strict=True)]
    print("events arrived after", [f"{lag * 1000:.1f} ms" for lag in lags])
    assert max(lags) < 0.25


def test_the_head_of_a_stream_comes_before_its_first_event(gateway: Gateway, backend: Backend) -> None:
    go_on = threading.Event()

    def slow_to_begin(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        peer.wait(go_on)
        peer.send(chunked(b"data: 1\n\n"))

    with gateway.client() as client:
        client.send(request("GET", backend.serve(slow_to_begin)))
        head = client.head()
        go_on.set()
        assert client.body_of(head).data == b"data: 1\n\n"


@pytest.mark.parametrize("coded", [False, True], ids=["length", "chunks"])
def test_a_large_upload_arrives_piece_by_piece(gateway: Gateway, backend: Backend, coded: bool) -> None:
    path = backend.serve(reply(200, b"ok"), under="/large")
    piece, total = bytes(128 << 10), 1 << 20
    fields = "Transfer-Encoding: chunked" if coded else f"Content-Length: {total}"
    with gateway.client() as client:
        client.send(request("POST", path, fields))
        for number in range(1, total // len(piece) + 1):
            client.sock.sendall(chunked(piece, end=b"") if coded else piece)
            seen = backend.wait_for(path)
            eventually(partial(has_come, seen.body, number * len(piece)), f"piece {number}")
        if coded:
            client.sock.sendall(chunked())
        assert client.read().data == b"ok"
    assert backend.one(path).body.count == total


def test_a_client_that_does_not_read_holds_the_upstream_back(gateway: Gateway, backend: Backend) -> None:
    sent = [0]

    def pouring(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (256 * MIB))
        for _ in range(256):
            peer.send(bytes(MIB))
            sent[0] += MIB

    path = backend.serve(pouring)
    with gateway.client(window=64 << 10) as client:
        client.send(request("GET", path))
        client.head()
        steady(lambda: sent[0])
        print(f"{sent[0] / MIB:.0f} MiB taken from the upstream for a client that doesn't read")
        assert sent[0] <= most_on_the_way()


def test_an_upstream_that_does_not_read_holds_the_client_back(gateway: Gateway, backend: Backend) -> None:
    let_go, pushed = threading.Event(), [0]

    def deaf(peer: Peer) -> None:
        peer.wait(let_go)
        peer.close()

    path = backend.serve(deaf, under="/large")

    def push(client: Client) -> None:
        with contextlib.suppress(OSError):
            for _ in range(256):
                client.sock.sendall(bytes(MIB))
                pushed[0] += MIB

    with gateway.client() as client:
        client.send(request("POST", path, f"Content-Length: {256 * MIB}"))
        pusher = threading.Thread(target=push, args=(client,))
        pusher.start()
        backend.wait_for(path)
        steady(lambda: pushed[0])
        print(f"{pushed[0] / MIB:.0f} MiB taken from the client for an upstream that doesn't read")
        assert pushed[0] <= most_on_the_way()
        let_go.set()
        pusher.join()


def most_on_the_way() -> int:
    """Bytes: what the kernel may come to hold for two connections, each end's in both directions, and 8 MiB."""
    largest = [Path(f"/proc/sys/net/ipv4/tcp_{kind}").read_text().split()[2] for kind in ("rmem", "wmem")]
    held = 2 * sum(map(int, largest))
    assert held <= 100 * MIB, "more than half of what is sent would tell nothing"
    return held + 8 * MIB


def steady(figure: Callable[[], int], pause: float = 0.4) -> None:
    """Wait until a growing figure stood still for `pause` seconds, and is not 0."""
    last, since = figure(), time.monotonic()

    def stands() -> bool:
        nonlocal last, since
        if figure() != last:
            last, since = figure(), time.monotonic()
        return last > 0 and time.monotonic() - since > pause

    eventually(stands, "the flow comes to a stop", within=20.0)
