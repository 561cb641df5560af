"""Answers in Redis, for all workers and machines that share it.

Owns what is stored there, as `redis_keys` says.

Which answers a full server gives up is its own matter (`maxmemory-policy`).

What machines race for: an answer that one of them asked for before another dropped or purged its key, and that comes
after that, is stored nevertheless. Within a machine it isn't (`notices`). Two that store the same variant at the same
time: the last stays. A drop that Redis didn't take is made up for by this worker once it can be; until then others may
give what should be gone. It needs one server, or one with replicas: a cluster would have to be asked key by key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from aiogateway.caching import heads
from aiogateway.caching import redis_keys as keys
from aiogateway.caching.entry import Entry, Key
from aiogateway.caching.notices import Notices, name_of, purgeable
from aiogateway.caching.redis_purging import Purging
from aiogateway.caching.redis_server import READ, WRITE, Server
from aiogateway.compression import IDENTITY
from aiogateway.metrics.tallies import Count

# Variants of one key: the oldest goes for a new one.
MOST_VARIANTS: Final = 32
# Drops that are made up for one by one; when there are more, everything is dropped.
MOST_OWED: Final = 1000
# Milliseconds of the longest expiry: ten years.
_LONGEST: Final = 10 * 365 * 86_400_000


class RedisStore:
    """A `Store` of several machines.

    :param url: of the server (`GATEWAY_REDIS_URL`).
    :param timeout: seconds that an answer of it may take (`GATEWAY_REDIS_TIMEOUT`).
    :param max_object: bytes of one body.
    :param clock: seconds since the epoch.
    :param notices: of this machine; whoever made them closes them.
    :param faults: counts what the server failed to do.
    :raises ValueError: the URL can't be used; nothing of it is in the text.
    """

    def __init__(
        self,
        url: str,
        timeout: float,
        max_object: int,
        clock: Callable[[], float],
        notices: Notices,
        faults: Count,
    ) -> None:
        self._server = Server(url, timeout, faults)
        self._purging = Purging(self._server)
        self._max_object = max_object
        self._clock = clock
        self._notices = notices
        self._owed: set[bytes] = set()

    def mark(self) -> int:
        """See `Store`."""
        return self._notices.mark()

    def dropped(self, key: Key, since: int) -> bool:
        """See `Store`."""
        return self._notices.mark() != since and self._notices.told(since, name_of(key), key.path, None)

    async def find(self, key: Key) -> Sequence[Entry]:
        """See `Store`."""
        if self._owed and not await self._pay():
            return ()

        async def work(client: Any) -> list[Entry]:
            return self._live((await client.hgetall(keys.uri(name_of(key)))).values())

        return await self._server.ask(READ, work, [])

    def used(self, key: Key, entry: Entry) -> None:
        """See `Store`; Redis sees for itself what is used."""

    async def body(self, key: Key, entry: Entry, coding: str = IDENTITY) -> bytes | None:
        """See `Store`."""

        async def work(client: Any) -> object:
            return await client.eval(keys.BODY, 1, keys.body(entry), coding, self._max_object)

        found = await self._server.ask(READ, work, None)
        if not isinstance(found, bytes) or (coding == IDENTITY and len(found) != entry.size):
            return None
        return found

    async def keep(self, key: Key, entry: Entry, body: bytes, since: int) -> bool:
        """See `Store`."""
        name = name_of(key)
        if len(body) > self._max_object or self._lasts(entry) <= 0 or self._refused(name, key, entry, since):
            return False
        head = heads.written(entry)

        async def work(client: Any) -> bool:
            before = await client.hgetall(keys.uri(name))
            field = keys.variant(entry)
            live = [known for known in self._live(before.values()) if keys.variant(known) != field][: MOST_VARIANTS - 1]
            gone = before.keys() - {keys.variant(known) for known in live} - {field}
            ids = {known.id for known in map(heads.read, before.values()) if known} - {known.id for known in live}
            async with client.pipeline() as pipe:
                pipe.hset(keys.body(entry), IDENTITY, body)
                pipe.pexpire(keys.body(entry), self._lasts(entry))
                if gone:
                    pipe.hdel(keys.uri(name), *gone)
                if ids:
                    pipe.unlink(*(keys.body_of(id) for id in ids))
                self._write_head(pipe, key, name, entry, head)
                await pipe.execute()
            return True

        kept = await self._server.ask(WRITE, work, False)
        if kept and self._refused(name, key, entry, since):  # dropped meanwhile, maybe before it was there
            await self._drop(name)
            return False
        return kept

    async def keep_coded(self, key: Key, entry: Entry, coding: str, body: bytes) -> None:
        """See `Store`."""

        async def work(client: Any) -> None:
            await client.eval(keys.CODED, 1, keys.body(entry), IDENTITY, coding, body)

        if len(body) <= self._max_object:
            await self._server.ask(WRITE, work, None)

    async def renew(self, key: Key, entry: Entry, renewed: Entry) -> None:
        """See `Store`."""
        name, head = name_of(key), heads.written(renewed)

        async def work(client: Any) -> None:
            known = heads.read(await client.hget(keys.uri(name), keys.variant(entry)) or b"")
            if known is None or known.id != entry.id or self._lasts(renewed) <= 0:
                return
            async with client.pipeline() as pipe:
                if keys.variant(renewed) != keys.variant(entry):
                    pipe.hdel(keys.uri(name), keys.variant(entry))
                pipe.pexpire(keys.body(entry), self._lasts(renewed))
                self._write_head(pipe, key, name, renewed, head)
                await pipe.execute()

        await self._server.ask(WRITE, work, None)

    async def remove(self, key: Key, entry: Entry) -> None:
        """See `Store`."""
        uri = keys.uri(name_of(key))

        async def work(client: Any) -> None:
            known = heads.read(await client.hget(uri, keys.variant(entry)) or b"")
            async with client.pipeline() as pipe:
                if known is not None and known.id == entry.id:
                    pipe.hdel(uri, keys.variant(entry))
                pipe.unlink(keys.body(entry))
                await pipe.execute()

        await self._server.ask(WRITE, work, None)

    async def drop(self, key: Key) -> None:
        """See `Store`."""
        name = name_of(key)
        self._notices.drop(name)
        await self._drop(name)

    async def purge(self, *, path: str | None = None, tag: str | None = None) -> bool:
        """See `Store`."""
        self._notices.purge(path=path, tag=tag)
        done = True
        if path is not None:
            done = await self._purging.path(purgeable(path))
        if tag is not None:
            done = await self._purging.tag(tag) and done
        return done

    async def close(self) -> None:
        """See `Store`."""
        await self._server.close()

    async def _drop(self, name: bytes) -> None:
        if not await self._purging.forget([name]) and len(self._owed) <= MOST_OWED:
            self._owed.add(name)

    async def _pay(self) -> bool:
        """Make up for drops that failed; whether that went well."""
        owed = set(self._owed)
        paid = await self._purging.path(b"*") if len(owed) > MOST_OWED else await self._purging.forget(owed)
        if paid:
            self._owed -= owed
        return paid

    def _write_head(self, pipe: Any, key: Key, name: bytes, entry: Entry, head: bytes) -> None:
        lasts, now = self._lasts(entry), self._clock()
        pipe.hset(keys.uri(name), keys.variant(entry), head)
        path = key.path.encode("utf-8", "surrogateescape")
        sets = {
            keys.PATHS: name.hex().encode() + b":" + path,
            **{keys.tag(tag): name.hex().encode() for tag in entry.tags},
        }
        for index, member in sets.items():
            pipe.zremrangebyscore(index, "-inf", now)
            pipe.zadd(index, {member: entry.until}, gt=True)
        for lasting in (keys.uri(name), *sets):
            pipe.pexpire(lasting, lasts, nx=True)
            pipe.pexpire(lasting, lasts, gt=True)

    def _live(self, values: Iterable[bytes]) -> list[Entry]:
        """The entries among some values that are of use yet, newest first."""
        now = self._clock()
        read = (heads.read(value) for value in values)
        live = [entry for entry in read if entry and entry.until > now and entry.size <= self._max_object]
        return sorted(live, key=lambda entry: entry.received, reverse=True)

    def _lasts(self, entry: Entry) -> int:
        """Milliseconds for which an entry is of use."""
        return int(min((entry.until - self._clock()) * 1000, _LONGEST))

    def _refused(self, name: bytes, key: Key, entry: Entry, since: int) -> bool:
        return self._notices.told(since, name, key.path, entry.tags)
