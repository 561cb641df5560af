"""Event streams through the running program: comments at silence, ends, places in the pool; and what is none of it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from .harness import (
    Backend,
    Body,
    Client,
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
from .harness.wire import framing_of

ROUTES = """
upstream = "main"
auth = "public"
rate_limit = "off"
[[route]]
path = "/b/{rest:path}"
timeout = 0.2
[[route]]
path = "/quiet/{rest:path}"
sse_keepalive = 0
[[route]]
path = "/kept/{rest:path}"
cache = 300
[[route]]
path = "/few/{rest:path}"
upstream = "few"
"""
COMMENT = b": keep-alive\n\n"
EVENTS = "Content-Type: text/event-stream"
CODED = "Transfer-Encoding: chunked"
FIRST, LAST = b"data: 1\n\n", b"data: 2\n\n"
GZIP = "Accept-Encoding: gzip, br, zstd"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> Iterator[Gateway]:
    """A gateway that fills silence soon."""
    upstreams = f'main = {{ url = "{backend.url}" }}\nfew = {{ url = "{backend.url}" }}\n'
    config = write_table(tmp_path_factory.mktemp("events") / "config", upstreams, ROUTES)
    with running(
        config,
        GATEWAY_SSE_KEEPALIVE="0.2",
        GATEWAY_POOL_FEW_MAX_STREAMS="2",
        GATEWAY_POOL_FEW_MAX_CONNECTIONS="1",
        GATEWAY_POOL_FEW_ACQUIRE_TIMEOUT="5",
        GATEWAY_COMPRESS_MIN_SIZE="1",
    ) as running_gateway:
        yield running_gateway


class Telling:
    """An answer that says `first`, and once it is let go on, the `last`."""

    def __init__(self, *fields: str, first: bytes = FIRST, last: bytes = LAST) -> None:
        self.head = "\r\n".join(["HTTP/1.1 200 OK", *fields, "", ""]).encode()
        self.coded = CODED in fields
        self.first, self.last = first, last
        self.go_on = threading.Event()

    def __call__(self, peer: Peer) -> None:
        if peer.request.method == "HEAD":
            peer.send(self.head)
            return
        peer.send(self.head + (chunked(self.first, end=b"") if self.coded and self.first else self.first))
        peer.wait(self.go_on)
        with contextlib.suppress(OSError):
            peer.send(chunked(self.last) if self.coded else self.last)
        peer.close()


@dataclass
class Case:
    """One answer, and whether its silence is filled."""

    fields: tuple[str, ...]
    filled: bool
    under: str = "/b"
    first: bytes = FIRST
    last: bytes = LAST
    version: str = "1.1"
    method: str = "GET"


CASES = {
    "in chunks": Case((EVENTS, CODED), filled=True),
    "to the end": Case((EVENTS,), filled=True),
    "with parameters": Case(("content-type: Text/Event-Stream ; charset=utf-8", CODED), filled=True),
    "before its first event": Case((EVENTS, CODED), filled=True, first=b""),
    "to HTTP/1.0": Case((EVENTS, CODED), filled=True, version="1.0"),
    "on a route with a cache": Case((EVENTS, CODED), filled=True, under="/kept"),
    "within an event": Case((EVENTS, CODED), filled=False, first=FIRST + b"data: ", last=b"2\n\n"),
    "between CR and LF": Case((EVENTS, CODED), filled=False, first=b"data: 1\r\n\r", last=b"\ndata: 2\r\n\r\n"),
    "of a length": Case((EVENTS, f"Content-Length: {len(FIRST + LAST)}"), filled=False),
    "encoded": Case((EVENTS, CODED, "Content-Encoding: x"), filled=False),
    "of another type": Case(("Content-Type: application/x-ndjson", CODED), filled=False, first=b"{}\n\n"),
    "of no type": Case((CODED,), filled=False),
    "on a route where that is off": Case((EVENTS, CODED), filled=False, under="/quiet"),
    "to HEAD": Case((EVENTS, CODED), filled=False, first=b"", last=b"", method="HEAD"),
}


class Open:
    """An answer that is being read."""

    def __init__(self, client: Client, case: Case, path: str) -> None:
        version = f"HTTP/{case.version}".encode()
        client.send(request(case.method, path, GZIP).replace(b"HTTP/1.1", version))
        self.head = client.head()
        framing, length = framing_of(self.head)
        self.body = Body("close" if framing == "none" else framing)
        self._thread = threading.Thread(target=client.wire.body, args=(self.body.framing, length, self.body))
        if case.method != "HEAD":
            self._thread.start()
            eventually(lambda: case.first in self.body.data, f"what is said at first arrives: {case}")

    @property
    def comments(self) -> int:
        """How many came."""
        return self.body.data.count(COMMENT)

    def end(self) -> bytes:
        """The whole body."""
        if self._thread.ident is not None:
            self._thread.join(30)
            assert self.body.complete
        return self.body.data


def test_silence_of_event_streams_is_filled_between_two_events_and_nothing_else_is(
    gateway: Gateway, backend: Backend
) -> None:
    """All stand still at the same time, until those that are filled were so twice more after the others were begun."""
    with contextlib.ExitStack() as stack:
        opened: list[tuple[str, Case, Telling, Open]] = []
        for name, case in sorted(CASES.items(), key=lambda found: found[1].filled):
            telling = Telling(*case.fields, first=case.first, last=case.last)
            client = stack.enter_context(gateway.client())
            opened.append((name, case, telling, Open(client, case, backend.serve(telling, case.under))))
        for name, case, _, answer in opened:
            if case.filled:
                eventually(lambda answer=answer: answer.comments > 1, f"comments come: {name}")  # type: ignore[misc]
        for name, case, telling, answer in opened:
            telling.go_on.set()
            data = answer.end()
            assert bool(data.count(COMMENT)) == case.filled, name
            if case.filled:
                assert data.startswith(case.first + COMMENT), name
            assert data.replace(COMMENT, b"") == case.first + case.last, name
            assert answer.head.value("content-encoding") in (None, "x"), name


def test_an_event_stream_is_never_stored_and_shared_with_nobody(gateway: Gateway, backend: Backend) -> None:
    whole = backend.serve(reply(200, FIRST, kind="text/event-stream"), "/kept")
    assert [gateway.get(whole).data for _ in range(3)] == [FIRST] * 3
    assert len(backend.seen(whole)) == 3
    path = backend.serve(telling := Telling(EVENTS, CODED), "/kept")
    with gateway.client() as one, gateway.client() as other:
        for client in (one, other):
            client.send(request("GET", path))
        backend.wait_for(path, 2)
        telling.go_on.set()
        assert all(client.read().data.replace(COMMENT, b"") == FIRST + LAST for client in (one, other))


def test_where_a_client_left_off_is_told_to_the_upstream(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, FIRST, kind="text/event-stream"))
    assert gateway.get(path, "Last-Event-ID: 41 \xe4", "Accept: text/event-stream").data == FIRST
    assert backend.one(path).value("last-event-id") == "41 \xe4"


def test_streams_have_places_of_their_own(gateway: Gateway, backend: Backend) -> None:
    """Of one connection for requests and two for streams."""
    path = backend.serve(telling := Telling(EVENTS, CODED), "/few")
    with gateway.client() as one, gateway.client() as other:
        for client in (one, other):
            client.send(request("GET", path))
            assert b" 200 " in client.head().start
        refused = gateway.get(path)
        assert_problem(refused, "upstream_pool_exhausted")
        assert refused.value("retry-after") is not None
        assert gateway.get(backend.serve(reply(200, b"ok"), "/few")).data == b"ok"
        one.leave()
        with gateway.client() as next_one:
            eventually(partial(admitted, next_one, path), "the place is free again")
        telling.go_on.set()


def admitted(client: Client, path: str) -> bool:
    """Whether a stream begins; a refusal leaves the connection as it was."""
    client.send(request("GET", path))
    head = client.head()
    if b" 200 " in head.start:
        return True
    client.body_of(head)
    return False


def cut_by_reset(peer: Peer) -> None:
    peer.reset()


def cut_in_order(peer: Peer) -> None:
    peer.close()


def cut_by_nonsense(peer: Peer) -> None:
    peer.send(b"this is no chunk\r\n")
    peer.left()


WAYS = {"a reset": cut_by_reset, "an end before the last chunk": cut_in_order, "a broken chunk": cut_by_nonsense}
PLACES = {"between two events": (FIRST, True), "before the first": (b"", True), "within one": (FIRST + b"data", False)}


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(("first", "between"), PLACES.values(), ids=PLACES)
def test_an_upstream_that_dies_ends_a_stream_in_order_between_events_and_cuts_it_within(
    gateway: Gateway, backend: Backend, way: Callable[[Peer], None], first: bytes, between: bool, version: str
) -> None:
    def dying(peer: Peer) -> None:
        peer.send(Telling(EVENTS, CODED).head + (chunked(first, end=b"") if first else b""))
        peer.wait(arrived)
        way(peer)

    arrived = threading.Event()
    path = backend.serve(dying, "/quiet")
    with gateway.client() as client:
        client.send(request("GET", path, "X-Request-ID: mine").replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
        head = client.head()
        arrived.set()
        body = client.body_of(head)
        assert body.complete == between
        if between:
            kind, _, data = body.data.removeprefix(first).partition(b"\n")
            problem = json.loads(data.removeprefix(b"data: "))
            assert (kind, data[-2:]) == (b"event: error", b"\n\n")
            assert (problem["code"], problem["request_id"]) == ("upstream_bad_response", "mine")
        assert client.hung_up()
