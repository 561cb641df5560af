"""More than the gateway can do: what is refused, and that it is well afterwards."""

from __future__ import annotations

import errno
import json
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.programs import stand_still

from .harness import (
    Backend,
    Client,
    Cut,
    Gateway,
    Peer,
    Response,
    assert_problem,
    eventually,
    free_port,
    reply,
    request,
    running,
    write_table,
)
from .harness.answers import silence
from .harness.gateway import PROJECT, environment

ROUTES = """
auth = "public"
rate_limit = "off"
[[route]]
path = "/b/{rest:path}"
upstream = "main"
[[route]]
path = "/narrow/{rest:path}"
upstream = "narrow"
"""
ORIGIN = "http://localhost:3000"
# What the log line has that tells of it, unlike those of requests that were refused for it.
OVERLOADED = '"event":"overloaded"'


@pytest.fixture
def config(tmp_path: Path, backend: Backend) -> Path:
    """Two upstreams on the shared backend."""
    upstreams = "".join(f'{name} = {{ url = "{backend.url}" }}\n' for name in ("main", "narrow"))
    return write_table(tmp_path / "config", upstreams, ROUTES)


def assert_overloaded(answer: Response) -> None:
    """It is the 503 that says when to come again."""
    assert_problem(answer, "overloaded")
    assert answer.value("retry-after") == "1"


def refused(gateway: Gateway, reason: str) -> int:
    """How many were refused, by the metrics."""
    start = f'gateway_overload_refused_total{{reason="{reason}"}} '
    lines = gateway.admin("/metrics").data.decode().splitlines()
    return sum(int(float(line.removeprefix(start))) for line in lines if line.startswith(start))


def admin_view(gateway: Gateway) -> dict[str, object]:
    """The gateway's block of `/admin/upstreams`."""
    found: dict[str, object] = gateway.admin("/admin/upstreams").json()["gateway"]
    return found


def test_above_the_connection_limit_only_probes_are_answered(config: Path, backend: Backend) -> None:
    path = backend.serve(reply(200, b"ok"))
    with running(config, GATEWAY_MAX_CONNECTIONS="20") as gateway, ExitStack() as stack:
        inside = [stack.enter_context(gateway.client()) for _ in range(20)]
        for client in inside:
            assert client.ask(request("GET", path)).data == b"ok"
        with gateway.client() as late:
            answer = late.ask(request("GET", path, f"Origin: {ORIGIN}"))
            assert_overloaded(answer)
            assert (answer.value("connection"), answer.value("access-control-allow-origin")) == ("close", ORIGIN)
            assert late.hung_up()
        for probe in ("/healthz", "/readyz"):
            assert gateway.get(probe).status == 200
        assert admin_view(gateway)["overloaded"] == "connections"
        assert inside[0].ask(request("GET", path)).data == b"ok"
        silent = [stack.enter_context(gateway.client()) for _ in range(70)]
        with gateway.client() as last:  # not even the places to be refused from are left
            last.push(request("GET", path))
            assert_overloaded(last.read())
        assert refused(gateway, "connections") >= 2
        for client in (*inside, *silent):
            client.leave()
        eventually(lambda: gateway.get(path).status == 200, "there is room again", within=10)
        eventually(lambda: admin_view(gateway)["overloaded"] is None, "and it says so", within=10)


def test_a_silent_client_over_the_limit_is_sent_off_soon(config: Path) -> None:
    with (
        running(config, GATEWAY_MAX_CONNECTIONS="1") as gateway,
        gateway.client() as inside,
        gateway.client() as silent,
    ):
        assert inside.silent(0.01)
        assert_overloaded(silent.read())
        assert silent.hung_up()


@contextmanager
def short_of_descriptors(config: Path, most: int) -> Iterator[Gateway]:
    """A gateway that may open so many descriptors."""
    port, admin_port = free_port(), free_port()
    log = config / "output"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "aiogateway", "serve"],
            env=environment(port, admin_port, {"GATEWAY_CONFIG": str(config)}),
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=PROJECT,
        )
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (most, most))
    gateway = Gateway(process, port, admin_port, log)

    def ready() -> bool:
        with suppress(OSError, Cut):
            return gateway.admin("/readyz").status == 200
        return False

    try:
        eventually(ready, "the gateway is ready", within=20)
        yield gateway
        gateway.stop()
    finally:
        process.kill()
        process.wait()


def test_more_clients_than_descriptors_are_told_so_and_nobody_is_reset(config: Path, backend: Backend) -> None:
    path = backend.serve(reply(200, b"ok"))
    outcomes: list[int | str] = []

    def visit(clients: list[Client]) -> None:
        for client in clients:
            try:
                client.push(request("GET", path))
                outcomes.append(client.read().status)
            except (OSError, Cut) as exc:
                outcomes.append(errno.errorcode.get(getattr(exc, "errno", 0) or 0, type(exc).__name__))

    with short_of_descriptors(config, 200) as gateway:
        with ExitStack() as stack:
            clients = [stack.enter_context(gateway.client(timeout=20)) for _ in range(400)]
            threads = [threading.Thread(target=visit, args=(clients[first::8],)) for first in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        assert set(outcomes) == {200, 503}, {each: outcomes.count(each) for each in set(outcomes)}
        assert len(outcomes) == 400
        eventually(lambda: gateway.get(path).status == 200, "all is well afterwards", within=10)


def test_memory_past_its_mark_refuses_requests_but_no_probes(config: Path, backend: Backend) -> None:
    path = backend.serve(reply(200, b"ok"))
    with running(config, GATEWAY_OVERLOAD_MEMORY="0.000001", GATEWAY_OVERLOAD_LAG="60") as gateway:
        eventually(lambda: gateway.get(path).status == 503, "it is overloaded", within=10)
        answer = gateway.get(path, f"Origin: {ORIGIN}")
        assert_overloaded(answer)
        assert answer.value("access-control-allow-origin") == ORIGIN
        assert gateway.get("/healthz").status == gateway.get("/readyz").status == 200
        view = admin_view(gateway)
        assert (view["state"], view["overloaded"]) == ("ready", "memory")
        assert "GATEWAY_OVERLOAD_MEMORY" in str(view["hints"])
        assert refused(gateway, "memory") >= 2
        assert gateway.output.count(OVERLOADED) == 1


def late_and_refusing(gateway: Gateway, path: str) -> bool:
    """Make the loop late until that is told; whether a request is refused then, which holds for a moment only."""
    before = gateway.output.count(OVERLOADED)
    for _ in range(20):
        stand_still(gateway.process.pid)
        time.sleep(0.25)
        gateway.process.send_signal(signal.SIGCONT)
        time.sleep(0.03)
        if gateway.output.count(OVERLOADED) > before:
            break
    return gateway.get(path).status == 503


def test_a_late_loop_refuses_requests_until_it_is_in_time_again(config: Path, backend: Backend) -> None:
    """Stopped again and again, the process gets to nothing in time."""
    path = backend.serve(reply(200, b"ok"))
    with running(config, GATEWAY_OVERLOAD_LAG="0.1") as gateway:
        assert any(late_and_refusing(gateway, path) for _ in range(10))
        eventually(lambda: gateway.get(path).status == 200, "it recovers", within=10)
        assert refused(gateway, "lag") >= 1
        told = [json.loads(line)["event"] for line in gateway.output.splitlines() if '"reason":"lag"' in line]
        assert told[:2] == ["overloaded", "no longer overloaded"]


def test_a_client_that_pipelines_thousands_does_not_hold_up_others(config: Path) -> None:
    many = 20_000
    with running(config, GATEWAY_LOG_LEVEL="warning") as gateway, gateway.client(timeout=60) as greedy:
        batch = request("GET", "/nowhere") * many
        sender = threading.Thread(target=greedy.push, args=(batch,))
        sender.start()
        assert greedy.read().status == 404
        with gateway.client() as modest:
            for _ in range(5):
                assert modest.ask(request("GET", "/healthz")).status == 200
        # Had it waited for its turn behind all of them, the greedy one's answers would be here by now.
        assert gateway.process.poll() is None
        served = [line for line in gateway.admin("/metrics").data.decode().splitlines() if 'status_code="404"' in line]
        count = next(float(line.rpartition(" ")[2]) for line in served if "_count{" in line)
        assert count < many
        for _ in range(many - 1):
            greedy.read()
        sender.join(20)


def test_slow_readers_of_moderate_answers_hold_no_places(config: Path, backend: Backend) -> None:
    body = bytes(range(256)) * 1200
    large, small = backend.serve(reply(200, body), "/narrow"), backend.serve(reply(200, b"ok"), "/narrow")
    settings = {"GATEWAY_POOL_NARROW_MAX_CONNECTIONS": "2", "GATEWAY_POOL_NARROW_ACQUIRE_TIMEOUT": "8"}
    with running(config, **settings) as gateway, ExitStack() as stack:
        slow = [stack.enter_context(gateway.client(window=4096)) for _ in range(6)]
        for client in slow:
            client.send(request("GET", large))
        backend.wait_for(large, 6, within=20)
        for _ in range(5):
            assert gateway.get(small).data == b"ok"
        for client in slow:
            assert client.read().data == body


def test_many_slow_heads_and_bodies_at_once_hold_nothing_and_hit_their_timeouts(config: Path, backend: Backend) -> None:
    path = backend.serve(reply(200, b"ok"), "/narrow")
    settings = {
        "GATEWAY_POOL_NARROW_MAX_CONNECTIONS": "1",
        "GATEWAY_HEADER_TIMEOUT": "2",
        "GATEWAY_IDLE_TIMEOUT": "2",
    }
    with running(config, **settings) as gateway, ExitStack() as stack:
        heads = [stack.enter_context(gateway.client()) for _ in range(100)]
        bodies = [stack.enter_context(gateway.client()) for _ in range(100)]
        for client in heads:
            client.send(b"GET /narrow HTTP/1.1\r\nHost:")
        for client in bodies:
            client.send(request("POST", path, "Content-Length: 1000") + b"a")
        assert gateway.get(path).data == b"ok"
        for client in (*heads, *bodies):
            assert_problem(client.read(), "request_timeout")
    assert len(backend.seen(path)) == 1


def test_logs_that_find_no_room_are_counted_and_end_nothing(config: Path, backend: Backend) -> None:
    path = backend.serve(reply(200, b"ok"))
    port, admin_port = free_port(), free_port()
    with open("/dev/full", "wb") as full:
        process = subprocess.Popen(
            [sys.executable, "-m", "aiogateway", "serve"],
            env=environment(port, admin_port, {"GATEWAY_CONFIG": str(config)}),
            stdout=full,
            stderr=subprocess.DEVNULL,
            cwd=PROJECT,
        )
    gateway = Gateway(process, port, admin_port, Path("/dev/null"))

    def lost() -> float:
        lines = gateway.admin("/metrics").data.decode().splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith("gateway_log_lines_lost_total"))

    def ready() -> bool:
        with suppress(OSError, Cut):
            return gateway.admin("/readyz").status == 200
        return False

    try:
        eventually(ready, "the gateway is ready", within=20)
        assert [gateway.get(path).data for _ in range(20)] == [b"ok"] * 20
        eventually(lambda: lost() >= 20, "lines that were lost are counted", within=10)
        gateway.stop()
    finally:
        process.kill()
        process.wait()


def test_a_gateway_that_stood_still_goes_on_where_it_was(config: Path, backend: Backend) -> None:
    go_on = threading.Event()

    def late(peer: Peer) -> None:
        peer.wait(go_on)
        peer.send(reply(200, b"late"))

    path, quick = backend.serve(late), backend.serve(reply(200, b"ok"))
    settings = {"GATEWAY_TIMEOUT_SHORT": "2", "GATEWAY_IDLE_TIMEOUT": "2", "GATEWAY_KEEPALIVE_TIMEOUT": "2"}
    with (
        running(config, **settings) as gateway,
        gateway.client() as waiting,
        gateway.client() as idle,
        gateway.client() as hopeless,
        gateway.client() as sending,
    ):
        assert idle.ask(request("GET", quick)).data == b"ok"
        waiting.send(request("GET", path))
        hopeless.send(request("GET", backend.serve(silence)))
        sending.send(request("POST", quick, "Content-Length: 4") + b"ab")
        backend.wait_for(path)
        stand_still(gateway.process.pid)
        time.sleep(3.5)
        go_on.set()
        sending.send(b"cd")
        idle.send(request("GET", quick))
        backend_answered = time.monotonic()
        eventually(lambda: time.monotonic() > backend_answered + 0.2, "the answer is on its way")
        gateway.process.send_signal(signal.SIGCONT)
        assert waiting.read().data == b"late"
        assert sending.read().data == b"ok"
        assert idle.read().data == b"ok"
        assert_problem(hopeless.read(), "upstream_timeout")
        assert gateway.get(quick).data == b"ok"
        assert idle.hung_up()
