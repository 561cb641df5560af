"""The Redis that answers are kept in, as something that may fail: nothing waits for it long, or often.

Owns the connections. Rules:

- Nothing takes longer than it was told to, nothing is tried twice, and at most `CONNECTIONS` are open.
- Who gets no answer leaves the server alone for `REST`, and so does everybody else in this worker. An error that it
  answered with costs no time: the next is asked as usual.
- A fault is logged when it is the first since things went well, for reading and for writing apart: a server that is
  full can be read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import structlog
from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import MaxConnectionsError, RedisError, ResponseError

from aiogateway.metrics.tallies import Count
from aiogateway.stores.redis import connection_options

log = structlog.get_logger(__name__)

# Seconds.
REST: Final = 1.0
CONNECTIONS: Final = 64

READ: Final = "read"
WRITE: Final = "write"

# What an answer or a broken connection may raise. A server that is none of Redis may answer anything, and its client
# takes that apart without looking.
_FAULTS: Final = (RedisError, OSError, EOFError, ValueError, LookupError, RecursionError, TypeError, AttributeError)

R = TypeVar("R")


class Server:
    """:param url: of the server (`GATEWAY_REDIS_URL`).
    :param timeout: seconds that an answer may take, connecting included (`GATEWAY_REDIS_TIMEOUT`).
    :param faults: counts them.
    :param monotonic: seconds, never going back.
    :raises ValueError: the URL can't be used; nothing of it is in the text.
    """

    def __init__(
        self, url: str, timeout: float, faults: Count, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        options = connection_options(url)
        # Its annotations say of most commands that they may answer at once, which they never do.
        self._client: Any = Redis(connection_pool=ConnectionPool(max_connections=CONNECTIONS, **options))
        self._pool = self._client.connection_pool
        self._timeout = timeout
        self._faults = faults
        self._monotonic = monotonic
        self._rests_until = 0.0
        self._failing: set[str] = set()

    async def ask(self, kind: str, work: Callable[[Any], Awaitable[R]], otherwise: R) -> R:
        """What some commands come to, or something else if they fail.

        :param kind: `READ` or `WRITE`.
        :param work: given the client; it may be cut off at any command.
        """
        if self._monotonic() < self._rests_until:
            return otherwise
        try:
            async with asyncio.timeout(self._timeout):
                result = await work(self._client)
        except (ResponseError, MaxConnectionsError) as exc:
            self._failed(kind, exc)
            return otherwise
        except _FAULTS as exc:
            self._rests_until = self._monotonic() + REST
            self._failed(kind, exc)
            return otherwise
        if kind in self._failing:
            self._failing.discard(kind)
            log.info("the cache's Redis works again", asked_to=kind)
        return result

    async def close(self) -> None:
        """Close the connections. A second time is harmless."""
        self._rests_until = float("inf")
        await self._pool.disconnect()

    def _failed(self, kind: str, exc: Exception) -> None:
        self._faults.events += 1
        if kind not in self._failing:
            self._failing.add(kind)
            log.warning("the cache's Redis fails", asked_to=kind, reason=type(exc).__name__)
