"""One gateway and one backend for most of the end-to-end tests; modules with settings of their own start their own."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import pytest
import trustme

from .harness import PATIENT, Backend, Gateway, running, write_table
from .hasty import Slow, deaf_port, hasty_gateway

ROUTES = """
auth = "public"
rate_limit = "off"
upstream = "main"

[[route]]
path = "/b/{rest:path}"

[[route]]
path = "/large/{rest:path}"
max_body = "1 GiB"

[[route]]
path = "/limited/{rest:path}"
max_body = "256 KiB"

[[route]]
path = "/tiny/{rest:path}"
max_body = "1 KiB"

[[route]]
path = "/read-only/{rest:path}"
methods = ["GET"]

[[route]]
path = "/pass/{rest:path}"
errors = "pass"

[[route]]
path = "/people/{person}/files/{file}"
upstream_path = "/inner/{file}/of/{person}"

[[route]]
path = "/fixed"
upstream_path = "/elsewhere/entirely"

[[route]]
path = "/lonely/{rest:path}"
upstream = "lonely"
max_body = "1 GiB"

[[route]]
path = "/never-again/{rest:path}"
upstream = "lonely"
retry = false

[[route]]
path = "/pair/{rest:path}"
upstream = "pair"

[[route]]
path = "/half-dead/{rest:path}"
upstream = "half_dead"

[[route]]
path = "/refused/{rest:path}"
upstream = "refused"

[[route]]
path = "/unresolvable/{rest:path}"
upstream = "unresolvable"

[[route]]
path = "/plain-as-tls/{rest:path}"
upstream = "plain_as_tls"

[[route]]
path = "/untrusted/{rest:path}"
upstream = "untrusted"

[[route]]
path = "/misnamed/{rest:path}"
upstream = "misnamed"

[[route]]
path = "/trusted/{rest:path}"
upstream = "trusted"

[[route]]
path = "/named/{rest:path}"
upstream = "named"
"""


@pytest.fixture(scope="session")
def backend() -> Iterator[Backend]:
    """The backend behind `/b` and most other routes."""
    with Backend() as running_backend:
        yield running_backend


@pytest.fixture(scope="session")
def lonely() -> Iterator[Backend]:
    """A backend that one test at a time uses, so that the gateway holds at most one connection to it."""
    with Backend() as running_backend:
        yield running_backend


@pytest.fixture(scope="session")
def pair() -> Iterator[tuple[Backend, Backend]]:
    """The two destinations of one upstream."""
    with Backend() as first, Backend() as second:
        yield first, second


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """The certificate authority of the TLS backends."""
    return trustme.CA()


@pytest.fixture(scope="session")
def tls_backend(authority: trustme.CA) -> Iterator[Backend]:
    """A TLS backend whose certificate names `localhost`."""
    with _tls(authority, "localhost") as running_backend:
        yield running_backend


@pytest.fixture(scope="session")
def named_backend(authority: trustme.CA) -> Iterator[Backend]:
    """A TLS backend whose certificate names `inner.test`."""
    with _tls(authority, "inner.test") as running_backend:
        yield running_backend


def _tls(authority: trustme.CA, name: str) -> Backend:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return Backend(context)


@pytest.fixture(scope="session")
def closed_port() -> Iterator[int]:
    """A port that is taken, so that nobody else gets it, and that refuses connections."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture(scope="session")
def gateway(
    tmp_path_factory: pytest.TempPathFactory,
    backend: Backend,
    lonely: Backend,
    pair: tuple[Backend, Backend],
    authority: trustme.CA,
    tls_backend: Backend,
    named_backend: Backend,
    closed_port: int,
) -> Iterator[Gateway]:
    """The gateway that most tests share: the contract's defaults, authentication off."""
    folder = tmp_path_factory.mktemp("shared")
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    refused = f"http://127.0.0.1:{closed_port}"
    upstreams = f"""
        main = {{ url = "{backend.url}", {PATIENT} }}
        lonely = {{ url = "{lonely.url}", {PATIENT} }}
        pair = {{ url = ["{pair[0].url}", "{pair[1].url}"], balance = "round_robin" }}
        half_dead = {{ url = ["{pair[0].url}", "{refused}"] }}
        refused = {{ url = "{refused}", {PATIENT} }}
        unresolvable = {{ url = "http://no-such-host.invalid:80", {PATIENT} }}
        plain_as_tls = {{ url = "https://127.0.0.1:{backend.port}", {PATIENT} }}
        untrusted = {{ url = "{tls_backend.url}", {PATIENT} }}
        misnamed = {{ url = "{named_backend.url}", ca_file = "{ca_file}", {PATIENT} }}
        trusted = {{ url = "{tls_backend.url}", ca_file = "{ca_file}" }}
        named = {{ url = "{named_backend.url}", ca_file = "{ca_file}", server_name = "inner.test" }}
    """
    with running(write_table(folder / "config", upstreams, ROUTES)) as running_gateway:
        yield running_gateway


@pytest.fixture(scope="session")
def hasty(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> Iterator[Gateway]:
    """A gateway with little patience (`hasty`)."""
    with (
        deaf_port() as unheard,
        hasty_gateway(tmp_path_factory.mktemp("hasty") / "config", backend, unheard) as running_gateway,
    ):
        yield running_gateway


@pytest.fixture(scope="session")
def slow(hasty: Gateway, backend: Backend) -> Iterator[Slow]:
    """Exchanges below the minimum rates, running beside the tests."""
    running_slow = Slow(hasty, backend)
    yield running_slow
    running_slow.stop()
