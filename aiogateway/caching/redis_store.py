"""Answers that machines share, in Redis.

Owns the connections. A URI has a hash with the heads of its variants, each body a key of its own, each path and tag a
set of the URIs to be purged by it; all of them go by themselves when nobody could use them any more. Rules:

- Nothing waits longer than `PATIENCE`, and nothing is tried twice. A fault is a miss; for `REST` after it Redis isn't
  asked again, so that one that hangs doesn't cost every request that long.
- What is dropped or purged is gone at once for all machines. An answer that another machine asked for before that, and
  stores after it, comes back: only the workers of one machine tell each other what not to store (`notices`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from aiogateway.caching import heads
from aiogateway.caching.entry import Entry, Key, StoreFault
from aiogateway.caching.notices import Notices, name_of
from aiogateway.compression import CODINGS, IDENTITY
from aiogateway.metrics import Metrics, families

log = structlog.get_logger(__name__)

# Seconds.
PATIENCE: Final = 0.2
REST: Final = 1.0
CONNECTIONS: Final = 32
# Variants of one URI: the oldest goes for a new one.
MOST_VARIANTS: Final = 32
PREFIX: Final = "aiogateway:cache:"
# Keys that are looked at, and purged, at a time.
BATCH: Final = 500

_FAULTS: Final = (RedisError, OSError, TimeoutError, ValueError, LookupError)
_GLOB: Final = str.maketrans({char: f"\\{char}" for char in "\\*?[]^-"})
T = TypeVar("T")


class RedisStore:
    """:param url: of the server (`GATEWAY_REDIS_URL`).
    :param max_object: bytes of the largest body that is kept.
    :param clock: seconds since the epoch.
    :param notices: of what the workers of this machine are not to store any more.
    :raises ValueError: the URL can't be used; nothing of it is in the text.
    """

    def __init__(
        self, url: str, max_object: int, clock: Callable[[], float], notices: Notices, metrics: Metrics
    ) -> None:
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=CONNECTIONS,
                timeout=PATIENCE,
                protocol=2,
                decode_responses=False,
                retry=Retry(NoBackoff(), 0),
                socket_connect_timeout=PATIENCE,
                socket_timeout=PATIENCE,
                health_check_interval=0,
            )
        except (ValueError, TypeError, RedisError):
            raise ValueError("the Redis URL can't be used") from None
        self._redis: Any = Redis(connection_pool=pool)  # its commands' types say both blocking and not
        self._max_object = max_object
        self._clock = clock
        self._notices = notices
        self._faults = metrics.count(families.STORE_FAULTS)
        self._failing = False
        self._resting = 0.0

    def mark(self) -> int:
        """A moment, for `keep`."""
        return self._notices.mark()

    async def find(self, key: Key) -> Sequence[Entry]:
        """Every variant of a URI, newest first."""
        return await self._tried(lambda: self._entries(_uri(key)), [])

    def used(self, key: Key, entry: Entry) -> None:
        """Redis sees by itself what is used."""

    async def body(self, key: Key, entry: Entry, coding: str = IDENTITY) -> bytes | None:
        """A stored body; None when it is not there, or not in this coding."""
        found: bytes | None = await self._tried(lambda: self._redis.get(_body(entry.id, coding)), None)
        return None if found is not None and coding == IDENTITY and len(found) != entry.size else found

    async def keep(self, key: Key, entry: Entry, body: bytes, since: int) -> bool:
        """Store an answer in place of those of the same variant."""
        if len(body) > self._max_object or self._covered(key, entry, since):
            return False
        return await self._tried(lambda: self._keep(key, entry, body), False)

    async def _keep(self, key: Key, entry: Entry, body: bytes) -> bool:
        uri, left = _uri(key), self._left(entry)
        before = await self._entries(uri)
        replaced = [each for each in before if (each.vary, each.source) == (entry.vary, entry.source)]
        kept = [each for each in before if each not in replaced]
        replaced += kept[MOST_VARIANTS - 1 :]
        sets = [_path(key.path), *map(_tag, entry.tags)]
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(_body(entry.id, IDENTITY), body, px=left)
            pipe.hset(uri, entry.id, heads.written(entry))
            if replaced:
                pipe.hdel(uri, *(each.id for each in replaced))
                pipe.unlink(*(name for each in replaced for name in _bodies(each.id)))
            for name in sets:
                pipe.sadd(name, uri)
            for name in (uri, *sets):
                pipe.pexpire(name, left, nx=True)
                pipe.pexpire(name, left, gt=True)
            await pipe.execute()
        return True

    async def keep_coded(self, key: Key, entry: Entry, coding: str, body: bytes) -> None:
        """Store the body of an entry in one more coding, if the entry is still there."""
        if len(body) <= self._max_object:
            await self._tried(lambda: self._keep_coded(key, entry, coding, body), None)

    async def _keep_coded(self, key: Key, entry: Entry, coding: str, body: bytes) -> None:
        if await self._redis.hexists(_uri(key), entry.id):
            await self._redis.set(_body(entry.id, coding), body, px=self._left(entry))

    async def renew(self, key: Key, entry: Entry, renewed: Entry) -> None:
        """Store another head for an entry's bodies, if the entry is still there."""
        await self._tried(lambda: self._renew(key, entry, renewed), None)

    async def _renew(self, key: Key, entry: Entry, renewed: Entry) -> None:
        uri, left = _uri(key), self._left(renewed)
        if await self._redis.hexists(uri, entry.id):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(uri, entry.id, heads.written(renewed))
                for name in (uri, *_bodies(entry.id), _path(key.path), *map(_tag, renewed.tags)):
                    pipe.pexpire(name, left, gt=True)
                await pipe.execute()

    async def remove(self, key: Key, entry: Entry) -> None:
        """Forget one variant."""
        await self._tried(lambda: self._remove(_uri(key), (entry.id,)), None)

    async def _remove(self, uri: str, ids: Sequence[str]) -> None:
        if ids:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hdel(uri, *ids)
                pipe.unlink(*(name for id in ids for name in _bodies(id)))
                await pipe.execute()

    async def drop(self, key: Key) -> None:
        """Forget every variant of a URI, in every worker and machine."""
        self._notices.drop(name_of(key))
        await self._tried(lambda: self._drop(_uri(key)), None)

    async def _drop(self, uri: str) -> None:
        await self._remove(uri, [id.decode("latin-1") for id in await self._redis.hkeys(uri)])

    async def purge(self, *, path: str | None = None, tag: str | None = None) -> None:
        """Forget every answer under a path, or with a tag.

        :raises TooLong: it has more bytes than workers tell each other, or none.
        :raises StoreFault: Redis can't be reached: not all of it may be gone.
        """
        self._notices.purge(path=path, tag=tag)
        try:
            if path is not None and path.endswith("*"):
                pattern = _path(path[:-1]).translate(_GLOB) + "*"
                async for name in self._redis.scan_iter(match=pattern, count=BATCH):
                    await self._purge(name)
            else:
                await self._purge(_path(path) if path is not None else _tag(tag or ""))
        except _FAULTS as exc:
            self._failed(exc)
            raise StoreFault from exc

    async def _purge(self, name: str | bytes) -> None:
        """Forget what a set names; what it names meanwhile stays named."""
        async for uri in self._redis.sscan_iter(name, count=BATCH):
            await self._drop(uri.decode("latin-1"))
            await self._redis.srem(name, uri)

    async def close(self) -> None:
        """Close the connections. A second time is harmless."""
        await self._redis.aclose(close_connection_pool=True)

    async def _entries(self, uri: str) -> list[Entry]:
        now = self._clock()
        found = [heads.read(head) for head in (await self._redis.hgetall(uri)).values()]
        known = [entry for entry in found if entry is not None and entry.until > now]
        return sorted(known, key=lambda entry: -entry.received)

    def _covered(self, key: Key, entry: Entry, since: int) -> bool:
        """Whether an answer has been dropped or purged since it was asked for."""
        told = self._notices.after(since)
        name = name_of(key)
        return told is None or any(notice.covers(name, key.path, entry.tags) for notice in told)

    def _left(self, entry: Entry) -> int:
        """Milliseconds for which an entry is of use."""
        return max(int((entry.until - self._clock()) * 1000), 1)

    async def _tried(self, work: Callable[[], Awaitable[T]], otherwise: T) -> T:
        """What came of it; something else when Redis is at fault."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._resting:
            return otherwise
        try:
            async with asyncio.timeout(PATIENCE):
                found = await work()
        except _FAULTS as exc:
            self._failed(exc)
            return otherwise
        if self._failing:
            self._failing = False
            log.info("the cache's store works again")
        return found

    def _failed(self, exc: Exception) -> None:
        self._faults.events += 1
        self._resting = asyncio.get_running_loop().time() + REST
        if not self._failing:
            self._failing = True
            log.warning("the cache's store fails: nothing is found in it meanwhile", reason=type(exc).__name__)


def _uri(key: Key) -> str:
    return f"{PREFIX}uri:{name_of(key).hex()}"


def _body(id: str, coding: str) -> str:
    return f"{PREFIX}body:{id}:{coding}"


def _bodies(id: str) -> list[str]:
    return [_body(id, coding) for coding in (IDENTITY, *CODINGS)]


def _path(path: str) -> str:
    return f"{PREFIX}path:{_plain(path)}"


def _tag(tag: str) -> str:
    return f"{PREFIX}tag:{_plain(tag)}"


def _plain(text: str) -> str:
    """A path or a tag as a part of a key: in latin-1, which any bytes can be."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")
