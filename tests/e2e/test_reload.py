"""SIGHUP: another configuration, without an end of anything."""

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
import trustme

from .harness import (
    PATIENT,
    Backend,
    Client,
    Gateway,
    Peer,
    assert_problem,
    children,
    chunked,
    eventually,
    reply,
    request,
    running,
    tree,
)
from .harness.wire import Cut

KEYS = 'auth = "public"\nrate_limit = "off"\n'
WHOM: dict[str, Callable[[int, int], None]] = {"the program": os.kill, "its group": os.killpg}


class Config:
    """A configuration folder that a test changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "routes").mkdir(parents=True)

    def write(self, upstreams: dict[str, str], *routes: str, more: str = "") -> None:
        """Upstreams by name, as the keys of a table each; a route `/<name>/...` for each, and more."""
        lines = "".join(f"{name} = {{ {keys} }}\n" for name, keys in upstreams.items())
        found = [f'path = "/{name}/{{rest:path}}"\nupstream = "{name}"\n' for name in upstreams] + list(routes)
        (self.folder / "upstreams.toml").write_text(lines)
        text = KEYS + more + "".join(f"[[route]]\n{route}\n" for route in found)
        (self.folder / "routes" / "test.toml").write_text(text)

    def spoil(self) -> None:
        (self.folder / "routes" / "test.toml").write_text(KEYS + '[[route]]\npath = "/x"\nupstrem = "none"\n')


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(tmp_path / "config")


@pytest.fixture
def other() -> Iterator[Backend]:
    with Backend() as running_backend:
        yield running_backend


def at(backend: Backend) -> str:
    return f'url = "{backend.url}", {PATIENT}'


def reload(gateway: Gateway, workers: int = 1, word: str = "reloaded") -> None:
    """Send SIGHUP and wait until it took effect in all workers."""
    before = gateway.output.count(f'"{word}')
    gateway.process.send_signal(signal.SIGHUP)
    eventually(lambda: gateway.output.count(f'"{word}') >= before + workers, f"{word} in {workers}", within=20)


def every_worker(gateway: Gateway, holds: Callable[[], bool]) -> bool:
    """Whether it holds on many connections, which all workers share."""
    return all(holds() for _ in range(30))


def gauge(gateway: Gateway) -> list[str]:
    lines = gateway.admin("/metrics").data.decode().splitlines()
    return [line.split()[1] for line in lines if line.startswith("gateway_config_last_reload_success")]


@pytest.mark.parametrize("tell", WHOM.values(), ids=WHOM)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_changed_table_holds_in_every_worker(
    config: Config, backend: Backend, workers: int, tell: Callable[[int, int], None]
) -> None:
    config.write({"b": at(backend)})
    with running(config.folder, GATEWAY_WORKERS=str(workers)) as gateway:
        eventually(lambda: workers == 1 or len(children(gateway.process.pid)) == 2, "all processes run")
        before = tree(gateway.process.pid)
        assert gateway.get("/new/x").status == 404
        config.write({"b": at(backend), "new": at(backend)})
        tell(gateway.process.pid, signal.SIGHUP)
        eventually(lambda: gateway.output.count('"reloaded') == workers, "each worker took it", within=20)
        assert every_worker(gateway, lambda: gateway.get("/new/x").status == 200)
        assert tree(gateway.process.pid) == before
        assert gauge(gateway) == ["1.0"]
        config.write({"new": at(backend)})
        reload(gateway, workers)
        assert every_worker(gateway, lambda: gateway.get("/b/x").status == 404)
        assert '"/new/{rest}"' in gateway.admin("/openapi.json").data.decode()
        assert [each["name"] for each in gateway.admin("/admin/upstreams").json()["upstreams"]] == ["new"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_faulty_set_is_told_and_changes_nothing(config: Config, backend: Backend, workers: int) -> None:
    config.write({"b": at(backend)})
    with running(config.folder, GATEWAY_WORKERS=str(workers)) as gateway:
        eventually(lambda: workers == 1 or len(children(gateway.process.pid)) == 2, "all processes run")
        config.spoil()
        reload(gateway, 1, "reload refused")
        assert "upstrem" in gateway.output
        eventually(lambda: gauge(gateway) == ["0.0"], "the metric says so", within=10)
        assert every_worker(gateway, lambda: gateway.get("/b/x").status == 200)
        told = gateway.admin("/admin/upstreams").json()["gateway"]
        assert told["reload"]["ok"] is False and any("upstrem" in fault for fault in told["reload"]["faults"])
        assert any("was not taken" in hint for hint in told["hints"])
        assert gateway.get("/readyz").status == 200
        config.write({"b": at(backend)})
        reload(gateway, workers)
        eventually(lambda: gauge(gateway) == ["1.0"], "all is well again", within=10)


def test_unchanged_upstreams_keep_their_connections_and_removed_ones_close_theirs(
    config: Config, backend: Backend, other: Backend
) -> None:
    with Backend() as third:
        config.write({"b": at(other), "gone": at(third)})
        with running(config.folder, GATEWAY_POOL_KEEPALIVE_TIMEOUT="60") as gateway:
            for path in ("/b/x", "/gone/x"):
                assert gateway.get(path).status == 200
            config.write({"b": at(other) + ', balance = "round_robin"'})
            reload(gateway)
            assert gateway.get("/b/x").status == 200
            assert len(other.connections) == 1
            eventually(lambda: third.open_now() == [], "the removed upstream's connections close")


def test_requests_in_flight_end_as_they_began(config: Config, other: Backend) -> None:
    go_on = threading.Event()

    def held(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"hello ", end=b""))
        peer.wait(go_on)
        peer.send(chunked(b"world"))

    def late(peer: Peer) -> None:
        peer.read_body()
        peer.wait(go_on)
        peer.send(reply(200, b"late"))

    other.serve(held, at="/b/held")
    other.serve(late, at="/b/late")
    config.write({"b": at(other), "c": at(other)})
    with running(config.folder) as gateway, gateway.client() as streaming, gateway.client() as waiting:
        streaming.send(request("GET", "/b/held"))
        head = streaming.head()
        waiting.send(request("POST", "/b/late", body=b"abc"))
        other.wait_for("/b/late")
        config.write({"c": at(other)})
        reload(gateway)
        assert gateway.get("/b/x").status == 404
        go_on.set()
        assert streaming.body_of(head).data == b"hello world"
        assert waiting.read().data == b"late"
        assert waiting.ask(request("GET", "/b/late")).status == 404, "the connection lives on, by the new table"
        assert gateway.get("/c/x").status == 200


def test_counters_of_limits_and_metrics_are_kept(config: Config, backend: Backend) -> None:
    limited = 'path = "/limited"\nmethods = ["GET"]\nupstream = "b"\nrate_limit = "5/minute"\n'
    backend.serve(reply(), at="/limited")
    config.write({"b": at(backend)}, limited)
    with running(config.folder, GATEWAY_RATE_LIMIT="600/minute") as gateway:
        assert [gateway.get("/limited").status for _ in range(3)] == [200] * 3
        config.write(
            {"b": at(backend), "c": at(backend)}, 'path = "/first"\nupstream = "b"\nrate_limit = "1/minute"', limited
        )
        reload(gateway)
        assert [gateway.get("/limited").status for _ in range(3)] == [200, 200, 429]
        metrics = gateway.admin("/metrics").data.decode().splitlines()
        counted = [line for line in metrics if "duration_seconds_count" in line and 'http_route="/limited"' in line]
        assert sum(float(line.split()[-1]) for line in counted) == 6


def test_a_worker_that_is_replaced_begins_with_the_newest_set(config: Config, backend: Backend) -> None:
    config.write({"b": at(backend)})
    with running(config.folder, GATEWAY_WORKERS="2") as gateway:
        eventually(lambda: len(children(gateway.process.pid)) == 2, "two workers run")
        config.write({"new": at(backend)})
        reload(gateway, 2)
        config.spoil()
        reload(gateway, 1, "reload refused")
        before = set(children(gateway.process.pid))
        for victim in before:
            os.kill(victim, signal.SIGKILL)
        eventually(lambda: len(set(children(gateway.process.pid)) - before) == 2, "both are replaced", within=20)
        assert every_worker(gateway, lambda: gateway.get("/new/x").status == 200)
        assert every_worker(gateway, lambda: gateway.get("/b/x").status == 404)


class Asking(threading.Thread):
    """A client that asks again and again on kept-alive connections, as HTTP/1.1 allows, and counts what went wrong."""

    def __init__(self, gateway: Gateway, path: str, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._gateway, self._path, self._until = gateway, path, stop
        self.asked = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        client: Client | None = None
        while not self._until.is_set():
            try:
                client = client or self._gateway.client()
                method = "POST" if self.asked % 3 == 0 else "GET"
                answer = client.ask(request(method, self._path, body=b"abc" if method == "POST" else None))
                if answer.status != 200 or answer.data != b"ok":
                    self.wrong.append(f"{answer.status} {bytes(answer.body.kept)!r}")
                if answer.value("connection") == "close":
                    client.sock.close()
                    client = None
            except (OSError, Cut) as exc:
                self.wrong.append(repr(exc))
                client = None
            self.asked += 1
        if client is not None:
            client.sock.close()


def asked(clients: list[Asking], least: int = 0) -> int:
    """How often they asked; 0 while that is less than `least`."""
    count = sum(client.asked for client in clients)
    return count if count >= least else 0


@pytest.mark.parametrize("workers", [1, 2])
def test_reloads_in_a_row_under_load_fail_no_request(
    config: Config, backend: Backend, other: Backend, workers: int
) -> None:
    path = backend.serve(reply(200, b"ok"))
    other.serve(reply(200, b"ok"), at=path)
    one, both = at(backend), f'url = ["{backend.url}", "{other.url}"], {PATIENT}, balance = "round_robin"'
    sets: list[Callable[[], None]] = [
        lambda: config.write({"b": one, "c": one}, 'path = "/more/{x}"\nupstream = "b"\n'),
        lambda: config.write({"b": both, "c": one}),
        config.spoil,
        lambda: config.write({"b": at(other)}),
        lambda: config.write({"another": one}, 'path = "/b/{rest:path}"\nupstream = "another"\n'),
    ]
    config.write({"b": one})
    stop = threading.Event()
    with running(config.folder, GATEWAY_WORKERS=str(workers)) as gateway:
        eventually(lambda: workers == 1 or len(children(gateway.process.pid)) == 2, "all processes run")
        clients = [Asking(gateway, path, stop) for _ in range(16)]
        for client in clients:
            client.start()
        for change in sets * 2:
            before = asked(clients)
            change()
            reload(gateway, *((1, "reload refused") if change == config.spoil else (workers, "reloaded")))
            eventually(partial(asked, clients, before + 30), "they go on asking", within=20)
        stop.set()
        for client in clients:
            client.join()
        assert [client.wrong for client in clients if client.wrong] == []
        assert other.seen(path) and backend.seen(path)


def test_files_that_went_away_change_nothing(config: Config, backend: Backend) -> None:
    config.write({"b": at(backend)})
    with running(config.folder) as gateway:
        (config.folder / "upstreams.toml").rename(config.folder / "away.toml")
        reload(gateway, 1, "reload refused")
        assert gateway.get("/b/x").status == 200


def test_a_removed_route_is_refused_on_a_kept_connection_too(config: Config, backend: Backend) -> None:
    config.write({"b": at(backend), "c": at(backend)})
    with running(config.folder) as gateway, gateway.client() as client:
        assert client.ask(request("GET", "/c/x")).status == 200
        config.write({"b": at(backend)})
        reload(gateway)
        assert_problem(client.ask(request("GET", "/c/x")), "route_not_found")


def test_a_request_that_has_yet_to_come_to_a_removed_upstream_still_gets_there(config: Config, other: Backend) -> None:
    """It goes by the old table, and its upstream's session must wait for it."""
    other.serve(reply(200, b"ok"), at="/b/slow")
    config.write({"b": at(other), "c": at(other)})
    with running(config.folder) as gateway, gateway.client() as client:
        whole = request("POST", "/b/slow", body=b"abcdef")
        client.send(whole[:-3])
        eventually(lambda: active(gateway) == 1, "the request is in hand")
        config.write({"c": at(other)})
        reload(gateway)
        assert client.silent(2.5)  # longer than it takes to close what nothing goes over
        client.sock.sendall(whole[-3:])
        assert client.read().data == b"ok"


def active(gateway: Gateway) -> int:
    count: int = gateway.admin("/admin/upstreams").json()["gateway"]["active"]
    return count


def test_workers_that_begin_after_a_refusal_say_so_and_need_no_file(
    config: Config, tls_backend: Backend, authority: trustme.CA
) -> None:
    tls_backend.serve(reply(200, b"ok"), at="/b/x")
    bundle = config.folder / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    config.write({"b": f'{at(tls_backend)}, ca_file = "{bundle}"'})
    with running(config.folder, GATEWAY_WORKERS="2") as gateway:
        eventually(lambda: len(children(gateway.process.pid)) == 2, "two workers run")
        bundle.write_text("no certificate")
        reload(gateway, 1, "reload refused")
        eventually(lambda: gauge(gateway) == ["0.0"], "the metric says so", within=10)
        before = set(children(gateway.process.pid))
        for victim in before:
            os.kill(victim, signal.SIGKILL)
        eventually(lambda: len(set(children(gateway.process.pid)) - before) == 2, "both are replaced", within=20)
        assert every_worker(gateway, lambda: gateway.get("/b/x").data == b"ok")
        assert gauge(gateway) == ["0.0"]
        assert "ca_file" in str(gateway.admin("/admin/upstreams").json()["gateway"]["reload"]["faults"])


def test_a_bundle_that_is_renewed_in_its_place_is_taken_up(
    config: Config, tls_backend: Backend, authority: trustme.CA
) -> None:
    tls_backend.serve(reply(200, b"ok"), at="/b/x")
    bundle = config.folder / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(bundle))
    config.write({"b": f'{at(tls_backend)}, ca_file = "{bundle}"'})
    with running(config.folder) as gateway:
        assert_problem(gateway.get("/b/x"), "upstream_tls")
        authority.cert_pem.write_to_path(str(bundle))
        reload(gateway)
        assert gateway.get("/b/x").data == b"ok"


@pytest.mark.parametrize("workers", [1, 2])
def test_asking_while_it_ends_ends_it_no_other_way(config: Config, backend: Backend, workers: int) -> None:
    config.write({"b": at(backend)})
    with running(config.folder, GATEWAY_WORKERS=str(workers)) as gateway:
        gateway.process.send_signal(signal.SIGTERM)
        while gateway.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(gateway.process.pid, signal.SIGHUP)
            time.sleep(0.002)
        gateway.ended()
