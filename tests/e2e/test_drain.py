"""From SIGTERM to the end: nobody who behaves loses a request."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.programs import stand_still

from .harness import Backend, Client, Cut, Gateway, Peer, eventually, reply, request, running, write_table

ROUTES = """
[[route]]
path = "/b/{rest:path}"
upstream = "main"
auth = "public"
rate_limit = "off"
"""
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


def piece(data: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.fixture
def config(tmp_path: Path, backend: Backend) -> Path:
    """One route to the shared backend."""
    return write_table(tmp_path / "config", f'main = {{ url = "{backend.url}" }}', ROUTES)


def tell(gateway: Gateway) -> None:
    """Ask for the end."""
    gateway.process.send_signal(signal.SIGTERM)


def refuses(gateway: Gateway) -> bool:
    """Whether nobody listens any more."""
    try:
        gateway.client().leave()
    except ConnectionError:
        return True
    return False


@WORKERS
def test_an_idle_connection_is_good_for_one_more_request_which_says_close(
    config: Path, backend: Backend, workers: str
) -> None:
    path = backend.serve(reply(200, b"ok"))
    with running(config, GATEWAY_WORKERS=workers) as gateway, gateway.client() as idle, gateway.client() as other:
        for client in (idle, other):
            assert client.ask(request("GET", path)).value("connection") is None
        tell(gateway)
        eventually(lambda: refuses(gateway), "nobody listens", within=10)
        answer = idle.ask(request("GET", path))
        assert (answer.data, answer.value("connection")) == (b"ok", "close")
        assert idle.hung_up()
        assert other.wire.ended()  # in good order, and without a word
        gateway.ended()


@WORKERS
def test_an_upload_in_flight_and_a_head_that_is_arriving_are_waited_for(
    config: Path, backend: Backend, workers: str
) -> None:
    path = backend.serve(reply(200, b"ok"))
    body = bytes(200_000)
    with running(config, GATEWAY_WORKERS=workers) as gateway, gateway.client() as upload, gateway.client() as slow:
        upload.send(request("POST", path, f"Content-Length: {len(body)}") + body[:100_000])
        backend.wait_for(path)
        slow.send(f"GET {path} HTTP/1.1\r\nHost:".encode())
        assert slow.silent(0.2)
        tell(gateway)
        eventually(lambda: refuses(gateway), "nobody listens", within=10)
        assert upload.silent(1.5)
        upload.send(body[100_000:])
        slow.send(b" a\r\n\r\n")
        assert upload.read().data == slow.read().data == b"ok"
        gateway.ended()
    assert backend.seen(path)[0].body.count == len(body)


@WORKERS
def test_new_connections_are_served_between_not_ready_and_the_end_of_the_delay(
    config: Path, backend: Backend, workers: str
) -> None:
    path = backend.serve(reply(200, b"ok"))
    with running(config, GATEWAY_WORKERS=workers, GATEWAY_DRAIN_DELAY="2") as gateway:
        tell(gateway)
        eventually(lambda: gateway.get("/readyz").status == 503, "not ready", within=1.5)
        answer = gateway.get(path)
        assert (answer.status, answer.value("connection")) == (200, None)
        gateway.ended()


class Streaming:
    """An event stream that says `first`, and when it is let go on, the `rest`."""

    def __init__(self, first: bytes, rest: bytes = b"") -> None:
        self.first, self.rest = first, rest
        self.go_on = threading.Event()
        self.done = threading.Event()

    def __call__(self, peer: Peer) -> None:
        peer.send(STREAM + piece(self.first))
        if self.rest:
            peer.wait(self.go_on)
            with suppress(OSError):
                peer.send(piece(self.rest))
        peer.left()
        self.done.set()


def last_event(body: bytes) -> dict[str, str]:
    """What the last event of a stream says, which must be an error."""
    *_, last, nothing = body.split(b"\n\n")
    assert nothing == b""
    kind, _, data = last.partition(b"\n")
    assert kind == b"event: error"
    found: dict[str, str] = json.loads(data.removeprefix(b"data: "))
    return found


@WORKERS
def test_a_silent_stream_is_told_at_an_events_end_and_ends_in_good_order(
    config: Path, backend: Backend, workers: str
) -> None:
    path = backend.serve(stream := Streaming(b"data: 1\n\n"))
    settings = {"GATEWAY_WORKERS": workers, "GATEWAY_DRAIN_TIMEOUT": "2"}
    with running(config, **settings) as gateway, gateway.client() as client:
        client.send(request("GET", path, "X-Request-ID: mine"))
        head = client.head()
        tell(gateway)
        body = client.body_of(head)
        assert body.complete
        assert body.data.startswith(b"data: 1\n\nevent: error\n")
        event = last_event(body.data)
        assert (event["code"], event["request_id"]) == ("draining", "mine")
        assert client.hung_up()
        gateway.ended()
        line = next(line for line in gateway.output.splitlines() if '"mine"' in line)
        assert '"draining"' in line
    assert stream.done.wait(30)


def test_what_is_inside_an_event_is_given_on_up_to_its_end(config: Path, backend: Backend) -> None:
    path = backend.serve(stream := Streaming(b"data: hel", b"lo\n\ndata: never"))
    with running(config, GATEWAY_DRAIN_TIMEOUT="6") as gateway, gateway.client() as client:
        client.send(request("GET", path))
        head = client.head()
        tell(gateway)
        eventually(lambda: refuses(gateway), "nobody listens", within=10)
        assert client.wire.line() == b"9"
        time.sleep(3.5)  # half of the timeout passes, and the event is not whole
        stream.go_on.set()
        rest = _rest(client)
        assert b"lo\n\n" in rest
        assert b"never" not in rest
        assert b'"draining"' in rest
        assert rest.endswith(b"0\r\n\r\n")
        assert head
        gateway.ended()


def _rest(client: Client) -> bytes:
    """Everything up to a clean end."""
    body = client.wire.body("close")
    assert body.complete
    return body.data


def test_a_stream_that_never_ends_an_event_is_cut_off_at_the_end(config: Path, backend: Backend) -> None:
    path = backend.serve(Streaming(b"data: hel"))
    with running(config, GATEWAY_DRAIN_TIMEOUT="1") as gateway, gateway.client() as client:
        client.send(request("GET", path))
        head = client.head()
        tell(gateway)
        body = client.body_of(head)
        assert (body.complete, body.data) == (False, b"data: hel")
        gateway.ended()
        assert '"draining"' in gateway.output


@pytest.mark.parametrize(("first", "between"), [(b"data: 1\r\n\r\n", True), (b"data: 1\n", False)])
def test_an_upstream_that_dies_between_events_is_told_of_in_the_last_one(
    gateway: Gateway, backend: Backend, first: bytes, between: bool
) -> None:
    def dying(peer: Peer) -> None:
        peer.send(STREAM + piece(first))
        peer.reset()

    with gateway.client() as client:
        client.send(request("GET", backend.serve(dying)))
        try:
            body = client.body_of(client.head())
        except Cut:
            assert not between
            return
        assert body.complete == between
        if between:
            assert last_event(body.data.replace(first, b""))["code"] == "upstream_bad_response"
        assert client.hung_up()


class Steady(threading.Thread):
    """Asks back to back on kept-alive connections; connects anew only when it was told to, to the next gateway then."""

    def __init__(self, path: str, ports: list[int]) -> None:
        super().__init__()
        self._path, self._ports = path, ports
        self.stopping = threading.Event()
        self.answered = 0
        self.moved = 0
        self.failed: list[str] = []

    def run(self) -> None:
        """Until it is stopped, or a request fails."""
        with ExitStack() as stack:
            client = stack.enter_context(Client(self._ports[0]))
            while not self.stopping.is_set() and not self.failed:
                try:
                    answer = client.ask(request("GET", self._path))
                except (OSError, Cut) as exc:
                    self.failed.append(f"{exc!r} after {self.answered}")
                    return
                if answer.status != 200:
                    self.failed.append(str(answer.status))
                self.answered += 1
                if answer.value("connection") == "close":
                    self.moved += 1
                    client = stack.enter_context(Client(self._ports[1]))


@pytest.fixture
def second(config: Path) -> Iterator[Gateway]:
    """Another instance."""
    with running(config) as gateway:
        yield gateway


@WORKERS
def test_clients_that_ask_back_to_back_lose_nothing(
    config: Path, backend: Backend, second: Gateway, workers: str
) -> None:
    path = backend.serve(reply(200, b"ok"))
    with running(config, GATEWAY_WORKERS=workers) as first:
        steady = [Steady(path, [first.port, second.port]) for _ in range(8)]
        for thread in steady:
            thread.start()
        try:
            eventually(lambda: all(thread.answered > 5 for thread in steady), "all are at it", within=20)
            first.stop()
            seen = [thread.answered for thread in steady]
            eventually(
                lambda: all(thread.answered > had or thread.failed for thread, had in zip(steady, seen, strict=True)),
                "all go on elsewhere",
                within=20,
            )
        finally:
            for thread in steady:
                thread.stopping.set()
            for thread in steady:
                thread.join(20)
    assert [thread.failed for thread in steady] == [[]] * 8
    assert [thread.moved for thread in steady] == [1] * 8


def test_clients_in_the_kernels_queue_when_the_socket_closes_are_served(config: Path, backend: Backend) -> None:
    """The gateway stands still while they connect, and finds the signal beside them when it goes on."""
    path = backend.serve(reply(200, b"ok"))
    with running(config) as gateway, ExitStack() as stack:
        stand_still(gateway.process.pid)
        gateway.process.send_signal(signal.SIGTERM)
        clients = [stack.enter_context(gateway.client()) for _ in range(50)]
        for client in clients:
            client.send(request("GET", path))
        gateway.process.send_signal(signal.SIGCONT)
        assert [client.read().data for client in clients] == [b"ok"] * 50
        gateway.ended()
