"""Who decides about limits: Redis while it answers, else this machine's own counters.

Rules: what Redis decides is counted here too, so that this machine knows most of it when it has to decide. At the
first failure Redis is down, and from then on no request waits for it; a task of our own asks it now and then, and when
it counts again it decides again. Each change is one line in the log, whatever the number of requests it catches.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal

import structlog

from aiogateway.stores.checks import Checks, Unavailable
from aiogateway.stores.shared_memory import SharedCounters
from aiogateway.stores.windows import Verdict

if TYPE_CHECKING:
    from aiogateway.stores.redis import RedisCounters

log = structlog.get_logger(__name__)

# Seconds between questions to a Redis that is down.
RETRY_AFTER: Final = 0.5


class Limiter:
    """One worker's way to all counters.

    :param local: this machine's counters. Whoever made them closes them.
    :param remote: those of several machines; closed with the limiter.
    :param retry_after: seconds between questions to a Redis that is down.
    :ivar fallbacks: how many times this machine decided although there is a Redis to decide.
    """

    def __init__(self, local: SharedCounters, remote: RedisCounters | None, retry_after: float = RETRY_AFTER) -> None:
        self.local = local
        self.remote = remote
        self.fallbacks = 0
        self._retry_after = retry_after
        self._closed = False
        # Asks a Redis that is down; none while it is up.
        self._probing: asyncio.Task[None] | None = None
        # Who asked before an outage may still fail after it, and that is no new one.
        self._outages = 0

    @property
    def backend(self) -> Literal["redis", "local"]:
        """Who decides now."""
        return "local" if self.remote is None or self._probing is not None else "redis"

    async def start(self) -> None:
        """Find out who decides first."""
        if self.remote is not None:
            try:
                await self.remote.ping()
            except Unavailable as exc:
                self._fall(exc)

    async def close(self) -> None:
        """End what asks Redis, and its connection. A second time is harmless."""
        self._closed = True
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        if self.remote is not None:
            await self.remote.close()

    async def take(self, checks: Checks) -> list[Verdict]:
        """Count one event, in all of some counters or, when a policy refuses, in none.

        A request that finds Redis slow or down waits for it as long as `RedisCounters` does, and is then decided here.
        """
        if self.remote is None:
            return self.local.take(checks)
        if self._probing is None:
            outages = self._outages
            try:
                verdicts = await self.remote.take(checks)
            except Unavailable as exc:
                if outages == self._outages:
                    self._fall(exc)
            else:
                if all([verdict.admitted for verdict in verdicts]):
                    self.local.record(checks)
                return verdicts
        self.fallbacks += 1
        return self.local.take(checks)

    def _fall(self, fault: Unavailable) -> None:
        if self._closed:
            return
        self._outages += 1
        self._probing = asyncio.create_task(self._probe())
        log.warning("redis is unreachable, limits are counted on this machine", fault=str(fault))

    async def _probe(self) -> None:
        assert self.remote is not None
        while True:
            await asyncio.sleep(self._retry_after)
            try:
                await self.remote.ping()
            except Unavailable:
                continue
            self._probing = None
            log.warning("redis is back", fallbacks=self.fallbacks)
            return
