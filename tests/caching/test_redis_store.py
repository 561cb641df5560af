"""Answers in a real Redis: found by every machine, purged for all, and never waited for long."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from aiogateway.caching import redis_keys as keys
from aiogateway.caching.entry import Entry
from aiogateway.caching.notices import Notices, name_of
from aiogateway.caching.redis_store import MOST_VARIANTS, RedisStore
from aiogateway.metrics.tallies import Count
from tests.caching.entries import NOW, entry_of, key_of
from tests.clock import Clock
from tests.redis_server import RedisServer

pytestmark = pytest.mark.alone  # some let Redis stand still, and measure who waits for it

OBJECT = 10_000
KEY = key_of()
BODY = bytes(range(256))
# Seconds that Redis may take: more than it ever needs, so that a busy machine changes no answer; what tests wait for
# that let it stand still; and what machines that do much else may add to that.
LONG = 10.0
SHORT = 0.5
SLACK = 2.0


class Machine:
    """One machine's store, with notices of its own."""

    def __init__(self, url: str, timeout: float) -> None:
        self.notices = Notices(alone=True)
        self.faults = Count()
        self.clock = Clock(NOW)
        self.store = RedisStore(url, timeout, OBJECT, self.clock, self.notices, self.faults)

    async def keep(self, entry: Entry, body: bytes = BODY, key: Any = KEY) -> bool:
        return await self.store.keep(key, entry, body, self.store.mark())

    async def ids(self, key: Any = KEY) -> list[str]:
        return [entry.id for entry in await self.store.find(key)]


@asynccontextmanager
async def machine(url: str, patience: float = LONG) -> AsyncIterator[Machine]:
    one = Machine(url, patience)
    with contextlib.closing(one.notices):
        try:
            yield one
        finally:
            await one.store.close()


@asynccontextmanager
async def plain(server: RedisServer) -> AsyncIterator[Any]:
    client = Redis(port=server.port)
    try:
        yield client
    finally:
        await client.aclose()


async def patient(work: Callable[[], Awaitable[bool]]) -> None:
    """Try until it is done: a busy machine may let any single answer come too late."""
    for _ in range(20):
        if await work():
            return
    raise AssertionError("never done")


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that failed is asked again at once."""
    monkeypatch.setattr("aiogateway.caching.redis_server.REST", 0.0)


async def test_what_one_machine_keeps_another_finds(redis: RedisServer) -> None:
    async with machine(redis.url) as one, machine(redis.url) as other:
        entry = entry_of("a", body=BODY, tags=("plans",), vary=(("accept", "x"),))
        assert await one.keep(entry)
        (found,) = await other.store.find(KEY)
        assert all(getattr(found, name) == getattr(entry, name) for name in entry.__slots__)
        assert await other.store.body(KEY, found) == BODY
        assert await other.store.body(KEY, found, "br") is None
        await other.store.keep_coded(KEY, found, "br", b"\r\n\0")
        assert await one.store.body(KEY, found, "br") == b"\r\n\0"
        await other.store.renew(KEY, found, entry_of("a", body=BODY, vary=entry.vary, etag='"b"', until=NOW + 900))
        assert [renewed.etag for renewed in await one.store.find(KEY)] == ['"b"']
        await one.store.remove(KEY, entry)
        assert await other.ids() == [] and await other.store.body(KEY, entry) is None
        await other.store.keep_coded(KEY, found, "br", b"")
        assert await one.store.body(KEY, found, "br") is None
        assert (one.faults.events, other.faults.events) == (0, 0)


async def test_variants_stand_side_by_side_newest_first_and_the_oldest_goes(redis: RedisServer) -> None:
    async with machine(redis.url) as one, plain(redis) as client:
        for number in range(MOST_VARIANTS + 2):
            await one.keep(entry_of(str(number), body=BODY, vary=(("a", str(number)),), received=NOW + number))
        await one.keep(entry_of("again", body=BODY, vary=(("a", "5"),), received=NOW + 100))
        wanted = ["again", *(str(number) for number in range(MOST_VARIANTS + 1, 1, -1) if number != 5)]
        assert await one.ids() == wanted
        assert len(await client.keys(keys.PREFIX + b"body:*")) == MOST_VARIANTS


async def test_all_that_is_stored_expires(redis: RedisServer) -> None:
    async with machine(redis.url) as one, plain(redis) as client:
        await one.keep(entry_of("a", body=BODY, tags=("t",), until=NOW + 10, vary=(("a", "1"),)))
        await one.keep(entry_of("b", body=BODY, tags=("t",), until=NOW + 1e12))
        left = {name: await client.pttl(name) for name in await client.keys("*")}
        assert len(left) == 5 and all(milliseconds > 0 for milliseconds in left.values())
        one.clock.advance(10.0)
        assert await one.ids() == ["b"]
        assert not await one.keep(entry_of("c", body=BODY, until=NOW + 10))


@pytest.mark.parametrize(
    ("by", "gone"),
    [
        ({"path": "/v2/plans"}, {0}),
        ({"path": "/v2/*"}, {0, 1}),
        ({"path": "*"}, {0, 1, 2}),
        ({"path": "/v2/[a-z]?ans"}, set()),
        ({"path": "/v3/a*b\\"}, set()),
        ({"path": "/v3/a*b\\*"}, {2}),
        ({"tag": "t1"}, {1}),
        ({"tag": "t"}, set()),
    ],
)
async def test_a_purge_on_one_machine_is_one_on_all(redis: RedisServer, by: dict[str, str], gone: set[int]) -> None:
    paths = ["/v2/plans", "/v2/plans/é\udcff", "/v3/a*b\\c"]
    async with machine(redis.url) as one, machine(redis.url) as other:
        for number, path in enumerate(paths):
            assert await one.keep(entry_of(str(number), body=BODY, tags=(f"t{number}",)), key=key_of(path))
        assert await other.store.purge(**by)
        for number, path in enumerate(paths):
            assert await one.ids(key_of(path)) == ([] if number in gone else [str(number)])


async def test_purges_reach_more_keys_than_are_forgotten_at_a_time(redis: RedisServer) -> None:
    async with machine(redis.url) as one, plain(redis) as client:
        for number in range(250):
            await one.keep(entry_of(str(number), body=BODY, tags=("t",)), key=key_of(f"/{number}"))
        assert await one.store.purge(tag="t")
        assert await client.keys(keys.PREFIX + b"[ub]*") == []


async def test_what_was_dropped_after_it_was_asked_for_is_not_kept(redis: RedisServer) -> None:
    async with machine(redis.url) as one:
        await one.keep(entry_of("old", body=BODY))
        since = one.store.mark()
        await one.store.drop(KEY)
        assert not await one.store.keep(KEY, entry_of("a", body=BODY), BODY, since)
        assert await one.ids() == []


async def test_no_body_is_larger_than_may_be(redis: RedisServer) -> None:
    async with machine(redis.url) as one, plain(redis) as client:
        assert not await one.keep(entry_of(body=bytes(OBJECT + 1)), bytes(OBJECT + 1))
        entry = entry_of(body=BODY)
        await one.keep(entry)
        await one.store.keep_coded(KEY, entry, "br", bytes(OBJECT + 1))
        assert await one.store.body(KEY, entry, "br") is None
        await client.hset(keys.body(entry), "br", bytes(OBJECT + 1))
        assert await one.store.body(KEY, entry, "br") is None


@pytest.mark.parametrize("raw", [b"", b"{}", b"\xff" * 100, b"[" * 10_000, b"null"])
@pytest.mark.usefixtures("restless")
async def test_what_is_no_head_counts_for_nothing_and_gives_way(redis: RedisServer, raw: bytes) -> None:
    async with machine(redis.url) as one, plain(redis) as client:
        await client.hset(keys.uri(name_of(KEY)), "x", raw)
        await client.zadd(keys.PATHS, {b"no name": NOW + 9, b"x" * 40: NOW + 9})
        await client.zadd(keys.tag("t"), {b"no name": NOW + 9})
        assert await one.ids() == []
        assert await one.keep(entry_of("a", body=BODY, tags=("t",))) and await one.ids() == ["a"]
        assert await one.store.purge(path="*") and await one.store.purge(tag="t")
        assert await one.ids() == [] and one.faults.events == 0


async def test_values_of_another_type_are_misses_and_cost_no_rest(redis: RedisServer) -> None:
    async with machine(redis.url) as one, plain(redis) as client:
        entry = entry_of(body=BODY)
        await client.set(keys.uri(name_of(KEY)), b"x")
        await client.set(keys.body(entry), b"x")
        assert await one.ids() == [] and await one.store.body(KEY, entry) is None
        assert not await one.keep(entry)
        assert one.faults.events == 3
        await one.store.drop(KEY)
        assert await one.keep(entry_of("b", body=BODY), key=key_of("/other"))


async def test_a_body_that_is_not_whole_is_none(redis: RedisServer) -> None:
    async with machine(redis.url) as one, plain(redis) as client:
        entry = entry_of(body=BODY)
        await one.keep(entry)
        await client.hset(keys.body(entry), "identity", BODY[:-1])
        assert await one.store.body(KEY, entry) is None


def every_way(one: Machine) -> list[Callable[[], Awaitable[Any]]]:
    entry = entry_of(body=BODY)
    return [
        one.ids,
        lambda: one.store.body(KEY, entry),
        lambda: one.keep(entry),
        lambda: one.store.keep_coded(KEY, entry, "br", b""),
        lambda: one.store.renew(KEY, entry, entry),
        lambda: one.store.remove(KEY, entry),
        lambda: one.store.drop(KEY),
        lambda: one.store.purge(path="/*"),
        lambda: one.store.purge(tag="t"),
    ]


async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that is none of Redis."""
    replies = [b"*3\r\n:1\r\n$-1\r\n*0\r\n", b":7\r\n", b"HTTP/1.1 400\r\n\r\n", b"*-1\r\n", b"+OK\r\n", b"$5\r\nab"]
    with contextlib.suppress(OSError), contextlib.closing(writer):
        while await reader.read(65536):
            writer.write(replies[0])
            replies.append(replies.pop(0))


@pytest.mark.usefixtures("restless")
async def test_a_server_that_answers_nonsense_is_a_miss() -> None:
    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    async with server, machine(url, 0.1) as one:
        for _ in range(3):
            for way in every_way(one):
                assert not await way()
        assert one.faults.events > 0


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("how", ["stopped", "hanging"])
async def test_a_server_that_is_gone_is_a_miss_in_time_and_works_when_it_is_back(redis: RedisServer, how: str) -> None:
    async with machine(redis.url, SHORT) as one:
        await patient(lambda: one.keep(entry_of("a", body=BODY)))
        (redis.stop if how == "stopped" else redis.pause)()
        with capture_logs() as lines:
            for way in every_way(one):
                start = time.monotonic()
                assert not await way()
                assert time.monotonic() - start < SHORT + SLACK
        assert sorted(line["asked_to"] for line in lines) == ["read", "write"]
        assert one.faults.events >= len(every_way(one))
        (redis.start if how == "stopped" else redis.resume)()
        with capture_logs() as lines:
            assert await one.ids() == []  # the drop is made up for
            assert await one.keep(entry_of("b", body=BODY)) and await one.ids() == ["b"]
        assert {line["event"] for line in lines} == {"the cache's Redis works again"}


async def test_a_server_that_failed_is_left_alone_for_a_while(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiogateway.caching.redis_server.REST", 1000.0)
    async with machine(redis.url, SHORT) as one:
        await patient(lambda: one.keep(entry_of("a", body=BODY)))
        redis.pause()
        assert await one.ids() == [] and one.faults.events == 1
        redis.resume()
        for _ in range(100):
            assert await one.ids() == []
        assert one.faults.events == 1


async def test_a_full_server_can_be_read(redis: RedisServer) -> None:
    async with machine(redis.url) as one, plain(redis) as client:
        assert await one.keep(entry_of("a", body=BODY))
        await client.config_set("maxmemory", 1)
        with capture_logs() as lines:
            for number in range(3):
                assert not await one.keep(entry_of(str(number), body=BODY), key=key_of(f"/{number}"))
                assert await one.ids() == ["a"]
        assert [line["asked_to"] for line in lines] == ["write"] and one.faults.events == 3
        await one.store.drop(KEY)
        assert await one.ids() == []


@pytest.mark.usefixtures("restless")
async def test_who_is_cut_off_leaves_no_answer_for_the_next(redis: RedisServer) -> None:
    async with machine(redis.url) as one:
        await patient(lambda: one.keep(entry_of("a", body=BODY)))
        for _ in range(50):
            cut = asyncio.create_task(one.store.body(KEY, entry_of("a", body=BODY)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            cut.cancel()
            await asyncio.gather(cut, return_exceptions=True)
            assert await one.ids() in (["a"], [])


@pytest.mark.parametrize("url", ["http://a", "redis://a:b/0", "redis://a?socket_timeout=x"])
def test_a_url_that_can_not_be_used_is_not_repeated(url: str, notices: Notices) -> None:
    with pytest.raises(ValueError, match=r"^the Redis URL can't be used$"):
        RedisStore(url, LONG, OBJECT, time.time, notices, Count())
