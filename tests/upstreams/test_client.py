"""One upstream at work: its destinations in turn, and what becomes of a connection that can't be made."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp.client_reqrep import ConnectionKey
from structlog.testing import capture_logs

from aiogateway.deadlines import Deadlines
from aiogateway.errors import Problem
from aiogateway.metrics import Metrics
from aiogateway.routes import Upstream
from aiogateway.upstreams.client import UpstreamClient
from aiogateway.upstreams.connecting import reason_of, tls_context, unreachable
from tests.config_folders import load
from tests.ports import free_port
from tests.upstreams.scripted import Peer, answering, upstream
from tests.upstreams.standing import Waited

KEY = ConnectionKey("b", 1, True, True, None, None, None)
REFUSED = ConnectionRefusedError(111, "Connection refused")

REASONS: list[tuple[BaseException, str, str]] = [
    # The error, why that is over plain HTTP, and why over TLS.
    (aiohttp.ClientConnectorError(KEY, REFUSED), "refused", "refused"),
    (REFUSED, "refused", "refused"),
    (TimeoutError(), "timeout", "timeout"),
    (aiohttp.ConnectionTimeoutError(), "timeout", "timeout"),
    (aiohttp.ClientConnectorError(KEY, TimeoutError(110, "timed out")), "timeout", "timeout"),
    (aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "Name or service not known")), "dns", "dns"),
    (aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("no")), "certificate", "certificate"),
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "no")), "tls", "tls"),
    (ssl.SSLError(1, "no"), "tls", "tls"),
    (aiohttp.ClientConnectorError(KEY, OSError(113, "No route to host")), "os", "os"),
    (aiohttp.ClientConnectorError(KEY, ConnectionResetError(104, "reset")), "os", "tls"),
    (aiohttp.ServerDisconnectedError(), "os", "os"),
    (OSError(24, "Too many open files"), "descriptors", "descriptors"),
]


@pytest.mark.parametrize(("exc", "plain", "tls"), REASONS, ids=[repr(case[0])[:60] for case in REASONS])
def test_why_connecting_failed_is_one_word(exc: BaseException, plain: str, tls: str) -> None:
    assert (reason_of(exc, tls=False), reason_of(exc, tls=True)) == (plain, tls)


@pytest.mark.parametrize(
    ("reason", "code", "status"),
    [
        ("certificate", "upstream_tls", 502),
        ("tls", "upstream_tls", 502),
        ("dns", "upstream_unreachable", 503),
        ("timeout", "upstream_unreachable", 503),
        ("refused", "upstream_unreachable", 503),
        ("os", "upstream_unreachable", 503),
    ],
)
def test_the_client_is_told_which_service_and_no_address(reason: str, code: str, status: int) -> None:
    problem = unreachable("crawling", reason)
    assert (problem.code, problem.status) == (code, status)
    assert "crawling service" in problem.detail and ":" not in problem.detail.replace("reached:", "")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def bundle(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def described(root: Path, *urls: str, **keys: str) -> Upstream:
    """An upstream `b` with these destinations."""
    lines = [f"url = {list(urls)}".replace("'", '"'), *(f'{key} = "{value}"' for key, value in keys.items())]
    return load(root, "", "\n".join(["[b]", *lines, ""]), GATEWAY_POOL_B_CONNECT_TIMEOUT="2").upstreams["b"]


@asynccontextmanager
async def at_work(described: Upstream) -> AsyncIterator[UpstreamClient]:
    client = UpstreamClient(described, Deadlines(asyncio.get_running_loop().time), Metrics())
    try:
        yield client
    finally:
        await client.close()


async def connect(client: UpstreamClient) -> None:
    """Take a connection to the first destination, and give it up."""
    pool = client.destinations[0].pool
    pool.discard(await pool.acquire(Waited()))


async def test_destinations_in_round_robin_take_turns(tmp_path: Path) -> None:
    described_ = described(tmp_path, "http://a:1", "http://b:2/base/", "https://c", balance="round_robin")
    async with at_work(described_) as client:
        a, b, c = client.destinations
        assert [client.choose() for _ in range(6)] == [a, b, c, a, b, c]
        assert [(each.host, each.base) for each in client.destinations] == [
            (b"a:1", b""),
            (b"b:2", b"/base"),
            (b"c", b""),
        ]


async def test_a_refused_connection_is_told_and_its_reason_logged(tmp_path: Path) -> None:
    async with at_work(described(tmp_path, f"http://127.0.0.1:{free_port()}")) as client:
        with capture_logs() as logged, pytest.raises(Problem, match="upstream_unreachable"):
            await connect(client)
        assert [(line["upstream"], line["reason"]) for line in logged] == [("b", "refused")]
        assert client.destinations[0].pool.in_use == 0


async def test_a_destination_out_of_reach_is_logged_once_until_that_changes(tmp_path: Path) -> None:
    with socket.socket() as listener:  # bound, so that nobody else gets the port; refusing until it listens
        listener.bind(("127.0.0.1", 0))
        async with at_work(described(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}")) as client:

            async def attempts() -> list[tuple[str, str]]:
                with capture_logs() as logged:
                    for _ in range(3):
                        with suppress(Problem):
                            await connect(client)
                return [(line["log_level"], line["event"]) for line in logged]

            assert await attempts() == [("warning", "connect failed")]
            assert await attempts() == []
            listener.listen()
            assert await attempts() == [("info", "connected again")]
            listener.close()
            assert await attempts() == [("warning", "connect failed")]


async def test_an_upstream_that_speaks_no_tls_is_a_tls_failure(tmp_path: Path) -> None:
    async def plain(peer: Peer) -> None:
        await peer.exactly(1)
        await peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with upstream(plain) as port, at_work(described(tmp_path, f"https://127.0.0.1:{port}")) as client:
        with pytest.raises(Problem, match="upstream_tls"):
            await connect(client)


@asynccontextmanager
async def secured(authority: trustme.CA, name: str) -> AsyncIterator[int]:
    """A TLS server whose certificate has this name."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    connections: set[asyncio.StreamWriter] = set()
    server = await asyncio.start_server(lambda _, writer: connections.add(writer), "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in connections:
            writer.transport.abort()


@pytest.mark.parametrize(
    ("issued_to", "server_name", "trusted", "accepted"),
    [
        ("127.0.0.1", None, True, True),
        ("crawling.inner", "crawling.inner", True, True),
        ("crawling.inner", None, True, False),
        ("127.0.0.1", "crawling.inner", True, False),
        ("127.0.0.1", None, False, False),
    ],
)
async def test_a_certificate_must_be_of_the_bundle_and_of_the_name(
    tmp_path: Path,
    authority: trustme.CA,
    bundle: Path,
    issued_to: str,
    server_name: str | None,
    trusted: bool,
    accepted: bool,
) -> None:
    keys = ({"ca_file": str(bundle)} if trusted else {}) | ({"server_name": server_name} if server_name else {})
    async with (
        secured(authority, issued_to) as port,
        at_work(described(tmp_path, f"https://127.0.0.1:{port}", **keys)) as client,
    ):
        if accepted:
            await connect(client)
        else:
            with pytest.raises(Problem, match="certificate") as caught:
                await connect(client)
            assert caught.value.code == "upstream_tls"


def test_a_bundle_of_its_own_is_all_that_an_upstream_trusts(tmp_path: Path, bundle: Path) -> None:
    context = tls_context(described(tmp_path, "https://c", ca_file=str(bundle)))
    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(context.get_ca_certs()) == 1
    assert tls_context(described(tmp_path, "https://c")) is True


async def test_closing_ends_idle_connections(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def until_it_ends(peer: Peer) -> None:
        await peer.rest()
        ended.set()

    async with upstream(until_it_ends) as port:
        async with at_work(described(tmp_path, f"http://127.0.0.1:{port}")) as client:
            pool = client.destinations[0].pool
            pool.release(await pool.acquire(Waited()))
            client.sweep()
        async with asyncio.timeout(30):
            await ended.wait()


async def test_answers_are_read_over_a_connection_of_a_client(tmp_path: Path) -> None:
    script = answering(b"HTTP/1.1 204 No Content\r\n\r\n")
    async with upstream(script) as port, at_work(described(tmp_path, f"http://127.0.0.1:{port}")) as client:
        pool = client.destinations[0].pool
        connection = await pool.acquire(Waited())
        connection.begin(b"GET / HTTP/1.1\r\n\r\n", bodiless=False)
        assert (await connection.next_head())[0].code == 204
        pool.discard(connection)


async def test_another_description_keeps_what_stays_and_drains_what_goes(tmp_path: Path) -> None:
    script = answering(b"HTTP/1.1 204 No Content\r\n\r\n")
    async with upstream(script) as one, upstream(script) as other:
        stays, goes = f"http://127.0.0.1:{one}", f"http://127.0.0.1:{other}"
        async with at_work(described(tmp_path / "a", stays, goes)) as client:
            kept, removed = client.destinations
            in_use, idle = await removed.pool.acquire(Waited()), await kept.pool.acquire(Waited())
            kept.pool.release(idle)
            client.update(described(tmp_path / "b", stays, "http://127.0.0.1:1"))
            assert client.destinations[0] is kept and kept.pool.idle == 1
            assert [each.url for each in client.destinations] == [stays, "http://127.0.0.1:1"]
            assert [client.quiet] == [False], "a removed destination finishes what it does"
            removed.pool.release(in_use)
            assert [client.quiet, removed.pool.idle] == [True, 0]


async def test_other_limits_hold_at_once(tmp_path: Path) -> None:
    async with at_work(described(tmp_path / "a", "http://a:1")) as client:
        changed = load(
            tmp_path / "b",
            "",
            '[b]\nurl = "http://a:1"\nbalance = "round_robin"\neject_after = 2\n',
            GATEWAY_POOL_B_MAX_CONNECTIONS="7",
        )
        before = client.destinations
        client.update(changed.upstreams["b"])
        assert client.destinations == before and before[0].pool.limits.max_connections == 7


async def test_other_tls_takes_another_client(tmp_path: Path, authority: trustme.CA) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    first = described(tmp_path / "a", "https://c", ca_file=str(ca_file))
    async with at_work(first) as client:
        assert client.goes_on_as(first)
        assert not client.goes_on_as(described(tmp_path / "b", "https://c"))
        assert not client.goes_on_as(described(tmp_path / "c", "https://c", ca_file=str(ca_file), server_name="d"))
        trustme.CA().cert_pem.write_to_path(str(ca_file))
        renewed = described(tmp_path / "d", "https://c", ca_file=str(ca_file))
        assert not client.goes_on_as(renewed), "the same file with another certificate in it"
        assert client.goes_on_as(first), "what was read is not read again"
