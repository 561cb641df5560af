"""One upstream at work: its session, its destinations, and a pool for each of them.

Sessions open when the worker starts and close when it stops, never per request. What goes wrong while connecting
becomes a `Problem` here, once; the reason in the exception goes to the log, not to the client.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import structlog
from aiohttp.client_reqrep import ClientRequest
from yarl import URL

from aiogateway.deadlines import Deadlines
from aiogateway.errors import Problem
from aiogateway.metrics import Metrics, families
from aiogateway.routes import Upstream
from aiogateway.upstreams.connection import Connector, UpstreamConnection, open_session
from aiogateway.upstreams.pool import Pool

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Destination:
    """One URL of an upstream.

    :ivar host: the `Host` its requests carry.
    :ivar base: the path its URL ends in, put before every request's path; often empty.
    """

    url: str
    host: bytes
    base: bytes
    pool: Pool


class UpstreamClient:
    """Requests to one upstream, over the pools of its destinations.

    Made inside a running event loop; `close` ends what it opened.
    """

    def __init__(self, upstream: Upstream, deadlines: Deadlines, metrics: Metrics) -> None:
        self.upstream = upstream
        self._deadlines = deadlines
        self._session = open_session()
        self._metrics = metrics
        self.overflows = metrics.count(families.OVERFLOW, upstream.name)
        self._failing: dict[str, str] = {}
        self._tls = tls_context(upstream)
        self.destinations = tuple(map(self._destination, upstream.urls))
        self._turns = itertools.cycle(range(len(self.destinations)))

    def _destination(self, text: str) -> Destination:
        url = URL(text)
        key = ClientRequest(
            "GET",
            url,
            loop=asyncio.get_running_loop(),
            session=self._session,
            ssl=self._tls,
            server_hostname=self.upstream.server_name,
        )
        connector = Connector(self._session, key)
        limits = self.upstream.pool

        async def connect() -> UpstreamConnection:
            try:
                async with asyncio.timeout(limits.connect_timeout):
                    connection = await connector.connect()
                self._recovered(text)
                return connection
            except (aiohttp.ClientError, OSError, UnicodeError) as exc:
                reason = reason_of(exc, tls=url.scheme == "https")
                self._failed(text, reason)
                raise unreachable(self.upstream.name, reason) from exc

        host = url.raw_authority.encode()
        base = url.raw_path.rstrip("/").encode()
        pool = Pool(self.upstream.name, limits, connect, self._deadlines, self.overflows)
        return Destination(text, host, base, pool)

    def _failed(self, url: str, reason: str) -> None:
        """Tell of a destination that can't be connected to: once, until it can be again or fails otherwise."""
        self._metrics.count(families.CONNECT_FAILURES, self.upstream.name, reason).events += 1
        if self._failing.get(url) != reason:
            self._failing[url] = reason
            log.warning("connect failed", upstream=self.upstream.name, destination=url, reason=reason)

    def _recovered(self, url: str) -> None:
        if self._failing.pop(url, None) is not None:
            log.info("connected again", upstream=self.upstream.name, destination=url)

    def failing(self, destination: Destination) -> str | None:
        """Why the last connection to a destination could not be made, in one word; None when it could."""
        return self._failing.get(destination.url)

    def in_turn(self) -> Sequence[Destination]:
        """Every destination once, beginning with the one whose turn it is."""
        destinations = self.destinations
        if len(destinations) == 1:
            return destinations
        first = next(self._turns)
        return destinations[first:] + destinations[:first]

    def sweep(self) -> None:
        for destination in self.destinations:
            destination.pool.sweep()

    async def close(self) -> None:
        for destination in self.destinations:
            destination.pool.close()
        await self._session.close()


def tls_context(upstream: Upstream) -> ssl.SSLContext | bool:
    """How an `https` destination is verified; the default store unless the upstream names a bundle of its own."""
    if upstream.ca_file is None:
        return True
    context = ssl.create_default_context(cafile=upstream.ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


# In this order: an error may be several of these.
_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (aiohttp.ClientConnectorCertificateError, "certificate"),
    (aiohttp.ClientSSLError, "tls"),
    (ssl.SSLError, "tls"),
    (aiohttp.ClientConnectorDNSError, "dns"),
    (UnicodeError, "dns"),
    (TimeoutError, "timeout"),
    (ConnectionRefusedError, "refused"),
)
_DETAILS = {
    "certificate": ("upstream_tls", "the {} service's certificate can't be verified"),
    "tls": ("upstream_tls", "no secure connection to the {} service could be made"),
    "dns": ("upstream_unreachable", "the {} service can't be reached: its name has no address"),
    "timeout": ("upstream_unreachable", "the {} service can't be reached: it does not accept connections"),
}


def reason_of(exc: BaseException, *, tls: bool) -> str:
    """Why connecting failed, in one word.

    :param tls: whether TLS was to be spoken: a connection that is lost while it is made was lost in the handshake.
    """
    cause = exc.os_error if isinstance(exc, aiohttp.ClientConnectorError) else exc
    named = (word for kind, word in _REASONS for candidate in (exc, cause) if isinstance(candidate, kind))
    return next(named, "tls" if tls and isinstance(cause, ConnectionError) else "os")


def unreachable(upstream: str, reason: str) -> Problem:
    """The problem for a connection that could not be made; nothing was sent."""
    code, detail = _DETAILS.get(reason, ("upstream_unreachable", "the {} service can't be reached"))
    return Problem(code, detail.format(upstream))
