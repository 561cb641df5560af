"""How connections to upstreams are made: by a session's connector, whose protocol is ours."""

from __future__ import annotations

import asyncio
import functools
from typing import Any, Final, cast

import aiohttp
from aiohttp.client_reqrep import ClientRequest

from aiogateway.upstreams.connection import UpstreamConnection
from aiogateway.upstreams.protocol import UpstreamProtocol

_UNBOUNDED: Final = aiohttp.ClientTimeout(total=None)


class Connector:
    """Makes connections to one destination through a session.

    :param session: the upstream's session; its connector must come from `open_session`.
    :param key: a request that is never sent: the connector reads scheme, host, port and TLS settings from it.
    """

    def __init__(self, session: aiohttp.ClientSession, key: ClientRequest) -> None:
        self._session = session
        self._key = key

    async def connect(self) -> UpstreamConnection:
        """:raises aiohttp.ClientError: no connection could be made."""
        connector = self._session.connector
        if connector is None:
            raise aiohttp.ClientConnectionError("the session is closed")
        connection = await connector.connect(self._key, [], _UNBOUNDED)
        return UpstreamConnection(connection, asyncio.get_running_loop().time())


def open_session() -> aiohttp.ClientSession:
    """A session whose connector has no limits and keeps nothing: both are the pool's.

    The cookie jar is a dummy: a real one would leak one user's cookies to another. Names are looked up again after
    ten seconds, so that connections follow a name whose addresses change.
    """
    loop = asyncio.get_running_loop()
    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=10)
    connector._factory = cast(Any, functools.partial(UpstreamProtocol, loop=loop))
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=_UNBOUNDED,
        trust_env=False,
    )
