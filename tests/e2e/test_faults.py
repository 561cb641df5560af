"""Networks and backends that break: what the client gets, and that nothing else suffers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import stand_still

from .harness import (
    PATIENT,
    Backend,
    Client,
    Gateway,
    Peer,
    Response,
    assert_problem,
    chunked,
    eventually,
    free_port,
    reply,
    request,
    running,
    write_table,
)
from .harness.faults import BLACKHOLE, NONE, Fault, FaultyProxy
from .hasty import deaf_port

BODY = b'{"text":"' + b"abcdefgh" * 2500 + b'"}'
ANSWER = reply(200, BODY)
HEAD = ANSWER.index(b"\r\n\r\n") + 4
ROUTES = """
auth = "public"
rate_limit = "off"
timeout = 1

[[route]]
path = "/b/{rest:path}"
upstream = "faulty"

[[route]]
path = "/deaf/{rest:path}"
upstream = "deaf"

[[route]]
path = "/fine/{rest:path}"
upstream = "fine"
"""


@pytest.fixture(scope="module")
def behind() -> Iterator[Backend]:
    """The backend behind the proxy."""
    with Backend() as running_backend:
        running_backend.serve(ANSWER, at="/b/x")
        running_backend.serve(reply(200, b"fine"), at="/fine/x")
        yield running_backend


@pytest.fixture(scope="module")
def proxy(behind: Backend) -> Iterator[FaultyProxy]:
    with FaultyProxy(behind.port) as running_proxy:
        yield running_proxy


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, behind: Backend, proxy: FaultyProxy) -> Iterator[Gateway]:
    with deaf_port() as unheard:
        upstreams = f"""
            faulty = {{ url = "{proxy.url}", {PATIENT} }}
            deaf = {{ url = "http://127.0.0.1:{unheard}", {PATIENT} }}
            fine = {{ url = "{behind.url}" }}
        """
        with running(
            write_table(tmp_path_factory.mktemp("faults") / "config", upstreams, ROUTES),
            GATEWAY_IDLE_TIMEOUT="1",
            GATEWAY_POOL_CONNECT_TIMEOUT="0.5",
            GATEWAY_POOL_KEEPALIVE_TIMEOUT="60",
        ) as running_gateway:
            yield running_gateway


@pytest.fixture
def faulty(gateway: Gateway, proxy: FaultyProxy) -> Iterator[FaultyProxy]:
    """The proxy, with no connection open through it; unharmed again afterwards."""
    proxy.fault = NONE
    proxy.cut()
    yield proxy
    proxy.fault = NONE
    proxy.cut()


BEFORE_THE_HEAD = {
    "reset at once": (Fault("reset"), "upstream_bad_response"),
    "reset in the head": (Fault("reset", at=20), "upstream_bad_response"),
    "closed at once": (Fault("close"), "upstream_bad_response"),
    "closed in the head": (Fault("close", at=HEAD - 2), "upstream_bad_response"),
    "closed in the request": (Fault("close", at=10, towards="backend"), "upstream_bad_response"),
    "reset in the request": (Fault("reset", at=10, towards="backend"), "upstream_bad_response"),
    "half-closed at once": (Fault("half_close"), "upstream_bad_response"),
    "a request that stalls": (Fault("stall", at=10, towards="backend"), "upstream_timeout"),
    "an answer that stalls": (Fault("stall"), "upstream_timeout"),
    "a head that stalls": (Fault("stall", at=30), "upstream_timeout"),
    "a head that is delayed too long": (Fault("delay", seconds=3), "upstream_timeout"),
    "a head that trickles too slowly": (Fault("trickle", seconds=0.2), "upstream_timeout"),
    "a status line that is corrupt": (Fault("corrupt", size=8), "upstream_bad_response"),
    "a field name that is corrupt": (Fault("corrupt", at=20), "upstream_bad_response"),
    "a peer that never reads nor speaks": (BLACKHOLE, "upstream_timeout"),
}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(("fault", "code"), BEFORE_THE_HEAD.values(), ids=BEFORE_THE_HEAD)
def test_what_breaks_before_the_answers_head_is_told_in_the_contracts_format(
    gateway: Gateway, faulty: FaultyProxy, fault: Fault, code: str, method: str
) -> None:
    faulty.fault = fault
    assert_problem(gateway.send(method, "/b/x", body=b"abc" if method == "POST" else None), code)
    assert gateway.get("/fine/x").data == b"fine"
    faulty.fault = NONE
    faulty.cut()
    assert gateway.get("/b/x").data == BODY, "all is well once the fault is gone"


IN_THE_BODY = {
    "reset": Fault("reset", at=HEAD + 5000),
    "closed": Fault("close", at=HEAD + 5000),
    "half-closed": Fault("half_close", at=HEAD + 5000),
    "cut before its last byte": Fault("close", at=len(ANSWER) - 1),
    "stalled": Fault("stall", at=HEAD + 5000),
    "stalled right behind the head": Fault("stall", at=HEAD),
}


@pytest.mark.parametrize(("fault"), IN_THE_BODY.values(), ids=IN_THE_BODY)
def test_what_breaks_in_the_answers_body_never_looks_complete(
    gateway: Gateway, faulty: FaultyProxy, fault: Fault
) -> None:
    faulty.fault = fault
    with gateway.client() as client:
        client.send(request("GET", "/b/x"))
        head = client.head()
        assert head.start.startswith(b"HTTP/1.1 200")
        body = client.body_of(head)
        assert not body.complete and BODY.startswith(bytes(body.kept))


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
IN_THE_CHUNKS = {
    "a size that is corrupt": Fault("corrupt", at=len(CHUNKED) + 1005, size=1),
    "a size that becomes another's end": Fault("corrupt", at=len(CHUNKED) + 1006, size=2),
    "closed between two": Fault("close", at=len(CHUNKED) + 1005),
    "closed before the last": Fault("close", at=len(CHUNKED) + 2010),
    "closed in the last": Fault("close", at=len(CHUNKED) + 2013),
}


@pytest.mark.parametrize(("fault"), IN_THE_CHUNKS.values(), ids=IN_THE_CHUNKS)
def test_what_breaks_between_chunks_never_looks_complete(
    gateway: Gateway, faulty: FaultyProxy, behind: Backend, fault: Fault
) -> None:
    behind.serve(CHUNKED + 2 * chunked(b"a" * 998, end=b"") + b"0\r\n\r\n", at="/b/chunks")
    faulty.fault = fault
    with gateway.client() as client:
        client.send(request("GET", "/b/chunks"))
        head = client.head()
        if head.start.startswith(b"HTTP/1.1 200"):
            assert not client.body_of(head).complete
        else:
            assert_problem(Response((), head, client.body_of(head)), "upstream_bad_response")


def test_others_are_served_while_many_wait_for_a_peer_that_never_answers(gateway: Gateway, faulty: FaultyProxy) -> None:
    faulty.fault, before = BLACKHOLE, faulty.connections
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(gateway.client()) for _ in range(50)]
        for client in waiting:
            client.send(request("GET", "/b/x"))
        eventually(lambda: faulty.connections >= before + 50, "all wait")
        assert {gateway.get("/fine/x").data for _ in range(20)} == {b"fine"}
        for client in waiting:
            assert_problem(client.read(), "upstream_timeout")


HARMLESS = {
    "delayed": Fault("delay", seconds=0.3),
    "delayed in the body": Fault("delay", at=HEAD + 100, seconds=0.3),
    "in small pieces": Fault("trickle", at=HEAD - 10, size=1500, seconds=0.005),
    "a request that is delayed": Fault("delay", at=10, towards="backend", seconds=0.3),
}


@pytest.mark.parametrize(("fault"), HARMLESS.values(), ids=HARMLESS)
def test_what_is_only_slow_arrives_whole(gateway: Gateway, faulty: FaultyProxy, fault: Fault) -> None:
    faulty.fault = fault
    assert gateway.send("POST", "/b/x", body=b"abc").data == BODY


def test_a_destination_that_answers_no_syn_is_given_up_after_the_connect_timeout(gateway: Gateway) -> None:
    assert_problem(gateway.get("/deaf/x"), "upstream_unreachable")


def test_kept_connections_that_the_network_dropped_cost_no_idempotent_request(
    gateway: Gateway, faulty: FaultyProxy
) -> None:
    for _ in range(10):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(gateway.client()) for _ in range(5)]
            for client in clients:
                client.send(request("GET", "/b/x"))
            assert [client.read().status for client in clients] == [200] * 5
        faulty.cut()
        assert gateway.get("/b/x").data == BODY


class Closing:
    """A backend's answer that closes kept-alive connections now and then, and counts what it executed."""

    def __init__(self) -> None:
        self.executed: Counter[str] = Counter()
        self._answers = 0

    def __call__(self, peer: Peer) -> None:
        if not peer.read_body().complete:
            peer.close()
            return
        self.executed[peer.request.value("x-number") or ""] += 1
        peer.send(reply(200, b"ok"))
        self._answers += 1
        if self._answers % 3 == 0:
            time.sleep(0.002 * (self._answers % 5))
            peer.close()


def test_a_backend_that_closes_kept_connections_at_random_costs_no_get_and_repeats_no_post(
    tmp_path: Path, backend: Backend
) -> None:
    path = backend.serve(closing := Closing(), "/b")
    table = 'auth = "public"\nrate_limit = "off"\n[[route]]\npath = "/b/{rest:path}"\nupstream = "b"\n'
    statuses: dict[str, Counter[int]] = {"GET": Counter(), "POST": Counter()}

    with running(write_table(tmp_path / "config", f'b = {{ url = "{backend.url}" }}', table)) as gateway:

        def ask(method: str, worker: int) -> None:
            with gateway.client() as client:
                for number in range(60):
                    field = f"X-Number: {method}-{worker}-{number}"
                    body = b"abc" if method == "POST" else None
                    statuses[method][client.ask(request(method, path, field, body=body)).status] += 1

        threads = [threading.Thread(target=ask, args=(method, n)) for method in statuses for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(statuses["GET"]) == {200}
    assert set(statuses["POST"]) <= {200, 502}
    assert [number for number, times in closing.executed.items() if times > 1 and number.startswith("POST")] == []


PROCESS = """
import socket, sys, threading
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=100)
def hold(sock):
    while data := sock.recv(65536):
        if b"/half" in data:
            sock.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 1000\\r\\n\\r\\nbegun")
        else:
            sock.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
while True:
    threading.Thread(target=hold, args=(listener.accept()[0],), daemon=True).start()
"""


class Process:
    """A backend that is a process of its own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", PROCESS, str(self.port)])

    def start_again(self) -> None:
        self.process = self._start()

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)
        self.process.kill()
        self.process.wait()


@pytest.fixture
def process() -> Iterator[Process]:
    made = Process(free_port())
    yield made
    made.kill()


@pytest.fixture
def mortal(tmp_path: Path, process: Process) -> Iterator[Gateway]:
    """A gateway before a backend that may die."""
    keys = f'url = "http://127.0.0.1:{process.port}", {PATIENT}'
    table = 'auth = "public"\nrate_limit = "off"\ntimeout = 1\n[[route]]\npath = "/b/{x}"\nupstream = "b"\n'
    with running(write_table(tmp_path / "config", f"b = {{ {keys} }}", table)) as running_gateway:
        eventually(lambda: running_gateway.get("/b/x").status == 200, "the backend answers", within=10)
        yield running_gateway


def test_a_backend_that_is_killed_in_its_answer_cuts_the_client_off(mortal: Gateway, process: Process) -> None:
    with mortal.client() as client:
        client.send(request("GET", "/b/half"))
        head = client.head()
        process.kill()
        assert not client.body_of(head).complete
    assert_problem(mortal.get("/b/x"), "upstream_unreachable")
    process.start_again()
    eventually(lambda: mortal.get("/b/x").status == 200, "it is back", within=10)


def test_a_backend_that_is_killed_while_idle_and_started_again_costs_no_get(mortal: Gateway, process: Process) -> None:
    for _ in range(3):
        assert mortal.get("/b/x").status == 200
        process.kill()
        process.start_again()
        eventually(lambda: connects(process.port), "it listens", within=10)
        assert mortal.get("/b/x").status == 200


def connects(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def test_a_backend_that_hangs_is_given_up_in_time_and_taken_back_when_it_goes_on(
    mortal: Gateway, process: Process
) -> None:
    stand_still(process.process.pid)
    answers = together(mortal, 5)
    assert {answer.json()["code"] for answer in answers} == {"upstream_timeout"}
    os.kill(process.process.pid, signal.SIGCONT)
    eventually(lambda: mortal.get("/b/x").status == 200, "it goes on", within=10)


def together(gateway: Gateway, count: int) -> list[Response]:
    """Answers to requests that were sent at once."""
    with contextlib.ExitStack() as stack:
        clients: list[Client] = [stack.enter_context(gateway.client()) for _ in range(count)]
        for client in clients:
            client.send(request("GET", "/b/x"))
        return [client.read() for client in clients]


def test_a_gateway_that_is_stopped_for_a_while_goes_on_where_it_was(mortal: Gateway) -> None:
    """As on a machine that sleeps: the clock jumps, and nobody's time is up for it."""
    with mortal.client() as client:
        assert client.ask(request("GET", "/b/x")).status == 200
        stand_still(mortal.process.pid)
        client.send(request("GET", "/b/x"))
        assert client.silent(1.5)
        os.kill(mortal.process.pid, signal.SIGCONT)
        assert client.read().status == 200
    eventually(lambda: mortal.get("/b/x").status == 200, "it serves", within=10)
