"""Kept-alive upstream connections that turn out to be dead: what is sent again, what never is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from .harness import Backend, Gateway, Peer, assert_problem, chunked, eventually, reply, request

Death = Callable[[Peer], None]
DEATHS: dict[str, Death] = {"closes": Peer.close, "resets": Peer.reset}
MIB = 1 << 20


class Stale:
    """An answer that takes the connection of its first request down with the next request on it."""

    def __init__(self, die: Death, every_time: bool = False) -> None:
        self.die, self.every_time = die, every_time
        self.first: int | None = None

    def __call__(self, peer: Peer) -> None:
        number = peer.request.connection.number
        if self.first is None:
            self.first = number
        elif self.every_time or self.first == number:
            peer.read_body()
            self.die(peer)
            return
        peer.read_body()
        peer.send(reply(200, b"fresh"))


@pytest.fixture
def primed(gateway: Gateway, lonely: Backend) -> Iterator[Callable[..., str]]:
    """Makes a path whose first request is answered, so that the gateway keeps that connection to be stale later."""

    def prime(die: Death, under: str = "/lonely", every_time: bool = False) -> str:
        path = lonely.serve(Stale(die, every_time), under)
        assert gateway.get(path).data == b"fresh"
        return path

    yield prime
    eventually(lambda: len(lonely.open_now()) <= 1, "no connection is left open")


@pytest.mark.parametrize("die", DEATHS.values(), ids=DEATHS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_an_idempotent_request_on_a_stale_connection_is_sent_again_unseen(
    gateway: Gateway, lonely: Backend, primed: Callable[..., str], method: str, die: Death
) -> None:
    path = primed(die)
    answer = gateway.send(method, path, "X-Tag: a", "X-Tag: b", body=b"abc")
    assert (answer.status, answer.data) == (200, b"fresh")
    _, stale, again = lonely.seen(path)
    assert stale.connection.number != again.connection.number
    assert again.body.data == b"abc"
    assert [line for line in again.head.lines if b"traceparent" not in line.lower()] == [
        line for line in stale.head.lines if b"traceparent" not in line.lower()
    ]


@pytest.mark.parametrize("die", DEATHS.values(), ids=DEATHS)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_any_other_request_on_a_stale_connection_is_502_and_never_sent_twice(
    gateway: Gateway, lonely: Backend, primed: Callable[..., str], method: str, die: Death
) -> None:
    path = primed(die)
    assert_problem(gateway.send(method, path, body=b"abc"), "upstream_bad_response")
    assert len(lonely.seen(path)) == 2
    assert gateway.send(method, path, body=b"abc").data == b"fresh"


def test_a_stale_connection_is_retried_once_only(gateway: Gateway, lonely: Backend, primed: Callable[..., str]) -> None:
    path = primed(Peer.close, every_time=True)
    assert_problem(gateway.get(path), "upstream_bad_response")
    assert len(lonely.seen(path)) == 3


def test_a_route_without_retries_sends_nothing_again(
    gateway: Gateway, lonely: Backend, primed: Callable[..., str]
) -> None:
    path = primed(Peer.close, under="/never-again")
    assert_problem(gateway.get(path), "upstream_bad_response")
    assert len(lonely.seen(path)) == 2


def half_an_answer(peer: Peer) -> None:
    """Die after the beginning of a head."""
    peer.send(b"HTTP/1.1 200 O")
    peer.close()


def test_a_request_is_not_sent_again_once_something_of_an_answer_came(
    gateway: Gateway, lonely: Backend, primed: Callable[..., str]
) -> None:
    path = primed(half_an_answer)
    assert_problem(gateway.get(path), "upstream_bad_response")
    assert len(lonely.seen(path)) == 2


@pytest.mark.parametrize("die", DEATHS.values(), ids=DEATHS)
def test_a_fresh_connection_that_dies_is_not_retried(gateway: Gateway, backend: Backend, die: Death) -> None:
    """The stale ones of the shared pool may be tried first: they count, the fresh one only once."""

    def dying(peer: Peer) -> None:
        peer.read_body()
        die(peer)

    path = backend.serve(dying)
    assert_problem(gateway.get(path), "upstream_bad_response")
    assert len([seen for seen in backend.seen(path) if seen.connection.requests == 1]) <= 1
    assert len(backend.seen(path)) <= 2


@pytest.mark.parametrize(
    "fields", [[f"Content-Length: {MIB}"], ["Transfer-Encoding: chunked"]], ids=["length", "chunks"]
)
def test_a_streamed_body_on_a_stale_connection_is_never_sent_in_part(
    gateway: Gateway, lonely: Backend, primed: Callable[..., str], fields: list[str]
) -> None:
    path = primed(Peer.close)
    body = bytes(MIB) if "Content" in fields[0] else chunked(bytes(MIB))
    answer = gateway.ask(request("PUT", path, *fields) + body)
    if answer.status != 200:
        assert_problem(answer, "upstream_bad_response")
    assert all(seen.body.count in (0, MIB) for seen in lonely.seen(path) if seen.body.complete)


def test_a_connection_that_was_seen_to_close_is_not_used(gateway: Gateway, lonely: Backend, backend: Backend) -> None:
    def once(peer: Peer) -> None:
        peer.read_body()
        peer.send(reply(200, b"fresh"))
        peer.close()

    path, elsewhere = lonely.serve(once, "/lonely"), backend.serve(reply())
    for _ in range(5):
        assert gateway.send("POST", path, body=b"abc").data == b"fresh"
        lonely.wait_for(path)
        for _ in range(2):  # the gateway's loop turns, and so meets the end of the connection
            assert gateway.get(elsewhere).status == 200
    assert len({seen.connection.number for seen in lonely.seen(path)}) == 5
