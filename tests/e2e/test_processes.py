"""Processes: workers, signals, and requests in flight while the program ends."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from .harness import (
    Backend,
    Body,
    Gateway,
    Peer,
    children,
    chunked,
    connections_held,
    elapsed,
    eventually,
    reply,
    request,
    running,
    tree,
    write_table,
)
from .harness.wire import Cut

ROUTES = """
[[route]]
path = "/b/{rest:path}"
upstream = "main"
auth = "public"
rate_limit = "off"
"""


@pytest.fixture
def config(tmp_path: Path, backend: Backend) -> Path:
    """One route to the shared backend."""
    return write_table(tmp_path / "config", f'main = {{ url = "{backend.url}" }}', ROUTES)


@pytest.fixture
def two_workers(config: Path) -> Iterator[Gateway]:
    """A parent and two workers."""
    with running(config, GATEWAY_WORKERS="2") as gateway:
        eventually(lambda: len(children(gateway.process.pid)) >= 2, "two workers run")
        yield gateway


def serving(gateway: Gateway, connections: int) -> list[int]:
    """The processes that hold some of so many connections, each of which was answered."""
    with contextlib.ExitStack() as stack:
        for _ in range(connections):
            client = stack.enter_context(gateway.client())
            assert client.ask(request("GET", "/healthz")).status == 200
        return [pid for pid in tree(gateway.process.pid) if connections_held(pid, gateway.port)]


def test_both_workers_serve(two_workers: Gateway) -> None:
    workers = set(children(two_workers.process.pid))
    eventually(lambda: len(workers & set(serving(two_workers, 50))) == 2, "both workers hold connections", within=20)
    assert two_workers.process.pid not in serving(two_workers, 50)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGABRT])
def test_a_worker_that_dies_is_replaced(two_workers: Gateway, backend: Backend, sign: signal.Signals) -> None:
    path = backend.serve(reply(200, b"ok"))
    parent = two_workers.process.pid
    before = set(serving(two_workers, 50)) - {parent}
    victim = min(before)
    os.kill(victim, sign)
    eventually(lambda: victim not in tree(parent), "the dead worker is gone", within=10)
    eventually(lambda: set(serving(two_workers, 50)) - before - {parent}, "a new one serves", within=20)
    assert [two_workers.get(path).data for _ in range(20)] == [b"ok"] * 20


def test_sigterm_to_the_parent_ends_all(config: Path) -> None:
    with running(config, GATEWAY_WORKERS="2") as gateway:
        eventually(lambda: len(children(gateway.process.pid)) >= 2, "two workers run")
        processes = tree(gateway.process.pid)
        gateway.stop()
    assert [pid for pid in processes if Path(f"/proc/{pid}").exists()] == []


class Held:
    """An answer whose first part is sent when the request came, and the rest when the test lets it go on."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def __call__(self, peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"hello ", end=b""))
        peer.wait(self.go_on)
        peer.send(chunked(b"world"))


WHOM: dict[str, Callable[[int, int], None]] = {"the program": os.kill, "its group": os.killpg}
"""A service manager signals the program; a terminal, and some managers, every process of its group."""


@pytest.mark.parametrize("tell", WHOM.values(), ids=WHOM)
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_request_in_flight_is_finished_after_a_signal(
    config: Path, backend: Backend, workers: str, sign: signal.Signals, tell: Callable[[int, int], None]
) -> None:
    late, early = backend.serve(held := Held()), backend.serve(waiting := Waiting())
    with running(config, GATEWAY_WORKERS=workers) as gateway, gateway.client() as streaming, gateway.client() as asking:
        streaming.send(request("GET", late))
        head = streaming.head()
        asking.send(request("POST", early, body=b"abc"))
        backend.wait_for(early)
        tell(gateway.process.pid, sign)
        eventually(lambda: not listening(gateway), "new connections are refused", within=10)
        held.go_on.set()
        waiting.go_on.set()
        assert streaming.body_of(head).data == b"hello world"
        assert asking.read().data == b"late"
        assert asking.hung_up()
        gateway.ended()


class Waiting(Held):
    """An answer that begins when the test lets it."""

    def __call__(self, peer: Peer) -> None:
        peer.read_body()
        peer.wait(self.go_on)
        peer.send(reply(200, b"late"))


def listening(gateway: Gateway) -> bool:
    """Whether the public listener takes connections."""
    try:
        gateway.client().leave()
    except ConnectionError:
        return False
    return True


def test_idle_connections_do_not_delay_the_end(config: Path, backend: Backend) -> None:
    with running(config) as gateway, gateway.client() as idle, gateway.client() as fresh:
        assert idle.ask(request("GET", backend.serve(reply()))).status == 200
        assert fresh.silent(0.1)
        start = time.monotonic()
        gateway.stop()
        assert time.monotonic() - start < 5
        assert idle.hung_up()


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_what_does_not_end_in_time_is_cut_off(config: Path, backend: Backend, version: str) -> None:
    """To a client of HTTP/1.0 an orderly end would say that the answer is whole: a reset must say it is not."""
    path = backend.serve(held := Held())
    with running(config, GATEWAY_DRAIN_TIMEOUT="0.5") as gateway, gateway.client() as client:
        client.send(f"GET {path} HTTP/{version}\r\nHost: a\r\n\r\n".encode())
        head = client.head()
        gateway.stop()
        assert not client.body_of(head).complete
    held.go_on.set()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_signal_ends_the_drain_at_once(config: Path, backend: Backend, workers: str) -> None:
    path = backend.serve(held := Held())
    with running(config, GATEWAY_WORKERS=workers) as gateway, gateway.client() as client:
        client.send(request("GET", path))
        head = client.head()
        gateway.process.send_signal(signal.SIGTERM)
        eventually(lambda: not listening(gateway), "new connections are refused", within=10)
        assert gateway.process.poll() is None
        with elapsed() as taken:
            gateway.stop()
        assert taken.seconds < 10, "the drain went on"
        assert not client.body_of(head).complete
    held.go_on.set()


def test_an_answer_that_the_client_has_yet_to_read_is_delivered_whole(config: Path, backend: Backend) -> None:
    size = 6 << 20
    path = backend.serve(reply(200, bytes(size)))
    with running(config) as gateway, gateway.client(window=4096) as client:
        client.send(request("GET", path))
        client.head()
        gateway.process.send_signal(signal.SIGTERM)
        eventually(lambda: not listening(gateway), "new connections are refused", within=10)
        body = Body("length")
        for _ in range(20):  # slowly, so that whoever won't wait long is gone before the end
            client.wire.body("length", 1000, body)
            time.sleep(0.1)
        assert client.wire.body("length", size - body.count, body).complete
        assert body.count == size
        gateway.ended()


def test_readiness_ends_before_the_listener_does(config: Path) -> None:
    with running(config, GATEWAY_DRAIN_DELAY="1.5") as gateway:
        gateway.process.send_signal(signal.SIGTERM)
        eventually(lambda: gateway.get("/readyz").status == 503, "not ready", within=1.2)
        assert gateway.get("/healthz").status == 200
        gateway.ended()


def replaced(parent: int, before: list[int]) -> bool:
    """Whether one of those workers has given way to another."""
    return len(set(children(parent)) - set(before)) == 1


def test_workers_that_are_killed_again_and_again_cost_only_their_own_requests(
    two_workers: Gateway, backend: Backend
) -> None:
    """New connections wait in the listening socket, which the parent holds, until somebody takes them."""
    path = backend.serve(reply(200, b"ok"))
    parent = two_workers.process.pid
    for _ in range(6):
        workers = children(parent)
        victim = min(workers)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(two_workers.client()) for _ in range(20)]
            assert [client.ask(request("GET", path)).status for client in clients] == [200] * 20
            theirs = connections_held(victim, two_workers.port)
            os.kill(victim, signal.SIGKILL)
            lost = 0
            for client in clients:
                with contextlib.suppress(OSError, Cut):
                    client.send(request("GET", path))
                    lost -= client.read().status == 200
                lost += 1
            assert lost == theirs
            assert [two_workers.get(path).data for _ in range(20)] == [b"ok"] * 20
        eventually(partial(replaced, parent, workers), "it is replaced", within=20)


def test_a_crash_loop_shows_in_readiness_until_it_is_over(two_workers: Gateway) -> None:
    parent = two_workers.process.pid

    def ready() -> bool:
        return two_workers.get("/readyz").status == 200

    steady = max(children(parent))

    def kill_the_other() -> bool:
        for pid in children(parent):
            if pid != steady:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return not ready()

    eventually(kill_the_other, "readiness tells of it", within=20)
    eventually(ready, "a worker that lives ends it", within=20)


def test_the_parent_stays_as_small_as_it_was(two_workers: Gateway) -> None:
    parent = two_workers.process.pid

    def replace_all() -> None:
        before = set(children(parent))
        for victim in before:
            os.kill(victim, signal.SIGKILL)
        eventually(lambda: len(set(children(parent)) - before) == 2, "both are replaced", within=20)

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{parent}/fd"))

    def resident() -> int:
        return int(Path(f"/proc/{parent}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    replace_all()
    before = descriptors(), resident()
    for _ in range(3):
        replace_all()
    eventually(lambda: descriptors() == before[0], "it holds no more open than it did")
    assert resident() < before[1] + (1 << 20)
