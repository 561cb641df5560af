"""WebSockets with TLS at both ends (`wss` to the gateway, `https` to the service)."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from functools import partial

import pytest
import trustme

from tests.programs import stand_still

from .harness import Backend, Gateway, Peer, Response, Wire, assert_problem, eventually, request, running, write_table
from .harness.guards import samples
from .harness.sockets import BINARY, FIELDS, MASK, PING, TEXT, Holding, Pair, Side, close, frame, switching
from .harness.wire import framing_of

ROUTES = """
[[route]]
path = "/ws/{rest:path}"
upstream = "main"
auth = "public"
rate_limit = "off"
websocket = true
"""


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA, tls_backend: Backend) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("wss")
    certificate = authority.issue_cert("gateway.test")
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    for part in certificate.cert_chain_pems:
        part.write_to_path(str(folder / "cert.pem"), append=True)
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    upstreams = f'main = {{ url = "{tls_backend.url}", ca_file = "{ca_file}" }}'
    config = write_table(folder / "config", upstreams, ROUTES)
    files = {"GATEWAY_TLS_CERT": str(folder / "cert.pem"), "GATEWAY_TLS_KEY": str(folder / "key.pem")}
    with running(config, GATEWAY_STREAM_IDLE_TIMEOUT="2", **files) as gateway:
        yield gateway


@pytest.fixture
def pair(secure: Gateway, authority: trustme.CA, tls_backend: Backend) -> Iterator[Pair]:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    holding = Holding(switching())
    path = tls_backend.serve(holding, under="/ws")
    with (
        contextlib.closing(socket.create_connection(("127.0.0.1", secure.port), timeout=10)) as plain,
        context.wrap_socket(plain, server_hostname="gateway.test") as sock,
    ):
        wire = Wire(sock)
        sock.sendall(request("GET", path, *FIELDS))
        upstream = holding.side()
        yield Pair(Side(wire, masks=True, head=wire.head()), upstream, path)
        holding.done.set()
    eventually(partial(all_closed, secure), "no socket is open")


def all_closed(gateway: Gateway) -> bool:
    return samples(gateway, "gateway_websocket_active")[()] == 0


def test_frames_pass_and_a_close_is_answered(pair: Pair) -> None:
    pair.pass_on(frame(TEXT, b"hi", mask=MASK), to_client=False)
    pair.pass_on(frame(BINARY, bytes(1 << 20)), to_client=True)
    pair.client.send(close(1000, "done", mask=MASK))
    assert pair.upstream.take_close() == (1000, "done")
    pair.upstream.send(close(1000))
    assert pair.client.take_close() == (1000, "")
    assert pair.client.ended() and pair.upstream.ended()


def test_an_upstreams_close_is_answered(pair: Pair) -> None:
    pair.upstream.send(close(4000, "done"))
    assert pair.client.take_close() == (4000, "done")
    pair.client.send(close(4000, mask=MASK))
    assert pair.upstream.take_close() == (4000, "")
    assert pair.client.ended() and pair.upstream.ended()


def test_a_client_that_leaves_frees_the_upstream(pair: Pair) -> None:
    pair.client.leave()
    assert pair.upstream.ended()


def test_an_upstream_that_dies_is_told_of(pair: Pair) -> None:
    pair.upstream.leave()
    assert pair.client.take_close()[0] == 1014


def test_silence_ends_both(pair: Pair) -> None:
    assert pair.client.take_close()[0] == 1001
    assert pair.upstream.take_close()[0] == 1001


MANY = frame(PING) * 9000
LAST_WORDS = {"with its 101": (b"", MANY + close(4401, "no")), "later": (MANY, close(4401, "no"))}


@contextlib.contextmanager
def read_in_one_go(
    secure: Gateway, authority: trustme.CA, backend: Backend, early: bytes, late: bytes
) -> Iterator[Wire]:
    """A client's end once its upstream has sent what is late, and its end with it. An early head is read by then.

    A close of TLS is data to the kernel: the gateway stands still until it stands behind the rest.
    """
    begun, go_on, said = threading.Event(), threading.Event(), threading.Event()

    def answer(peer: Peer) -> None:
        peer.send(early)
        begun.set()
        peer.wait(go_on)
        peer.send(late)
        peer.end_tls()
        said.set()
        peer.left()

    path = backend.serve(answer, under="/ws")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with (
        contextlib.closing(socket.create_connection(("127.0.0.1", secure.port), timeout=30)) as plain,
        context.wrap_socket(plain, server_hostname="gateway.test") as sock,
    ):
        wire = Wire(sock)
        sock.sendall(request("GET", path, *FIELDS))
        assert begun.wait(30)
        if early:
            wire.head()
        stand_still(secure.process.pid)
        try:
            go_on.set()
            assert said.wait(30)
        finally:
            secure.process.send_signal(signal.SIGCONT)
        yield wire
    eventually(partial(all_closed, secure), "no socket is open")


@pytest.mark.parametrize(("first", "last"), LAST_WORDS.values(), ids=LAST_WORDS)
def test_what_an_upstream_says_last_comes_too_though_its_end_is_read_in_the_same_go(
    secure: Gateway, authority: trustme.CA, tls_backend: Backend, first: bytes, last: bytes
) -> None:
    early = switching() if first else b""
    late = (b"" if first else switching()) + first + last
    with read_in_one_go(secure, authority, tls_backend, early, late) as wire:
        if not early:
            wire.head()
        assert wire.body("close").data == first + last


def test_an_upstream_that_is_gone_with_its_101_is_a_502(
    secure: Gateway, authority: trustme.CA, tls_backend: Backend
) -> None:
    """Nobody has been promised a socket yet."""
    with read_in_one_go(secure, authority, tls_backend, b"", switching()) as wire:
        head = wire.head()
        assert_problem(Response((), head, wire.body(*framing_of(head))), "upstream_bad_response")
