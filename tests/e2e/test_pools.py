"""Pools: how many connections, how many idle, for how long, and who waits (contract, `GATEWAY_POOL_*`)."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from .harness import PATIENT, Backend, Gateway, Peer, elapsed, eventually, reply, request, running, write_table

NAMES = ("wide", "narrow", "aging", "quiet")
IDLE = 1.0
MAX_AGE = 0.4


@pytest.fixture(scope="module")
def backends() -> Iterator[dict[str, Backend]]:
    """A backend of its own for each upstream."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(Backend()) for name in NAMES}


@pytest.fixture(scope="module")
def pooling(tmp_path_factory: pytest.TempPathFactory, backends: dict[str, Backend]) -> Iterator[Gateway]:
    """A gateway with the default limits of 100 and 20, and with variables for single upstreams."""
    upstreams = "".join(f'{name} = {{ url = "{backend.url}", {PATIENT} }}\n' for name, backend in backends.items())
    routes = "".join(
        f'[[route]]\npath = "/{name}/{{rest:path}}"\nupstream = "{name}"\nauth = "public"\nrate_limit = "off"\n'
        for name in NAMES
    )
    config = write_table(tmp_path_factory.mktemp("pooling") / "config", upstreams, routes)
    with running(
        config,
        GATEWAY_POOL_KEEPALIVE_TIMEOUT=str(IDLE),
        GATEWAY_POOL_ACQUIRE_TIMEOUT="30",
        GATEWAY_POOL_NARROW_MAX_CONNECTIONS="2",
        GATEWAY_POOL_AGING_MAX_AGE=str(MAX_AGE),
    ) as gateway:
        yield gateway


def taking_a_while(peer: Peer) -> None:
    """Answer after 20 ms."""
    peer.read_body()
    time.sleep(0.02)
    peer.send(reply(200, b"ok"))


def test_500_requests_at_once_open_at_most_100_and_leave_20(pooling: Gateway, backends: dict[str, Backend]) -> None:
    wide = backends["wide"]
    path = wide.serve(taking_a_while, "/wide")
    with contextlib.ExitStack() as stack, elapsed() as taken:
        clients = [stack.enter_context(pooling.client(timeout=30)) for _ in range(500)]
        for client in clients:
            client.send(request("POST", path, body=b"abc"))
        assert [client.read().data for client in clients] == [b"ok"] * 500
    answered = time.monotonic()
    assert len(wide.seen(path)) == 500
    assert 20 < wide.most_open <= 100
    eventually(lambda: len(wide.open_now()) <= 20, "at most 20 are kept", within=IDLE)
    left = len(wide.open_now())
    print(f"500 requests in {taken.seconds:.2f} s: {wide.most_open} open at most, {left} idle afterwards")
    eventually(lambda: not wide.open_now(), "idle ones are closed after their time", within=IDLE + 3)
    assert time.monotonic() - answered > IDLE * 0.5


def test_requests_in_a_row_share_one_connection(pooling: Gateway, backends: dict[str, Backend]) -> None:
    path = backends["wide"].serve(reply(200, b"ok"), "/wide")
    for _ in range(20):
        assert pooling.get(path).data == b"ok"
    assert len({seen.connection.number for seen in backends["wide"].seen(path)}) == 1


def test_a_variable_may_set_the_limit_of_one_upstream(pooling: Gateway, backends: dict[str, Backend]) -> None:
    narrow = backends["narrow"]
    path = narrow.serve(taking_a_while, "/narrow")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(pooling.client()) for _ in range(20)]
        for client in clients:
            client.send(request("GET", path))
        assert [client.read().data for client in clients] == [b"ok"] * 20
    assert narrow.most_open == 2


def test_waiters_are_served_in_order(pooling: Gateway, backends: dict[str, Backend]) -> None:
    narrow = backends["narrow"]
    go_on = threading.Event()

    def held(peer: Peer) -> None:
        peer.wait(go_on)
        peer.send(reply(200, b"ok"))

    holders, waiters = narrow.serve(held, "/narrow"), narrow.serve(taking_a_while, "/narrow")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(pooling.client()) for _ in range(8)]
        for number, client in enumerate(clients):
            client.send(request("GET", holders if number < 2 else f"{waiters}/{number}"))
            if number < 2:
                narrow.wait_for(holders, number + 1)
            else:
                assert client.silent(0.05)
        go_on.set()
        assert [client.read().data for client in clients] == [b"ok"] * 8
    order = [int(seen.target.rpartition("/")[2]) for seen in narrow.seen(waiters)]
    assert all(abs(place + 2 - number) <= 1 for place, number in enumerate(order)), order


def test_clients_that_leave_the_queue_give_their_places_up(pooling: Gateway, backends: dict[str, Backend]) -> None:
    narrow = backends["narrow"]
    go_on = threading.Event()

    def held(peer: Peer) -> None:
        peer.wait(go_on)
        peer.send(reply(200, b"ok"))

    holders, leaving = narrow.serve(held, "/narrow"), narrow.serve(reply(), "/narrow")
    with contextlib.ExitStack() as stack:
        held_clients = [stack.enter_context(pooling.client()) for _ in range(2)]
        for client in held_clients:
            client.send(request("GET", holders))
        narrow.wait_for(holders, 2)
        for number in range(20):
            with pooling.client() as client:
                client.send(request("GET", leaving))
                assert client.silent(0.02)
                if number % 2:
                    client.reset()
        go_on.set()
        assert [client.read().data for client in held_clients] == [b"ok", b"ok"]
    after = narrow.serve(reply(200, b"after"), "/narrow")
    assert pooling.get(after).data == b"after"
    assert not narrow.seen(leaving)


def test_exchanges_that_fail_give_their_places_back(pooling: Gateway, backends: dict[str, Backend]) -> None:
    narrow = backends["narrow"]
    dying, silent = narrow.serve(Peer.reset, "/narrow"), narrow.serve(gone, "/narrow")
    for count in range(1, 11):
        assert pooling.send("POST", dying, body=b"abc").status == 502
        with pooling.client() as client:
            client.send(request("GET", silent))
            narrow.wait_for(silent, count)
    path = narrow.serve(taking_a_while, "/narrow")
    with elapsed() as taken:
        assert [pooling.get(path).data for _ in range(5)] == [b"ok"] * 5
    assert taken.seconds < 5
    assert narrow.most_open <= 3  # the backend may see an old one end after it accepted the next


def gone(peer: Peer) -> None:
    """Say nothing until the gateway leaves."""
    peer.left()
    peer.close()


def test_a_connection_past_its_age_is_not_used_again(pooling: Gateway, backends: dict[str, Backend]) -> None:
    aging = backends["aging"]
    path = aging.serve(reply(200, b"ok"), "/aging")
    end = time.monotonic() + MAX_AGE * 4
    while time.monotonic() < end:
        assert pooling.get(path).data == b"ok"
        time.sleep(0.02)
    ages = [seen.at - seen.connection.opened for seen in aging.seen(path)]
    numbers = {seen.connection.number for seen in aging.seen(path)}
    assert max(ages) <= MAX_AGE + 0.2
    assert 3 <= len(numbers) < len(ages)


@pytest.mark.parametrize("coded", [False, True], ids=["length", "chunks"])
def test_a_small_body_is_in_before_a_connection_is_taken(
    pooling: Gateway, backends: dict[str, Backend], coded: bool
) -> None:
    quiet = backends["quiet"]
    eventually(lambda: not quiet.open_now(), "no connection is open", within=IDLE + 3)
    before = len(quiet.connections)
    path = quiet.serve(reply(200, b"ok"), "/quiet")
    pieces = [b"x" * 5000] * 10
    with pooling.client() as client:
        client.send(request("POST", path, "Transfer-Encoding: chunked" if coded else "Content-Length: 50000"))
        for piece in pieces:
            assert client.silent(0.03)
            assert len(quiet.connections) == before
            client.sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if coded else piece)
        if coded:
            client.sock.sendall(b"0\r\n\r\n")
        assert client.read().data == b"ok"
    assert quiet.one(path).body.count == 50000
