"""TLS on the public listener (`GATEWAY_TLS_CERT`, `GATEWAY_TLS_KEY`)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from .harness import (
    Backend,
    Gateway,
    Peer,
    Wire,
    children,
    elapsed,
    eventually,
    reply,
    request,
    run_to_exit,
    running,
    write_table,
)

MIB = 1 << 20
ROUTES = """
[[route]]
path = "/b/{rest:path}"
upstream = "main"
auth = "public"
rate_limit = "off"
max_body = "1 GiB"
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA, backend: Backend) -> Path:
    """A folder with a configuration, and a certificate for `gateway.test` with its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate = authority.issue_cert("gateway.test")
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    for part in certificate.cert_chain_pems:
        part.write_to_path(str(folder / "cert.pem"), append=True)
    write_table(folder / "config", f'main = {{ url = "{backend.url}" }}', ROUTES)
    return folder


@pytest.fixture(scope="module")
def secure(files: Path) -> Iterator[Gateway]:
    """A gateway whose public listener speaks TLS."""
    certificate, key = str(files / "cert.pem"), str(files / "key.pem")
    with running(files / "config", GATEWAY_TLS_CERT=certificate, GATEWAY_TLS_KEY=key) as gateway:
        yield gateway


@pytest.fixture
def wire(secure: Gateway, authority: trustme.CA) -> Iterator[Wire]:
    """A TLS connection to the gateway."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with (
        socket.create_connection(("127.0.0.1", secure.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="gateway.test") as sock,
    ):
        yield Wire(sock)


def test_requests_are_served_and_told_to_be_https(wire: Wire, backend: Backend) -> None:
    path = backend.serve(reply(307, b"", f"Location: {backend.url}/b/there"))
    for _ in range(2):
        wire.sock.sendall(request("GET", path))
        assert wire.head().values("location") == ["https://gateway.test/b/there"]
    assert [seen.value("x-forwarded-proto") for seen in backend.seen(path)] == ["https", "https"]


def test_bodies_pass_both_ways(wire: Wire, backend: Backend) -> None:
    path = backend.serve(reply(200, bytes(range(256)) * (MIB >> 6)))
    wire.sock.sendall(request("POST", path, body=bytes(5 * MIB)))
    length = int(wire.head().values("content-length")[0])
    assert wire.body("length", length).data == bytes(range(256)) * (MIB >> 6)
    assert backend.one(path).body.count == 5 * MIB


def test_a_client_that_leaves_ends_the_exchange(wire: Wire, backend: Backend) -> None:
    left: list[float] = []

    def noting(peer: Peer) -> None:
        left.append(peer.left())
        peer.close()

    path = backend.serve(noting)
    wire.sock.sendall(request("GET", path))
    backend.wait_for(path)
    wire.sock.close()
    eventually(lambda: left, "the upstream's connection is closed", within=2)


def test_plain_http_to_it_harms_nothing(secure: Gateway, wire: Wire, backend: Backend) -> None:
    with secure.client() as client:
        client.send(request("GET", "/b/x"))
        client.sock.recv(1 << 16)
    wire.sock.sendall(request("GET", backend.serve(reply())))
    assert wire.head().start.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("missing", ["cert.pem", "key.pem"])
def test_a_missing_file_ends_the_start(files: Path, missing: str) -> None:
    paths = {name: str(files / name) for name in ("cert.pem", "key.pem")} | {missing: str(files / "none.pem")}
    code, output = run_to_exit(
        ["serve"],
        GATEWAY_CONFIG=str(files / "config"),
        GATEWAY_TLS_CERT=paths["cert.pem"],
        GATEWAY_TLS_KEY=paths["key.pem"],
    )
    assert code == 1
    assert "GATEWAY_TLS_" in output
    assert "Traceback" not in output


def put(folder: Path, certificate: trustme.LeafCert) -> dict[str, str]:
    """Write a certificate and its key; the variables that name them."""
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "cert.pem").write_bytes(b"".join(part.bytes() for part in certificate.cert_chain_pems))
    return {"GATEWAY_TLS_CERT": str(folder / "cert.pem"), "GATEWAY_TLS_KEY": str(folder / "key.pem")}


def handshake(gateway: Gateway, authority: trustme.CA) -> tuple[ssl.SSLSocket, int]:
    """A connection, and the serial number of the certificate that it was shown."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    plain = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
    sock = context.wrap_socket(plain, server_hostname="gateway.test")
    shown = sock.getpeercert()
    assert shown is not None
    return sock, int(str(shown["serialNumber"]), 16)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_renewed_certificate_is_taken_up_and_no_connection_is_lost(
    tmp_path: Path, files: Path, authority: trustme.CA, workers: int
) -> None:
    settings = put(tmp_path, authority.issue_cert("gateway.test"))
    with running(files / "config", GATEWAY_WORKERS=str(workers), **settings) as gateway:
        old, before = handshake(gateway, authority)
        with old:
            put(tmp_path, authority.issue_cert("gateway.test"))
            gateway.process.send_signal(signal.SIGHUP)
            eventually(lambda: gateway.output.count('"reloaded') == workers, "it is taken up", within=20)
            for _ in range(6):
                new, after = handshake(gateway, authority)
                new.close()
                assert after != before
            old.sendall(request("GET", "/healthz"))
            assert Wire(old).head().start.startswith(b"HTTP/1.1 200")


def test_a_certificate_with_another_key_changes_nothing(tmp_path: Path, files: Path, authority: trustme.CA) -> None:
    settings = put(tmp_path, authority.issue_cert("gateway.test"))
    with running(files / "config", **settings) as gateway:
        sock, before = handshake(gateway, authority)
        sock.close()
        authority.issue_cert("gateway.test").private_key_pem.write_to_path(str(tmp_path / "key.pem"))
        gateway.process.send_signal(signal.SIGHUP)
        eventually(lambda: '"reload refused' in gateway.output, "it is refused", within=20)
        sock, after = handshake(gateway, authority)
        sock.close()
        assert after == before


def test_workers_that_begin_after_a_refusal_show_the_last_good_certificate(
    tmp_path: Path, files: Path, authority: trustme.CA
) -> None:
    settings = put(tmp_path, authority.issue_cert("gateway.test"))
    with running(files / "config", GATEWAY_WORKERS="2", **settings) as gateway:
        eventually(lambda: len(children(gateway.process.pid)) == 2, "two workers run")
        put(tmp_path, authority.issue_cert("gateway.test"))
        gateway.process.send_signal(signal.SIGHUP)
        eventually(lambda: gateway.output.count('"reloaded') == 2, "it is taken up", within=20)
        sock, renewed = handshake(gateway, authority)
        sock.close()
        authority.issue_cert("gateway.test").private_key_pem.write_to_path(str(tmp_path / "key.pem"))
        gateway.process.send_signal(signal.SIGHUP)
        eventually(lambda: '"reload refused' in gateway.output, "it is refused", within=20)
        before = set(children(gateway.process.pid))
        for victim in before:
            os.kill(victim, signal.SIGKILL)
        eventually(lambda: len(set(children(gateway.process.pid)) - before) == 2, "both are replaced", within=20)
        for _ in range(6):
            sock, after = handshake(gateway, authority)
            sock.close()
            assert after == renewed


def test_old_versions_of_tls_are_refused(secure: Gateway, authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", secure.port), timeout=10) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="gateway.test")


def test_a_handshake_that_stalls_is_cut_off_and_others_go_on(secure: Gateway, wire: Wire, backend: Backend) -> None:
    with socket.create_connection(("127.0.0.1", secure.port), timeout=20) as stalled:
        stalled.sendall(b"\x16\x03\x01")
        wire.sock.sendall(request("GET", backend.serve(reply())))
        assert wire.head().start.startswith(b"HTTP/1.1 200")
        with elapsed() as taken, contextlib.suppress(ConnectionError):
            assert stalled.recv(1) == b""
    assert taken.seconds > 5, "it is given time"


def test_a_client_whose_handshake_begins_as_the_gateway_stops_is_served(
    tmp_path: Path, files: Path, authority: trustme.CA, backend: Backend
) -> None:
    """It connected before the listener closed: nobody has seen it yet, and it counts."""
    settings = put(tmp_path, authority.issue_cert("gateway.test"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with (
        running(files / "config", GATEWAY_DRAIN_DELAY="0.3", **settings) as gateway,
        socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as plain,
    ):
        gateway.process.send_signal(signal.SIGTERM)
        eventually(lambda: not listening(gateway), "new connections are refused", within=10)
        with context.wrap_socket(plain, server_hostname="gateway.test") as sock:
            sock.sendall(request("GET", backend.serve(reply(200, b"served"))))
            wire = Wire(sock)
            head = wire.head()
            assert head.start.startswith(b"HTTP/1.1 200") and head.values("connection") == ["close"]
        gateway.ended()


def listening(gateway: Gateway) -> bool:
    """Whether the public listener takes connections."""
    try:
        gateway.client().leave()
    except ConnectionError:
        return False
    return True
