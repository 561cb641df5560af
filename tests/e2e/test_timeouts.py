"""Every wait has its end and its code (contract, the time variables), with small settings.

The grace of the rates is 30 s and no setting: the slow upload and the slow download start with the module, and are
judged last.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from .harness import (
    Backend,
    Cut,
    Gateway,
    Peer,
    Response,
    assert_problem,
    chunked,
    elapsed,
    eventually,
    reply,
    request,
    running,
    write_table,
)

SHORT, MEDIUM, IDLE, STREAM_IDLE, HEAD, KEEPALIVE = 0.5, 3.0, 1.0, 2.5, 0.6, 0.8
LATE = 2.5
"""Seconds by which an end may come late on a busy machine."""
MIB = 1 << 20

ROUTES = """
auth = "public"
rate_limit = "off"
upstream = "main"
max_body = "1 GiB"
[[route]]
path = "/b/{rest:path}"
[[route]]
path = "/medium/{rest:path}"
timeout = "medium"
[[route]]
path = "/own/{rest:path}"
timeout = 1.5
[[route]]
path = "/narrow/{rest:path}"
upstream = "narrow"
timeout = "medium"
[[route]]
path = "/full/{rest:path}"
upstream = "full"
timeout = "medium"
[[route]]
path = "/deaf/{rest:path}"
upstream = "deaf"
"""


@pytest.fixture(scope="module")
def deaf_port() -> Iterator[int]:
    """A port whose backlog is full: connections to it are never made."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, backend: Backend, deaf_port: int) -> Iterator[Gateway]:
    """A gateway with little patience."""
    names = ("main", "narrow", "full")
    upstreams = "".join(f'{name} = {{ url = "{backend.url}" }}\n' for name in names)
    upstreams += f'deaf = {{ url = "http://127.0.0.1:{deaf_port}" }}\n'
    config = write_table(tmp_path_factory.mktemp("hasty") / "config", upstreams, ROUTES)
    with running(
        config,
        GATEWAY_TIMEOUT_SHORT=str(SHORT),
        GATEWAY_TIMEOUT_MEDIUM=str(MEDIUM),
        GATEWAY_IDLE_TIMEOUT=str(IDLE),
        GATEWAY_STREAM_IDLE_TIMEOUT=str(STREAM_IDLE),
        GATEWAY_HEADER_TIMEOUT=str(HEAD),
        GATEWAY_KEEPALIVE_TIMEOUT=str(KEEPALIVE),
        GATEWAY_UPLOAD_MIN_RATE="1 MiB",
        GATEWAY_DOWNLOAD_MIN_RATE="1 GiB",
        GATEWAY_POOL_NARROW_MAX_CONNECTIONS="1",
        GATEWAY_POOL_NARROW_ACQUIRE_TIMEOUT="0.4",
        GATEWAY_POOL_FULL_MAX_CONNECTIONS="1",
        GATEWAY_POOL_FULL_MAX_PENDING="1",
        GATEWAY_POOL_FULL_ACQUIRE_TIMEOUT="20",
        GATEWAY_POOL_DEAF_CONNECT_TIMEOUT="0.5",
    ) as gateway:
        yield gateway


class Slow:
    """Exchanges below the minimum rates, each in a thread of its own that started with the module."""

    def __init__(self, gateway: Gateway, backend: Backend) -> None:
        self.started = time.monotonic()
        self.upload: Response | None = None
        self.uploaded = 0.0
        self.download_complete = True
        self._stop = threading.Event()
        upload_path = backend.serve(reply(), under="/b")
        self.download_path = backend.serve(reply(200, bytes(64 * MIB)), under="/b")
        self._threads = [
            threading.Thread(target=self._send_slowly, args=(gateway, upload_path)),
            threading.Thread(target=self._read_slowly, args=(gateway, self.download_path)),
        ]
        for thread in self._threads:
            thread.start()

    def _send_slowly(self, gateway: Gateway, path: str) -> None:
        with gateway.client() as client:
            client.send(request("POST", path, f"Content-Length: {100 * MIB}"))
            while client.silent(0.2) and not self._stop.is_set() and client.push(bytes(1000)):
                pass
            if not self._stop.is_set():
                self.upload, self.uploaded = client.read(), time.monotonic() - self.started

    def _read_slowly(self, gateway: Gateway, path: str) -> None:
        with gateway.client(window=4096) as client:
            client.send(request("GET", path))
            head = client.head()
            while not self._stop.wait(0.5):
                with contextlib.suppress(ConnectionError):
                    client.sock.recv(64)
            self.download_complete = client.body_of(head).complete

    def stop(self) -> None:
        """End both, whatever became of them."""
        self._stop.set()
        for thread in self._threads:
            thread.join(20)


@pytest.fixture(scope="module", autouse=True)
def slow(hasty: Gateway, backend: Backend) -> Iterator[Slow]:
    """The slow exchanges, running while the other tests do."""
    running_slow = Slow(hasty, backend)
    yield running_slow
    running_slow.stop()


def silent(peer: Peer) -> None:
    """Take the request and say nothing until the gateway leaves."""
    peer.read_body()
    peer.left()
    peer.close()


@pytest.mark.parametrize(("under", "tier"), [("/b", SHORT), ("/own", 1.5), ("/medium", MEDIUM)])
def test_a_head_that_does_not_come_is_504_after_the_routes_tier(
    hasty: Gateway, backend: Backend, under: str, tier: float
) -> None:
    path = backend.serve(silent, under)
    with elapsed() as taken:
        assert_problem(hasty.send("POST", path, body=b"abc"), "upstream_timeout")
    assert tier - 0.05 <= taken.seconds <= tier + LATE
    eventually(lambda: backend.one(path).connection.closed, "the upstream's connection is closed")


def test_the_tier_counts_from_the_requests_last_byte(hasty: Gateway, backend: Backend) -> None:
    path, quiet = backend.serve(reply(200, b"ok")), backend.serve(silent)
    for target, status in ((path, 200), (quiet, 504)):
        with hasty.client() as client:
            client.send(request("POST", target, f"Content-Length: {100_000 * 5}"))
            for _ in range(5):
                assert client.silent(0.25)
                client.sock.sendall(bytes(100_000))
            with elapsed() as taken:
                assert client.read().status == status
            assert status == 200 or taken.seconds >= SHORT - 0.05


def test_interim_answers_do_not_stand_for_a_head(hasty: Gateway, backend: Backend) -> None:
    def hinting(peer: Peer) -> None:
        for _ in range(60):
            peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            time.sleep(0.1)

    with elapsed() as taken:
        assert_problem(hasty.get(backend.serve(hinting)), "upstream_timeout")
    assert taken.seconds <= SHORT + LATE


def test_a_full_pool_is_503_after_the_acquire_timeout(hasty: Gateway, backend: Backend) -> None:
    path = backend.serve(silent, "/narrow")
    with hasty.client() as holder:
        holder.send(request("GET", path))
        backend.wait_for(path)
        with elapsed() as taken:
            document = assert_problem(hasty.get(path), "upstream_pool_exhausted")
        assert 0.35 <= taken.seconds <= 0.4 + LATE
        assert document["retryable"]
    assert len(backend.seen(path)) == 1


def test_a_full_queue_is_503_at_once(hasty: Gateway, backend: Backend) -> None:
    go_on = threading.Event()

    def waiting(peer: Peer) -> None:
        peer.wait(go_on)
        peer.send(reply(200, b"ok"))

    path = backend.serve(waiting, "/full")
    with hasty.client() as holder, hasty.client() as queued, hasty.client() as probe:
        holder.send(request("GET", path))
        backend.wait_for(path)
        queued.send(request("GET", path))
        assert queued.silent(0.2)
        with elapsed() as taken:
            assert_problem(probe.ask(request("GET", path)), "upstream_pool_exhausted")
        assert taken.seconds < LATE
        go_on.set()
        assert [holder.read().data, queued.read().data] == [b"ok", b"ok"]


def test_a_connection_that_cannot_be_made_is_503_after_the_connect_timeout(hasty: Gateway) -> None:
    with elapsed() as taken:
        assert_problem(hasty.get("/deaf/x"), "upstream_unreachable")
    assert 0.45 <= taken.seconds <= 1.0 + LATE


SILENT_BODIES = {
    "small, of a length": (["Content-Length: 100"], b"abc", False),
    "small, in chunks": (["Transfer-Encoding: chunked"], chunked(b"abc", end=b""), False),
    "nothing of a body": (["Content-Length: 100"], b"", False),
    "large, of a length": ([f"Content-Length: {MIB}"], bytes(100_000), True),
    "large, in chunks": (["Transfer-Encoding: chunked"], chunked(bytes(100_000), end=b""), True),
}


@pytest.mark.parametrize(("fields", "part", "streamed"), SILENT_BODIES.values(), ids=SILENT_BODIES)
def test_a_client_silent_in_the_middle_of_a_body_is_408(
    hasty: Gateway, backend: Backend, fields: list[str], part: bytes, streamed: bool
) -> None:
    path = backend.serve(reply(), "/medium")
    with hasty.client() as client:
        client.send(request("POST", path, *fields) + part)
        with elapsed() as taken:
            assert_problem(client.read(), "request_timeout")
        assert IDLE - 0.05 <= taken.seconds <= IDLE + LATE
        assert client.hung_up()
    assert len(backend.seen(path)) == int(streamed)
    eventually(lambda: all(seen.connection.closed for seen in backend.seen(path)), "the upload is aborted")
    assert not any(seen.body.complete for seen in backend.seen(path))


def test_a_body_that_keeps_coming_is_not_cut(hasty: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, b"ok"))
    with hasty.client() as client:
        client.send(request("POST", path, "Content-Length: 7"))
        for _ in range(7):
            assert client.silent(0.25)
            client.sock.sendall(b"x")
        assert client.read().data == b"ok"


def pausing(head: str, pause: float) -> Callable[[Peer], None]:
    """An answer in chunks with a pause in it."""

    def answer(peer: Peer) -> None:
        peer.send(f"HTTP/1.1 200 OK\r\n{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".encode())
        time.sleep(pause)
        peer.send(chunked(b"world"))

    return answer


SSE = "Content-Type: text/event-stream\r\n"
PAUSES = {
    "longer than the idle time": ("/b", "", IDLE + LATE, IDLE),
    "longer than the tier, which is longer": ("/medium", "", MEDIUM + LATE, MEDIUM),
    "an event stream's, longer than its idle time": ("/b", SSE, STREAM_IDLE + LATE, STREAM_IDLE),
    "shorter than the idle time": ("/b", "", IDLE * 0.6, None),
    "longer than the idle time, shorter than the tier": ("/medium", "", IDLE + 0.6, None),
    "an event stream's, shorter than its idle time": ("/b", SSE, IDLE + 0.6, None),
}


@pytest.mark.parametrize(("under", "head", "pause", "cut_after"), PAUSES.values(), ids=PAUSES)
def test_an_upstream_silent_in_the_middle_of_an_answer(
    hasty: Gateway, backend: Backend, under: str, head: str, pause: float, cut_after: float | None
) -> None:
    path = backend.serve(pausing(head, pause), under)
    with hasty.client() as client, elapsed() as taken:
        answer = client.ask(request("GET", path))
    assert answer.body.complete == (cut_after is None)
    if cut_after is not None:
        assert cut_after - 0.1 <= taken.seconds < pause


def test_an_upstream_that_stops_reading_an_upload_is_504(hasty: Gateway, backend: Backend) -> None:
    left = threading.Event()

    def deaf(peer: Peer) -> None:
        peer.wait(left)
        peer.close()

    path = backend.serve(deaf, "/medium")
    with hasty.client() as client:
        client.send(request("POST", path, f"Content-Length: {256 * MIB}"))
        pusher = threading.Thread(target=client.push, args=(bytes(256 * MIB),))
        pusher.start()
        with elapsed() as taken:
            assert_problem(client.read(), "upstream_timeout")
        left.set()
        pusher.join()
    assert IDLE - 0.05 <= taken.seconds <= MEDIUM + LATE


HEADS = {
    "half a head": (b"GET /b/x HTTP/1.1\r\nHost: a\r\n", b""),
    "half a line": (b"GET /b", b""),
    "a head that drips": (b"GET /b/x HTTP/1.1\r\nX-A: ", b"a"),
}


@pytest.mark.parametrize(("start", "drip"), HEADS.values(), ids=HEADS)
def test_a_head_that_does_not_end_is_408_or_a_close(hasty: Gateway, start: bytes, drip: bytes) -> None:
    with hasty.client() as client, elapsed() as taken:
        client.send(start)
        for _ in range(100):
            if not client.silent(0.1):
                break
            client.push(drip)
        try:
            answer = client.read()
        except Cut:
            pass
        else:
            assert_problem(answer, "request_timeout")
            assert client.hung_up()
    assert HEAD - 0.1 <= taken.seconds <= HEAD + LATE


def test_a_second_head_on_a_kept_connection_is_bounded_too(hasty: Gateway, backend: Backend) -> None:
    with hasty.client() as client:
        assert client.ask(request("GET", backend.serve(reply()))).status == 200
        with elapsed() as taken:
            client.send(b"GET /b/x HTTP/1.1\r\nHost: a\r\n")
            assert not client.silent(HEAD + KEEPALIVE + LATE)
        assert taken.seconds <= HEAD + LATE


def test_a_connection_that_says_nothing_is_closed(hasty: Gateway) -> None:
    with hasty.client() as client, elapsed() as taken:
        assert client.hung_up()
    assert taken.seconds <= max(HEAD, KEEPALIVE) + LATE


def test_an_idle_connection_is_closed_after_the_keepalive_timeout(hasty: Gateway, backend: Backend) -> None:
    with hasty.client() as client:
        assert client.ask(request("GET", backend.serve(reply()))).status == 200
        with elapsed() as taken:
            assert client.hung_up()
    assert KEEPALIVE - 0.1 <= taken.seconds <= KEEPALIVE + LATE


def test_a_client_below_the_minimum_upload_rate_is_408_after_the_grace(slow: Slow) -> None:
    eventually(lambda: slow.upload or slow.uploaded, "the slow upload ends", within=45)
    assert slow.upload is not None
    assert_problem(slow.upload, "request_timeout")
    assert 29 <= slow.uploaded <= 40


def test_a_client_below_the_minimum_download_rate_is_cut_after_the_grace(slow: Slow, backend: Backend) -> None:
    """The upstream's side tells when: what the kernel holds already may still reach the client."""
    connection = backend.one(slow.download_path).connection
    eventually(lambda: connection.closed, "the slow download ends", within=45)
    assert connection.closed is not None
    assert 29 <= connection.closed - slow.started <= 40
    slow.stop()
    assert not slow.download_complete
