"""What is asked about destinations beside requests: whether a probe is answered, and where a name leads by now.

Rules: each destination has at most one task for each, owned by the upstream's client, which cancels and awaits it. A
probe is an ordinary request over the session. A name that can't be resolved changes nothing: connections that work are
worth more than an answer that is missing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Final

import aiohttp
import structlog
from yarl import URL

from aiogateway.upstreams.destination import Destination, Site

log = structlog.get_logger(__name__)

# Seconds between looks at where a name leads, and until an address that is not among its own any more is given up.
LOOK: Final = 5.0
GIVE_UP: Final = 10.0


def is_name(host: str) -> bool:
    """Whether a host is a name, which may lead elsewhere some time, and not an address."""
    try:
        ip_address(host)
    except ValueError:
        return True
    return False


async def resolve(host: str, port: int) -> set[str]:
    """The addresses of a name now.

    :raises OSError: it has none, or nobody knows.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return {str(row[4][0]) for row in found}


class Addresses:
    """Where a name has led to, and when last.

    Some names give another part of their addresses each time, so that one that is missing once is not gone.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[str, float] = {}

    def update(self, found: Iterable[str], keep: float) -> frozenset[str]:
        """Take note of where it leads now; answers the addresses it has led to, but doesn't any more.

        :param keep: seconds after which an address that is gone needs no mention, for no connection is that old.
        """
        now = self._clock()
        self._seen.update(dict.fromkeys(found, now))
        self._seen = {address: seen for address, seen in self._seen.items() if now - seen < keep + GIVE_UP}
        return frozenset(address for address, seen in self._seen.items() if now - seen >= GIVE_UP)


async def follow(destination: Destination, clock: Callable[[], float], lookups: asyncio.Semaphore) -> None:
    """Have a destination's pool give up connections to addresses that its name doesn't lead to any more; for ever.

    :param lookups: how many may go on at once: whoever connects needs some of those threads, too.
    """
    url = URL(destination.url)
    host, port = url.host or "", url.port or 0
    addresses = Addresses(clock)
    while True:
        try:
            # However long that takes: given up, it would go on in one of the few threads that there are for it.
            async with lookups:
                found = await resolve(host, port)
        except (OSError, UnicodeError):
            pass  # connecting says so, to whom it matters
        else:
            pool = destination.pool
            gone = addresses.update(found, pool.limits.max_age)
            if gone - pool.gone:
                log.info("a name's addresses changed", upstream=pool.name, host=host)
            pool.gone = gone
        await asyncio.sleep(LOOK)


async def probe(site: Site, destination: Destination) -> None:
    """Ask a destination's health path again and again, and tell its health; for ever."""
    upstream = site.upstream
    path = upstream.health_path or "/"
    url = URL(destination.url.rstrip("/") + path, encoded=True)
    timeout = aiohttp.ClientTimeout(total=upstream.health_timeout)
    while True:
        try:
            async with site.session.get(
                url, timeout=timeout, allow_redirects=False, server_hostname=upstream.server_name, ssl=site.tls
            ) as answer:
                well = answer.status < 400
        except (aiohttp.ClientError, OSError, UnicodeError):
            well = False
        destination.health.probe_ended(well=well)
        if well and destination.unreachable is not None:
            destination.reached()
        await asyncio.sleep(upstream.health_interval)
