"""One URL of an upstream at work: its pool, and how it is."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp
import structlog
from aiohttp.client_reqrep import ClientRequest
from yarl import URL

from aiogateway.address import without_userinfo
from aiogateway.deadlines import Deadlines
from aiogateway.metrics import Count, Metrics, families
from aiogateway.routes import Upstream
from aiogateway.upstreams.connecting import OWN_WANT, reason_of, unreachable
from aiogateway.upstreams.connection import UpstreamConnection
from aiogateway.upstreams.connector import Connector
from aiogateway.upstreams.health import Health
from aiogateway.upstreams.pool import Connect, Pool

log = structlog.get_logger(__name__)

# Characters of a URL that are shown at the most.
MAX_SHOWN: Final = 200
# Changes that nobody has to be woken for.
QUIET: Final = frozenset({"circuit closed", "taken back", "health check passes"})


@dataclass(frozen=True, slots=True)
class Site:
    """What the destinations of one upstream have in common.

    :ivar tls: how `https` is verified.
    :ivar overflows: counts requests that found too many waiting.
    """

    upstream: Upstream
    tls: ssl.SSLContext | bool
    session: aiohttp.ClientSession
    deadlines: Deadlines
    metrics: Metrics
    overflows: Count


class Destination:
    """:param text: the URL as the configuration has it.
    :param may_eject: whether there is another destination to turn to.

    :ivar shown: its URL as logs and answers show it: short, and without a password.
    :ivar host: the `Host` its requests carry.
    :ivar base: the path its URL ends in, put before every request's path; often empty.
    :ivar unreachable: why the last connection could not be made, in one word; None when it could.
    """

    __slots__ = ("_log", "_metrics", "_name", "base", "health", "host", "pool", "shown", "unreachable", "url")

    def __init__(self, text: str, site: Site, may_eject: Callable[[Destination], bool]) -> None:
        upstream = site.upstream
        url = URL(text)
        self.url = text
        self.shown = without_userinfo(text)[:MAX_SHOWN]
        self.host = url.raw_authority.encode()
        self.base = url.raw_path.rstrip("/").encode()
        self.unreachable: str | None = None
        self._name = upstream.name
        self._metrics = site.metrics
        self._log = log.bind(upstream=upstream.name, destination=self.shown)
        clock = site.deadlines.clock
        self.health = Health(upstream, clock, lambda: may_eject(self), self._tell)
        self.pool = Pool(upstream.name, upstream.pool, self._connecting(url, site), site.deadlines, site.overflows)

    @property
    def load(self) -> int:
        """Requests that are on their way, or wait for that, and streams."""
        return self.pool.in_use + self.pool.pending + self.pool.streams

    @property
    def trouble(self) -> str | None:
        """Why the destination is not well, in a word or two; None when it is."""
        return self.unreachable or self.health.reason

    def _connecting(self, url: URL, site: Site) -> Connect:
        key = ClientRequest(
            "GET",
            url,
            loop=asyncio.get_running_loop(),
            session=site.session,
            ssl=site.tls,
            server_hostname=site.upstream.server_name,
        )
        connector = Connector(site.session, key)

        async def connect() -> UpstreamConnection:
            try:
                async with asyncio.timeout(self.pool.limits.connect_timeout):
                    connection = await connector.connect()
            except (aiohttp.ClientError, OSError, UnicodeError) as exc:
                reason = reason_of(exc, tls=url.scheme == "https")
                self._failed(reason)
                raise unreachable(self._name, reason) from exc
            if self.unreachable is not None:
                self.reached()
            return connection

        return connect

    def reached(self) -> None:
        """It answered after it could not be reached."""
        self.unreachable = None
        self._log.info("connected again")

    def _failed(self, reason: str) -> None:
        """Tell of a destination that can't be connected to: once, until it can be again or fails otherwise."""
        self._metrics.count(families.CONNECT_FAILURES, self._name, reason).events += 1
        if reason not in (self.unreachable, OWN_WANT):
            self.unreachable = reason
            self._log.warning("connect failed", reason=reason)

    def _tell(self, what: str, seconds: float | None) -> None:
        fields = {} if seconds is None else {"seconds": round(seconds, 1)}
        (self._log.info if what in QUIET else self._log.warning)(what, **fields)
