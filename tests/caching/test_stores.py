"""What every store does: in memory, and in a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from aiogateway.caching import heads
from aiogateway.caching.entry import Entry, Freshness, Key, Store
from aiogateway.caching.memory_store import MemoryStore
from aiogateway.caching.notices import Notices
from aiogateway.caching.redis_server import REST
from aiogateway.caching.redis_store import MOST_VARIANTS, RedisStore
from aiogateway.compression import IDENTITY
from aiogateway.metrics import Metrics, families
from aiogateway.metrics.tallies import Count
from tests.clock import eventually
from tests.redis_server import RedisServer

pytestmark = pytest.mark.alone  # some let Redis stand still, and measure who waits for it

KEY = Key("http://a", "/v2/plans", "?a=1")
MAX_OBJECT = 100_000
# Seconds that Redis may take: more than it ever needs, so that a busy machine changes no answer; and what a test waits
# for that lets it stand still.
LONG = 10.0
SHORT = 1.0
Work = Callable[[Store], Any]


def entry(id: str = "a1", *, vary: str = "", received: float = 0.0, body: bytes = b"body", **more: Any) -> Entry:
    now = time.time()
    settled: dict[str, Any] = {
        "id": id.ljust(32, "0"),
        "status": 200,
        "lines": b"Content-Type: text/plain\r\nX-Raw: \xe9\xff",
        "vary": (("accept-language", vary),) if vary else (),
        "source": "plans /v2/plans/\udce9",
        "freshness": Freshness(60.0, 1.5, False, True, 2.0, 3.0),
        "etag": '"\udcff"',
        "modified": "",
        "encodable": True,
        "received": now + received,
        "until": now + 60,
        "size": len(body),
        "tags": ("plans", "legal *"),
    }
    return Entry(**(settled | more))


def faults() -> Count:
    return Metrics().count(families.CACHE_STORE_FAULTS)


def same(one: Entry, other: Entry) -> bool:
    return heads.written(one) == heads.written(other)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@contextlib.asynccontextmanager
async def stores(kind: str, server: RedisServer) -> AsyncIterator[Store]:
    """An empty store."""
    with contextlib.closing(Notices(alone=True)) as notices:
        store: Store
        if kind == "redis":
            server.restart()
            store = RedisStore(server.url, LONG, MAX_OBJECT, time.time, notices, faults())
        else:
            store = MemoryStore(10 << 20, MAX_OBJECT, time.time, notices)
        try:
            yield store
        finally:
            await store.close()


@pytest.fixture(params=["memory", "redis"])
def run(request: pytest.FixtureRequest, server: RedisServer) -> Callable[[Work], None]:
    """Runs a test's work with each kind of store."""

    def run_with(work: Work) -> None:
        async def whole() -> None:
            async with stores(request.param, server) as store:
                await work(store)

        asyncio.run(whole())

    return run_with


def test_what_is_kept_is_found_as_it_was(run: Callable[[Work], None]) -> None:
    async def work(store: Store) -> None:
        kept = entry()
        assert await store.find(KEY) == [] or not await store.find(KEY)
        assert await store.keep(KEY, kept, b"body", store.mark())
        (found,) = await store.find(KEY)
        assert same(found, kept)
        store.used(KEY, found)
        assert await store.body(KEY, found) == b"body"
        assert await store.body(KEY, found, "gzip") is None
        await store.keep_coded(KEY, found, "gzip", b"zip")
        assert await store.body(KEY, found, "gzip") == b"zip"
        assert not await store.find(KEY._replace(query=""))

    run(work)


def test_a_variant_takes_its_own_place_and_no_others(run: Callable[[Work], None]) -> None:
    async def work(store: Store) -> None:
        for each in (entry("a1", vary="de"), entry("b2", vary="en"), entry("c3", vary="de", received=1.0)):
            assert await store.keep(KEY, each, b"body", store.mark())
        found = await store.find(KEY)
        assert [each.id[:2] for each in found] == ["c3", "b2"]

    run(work)


def test_variants_of_a_uri_are_bounded(run: Callable[[Work], None]) -> None:
    async def work(store: Store) -> None:
        for number in range(MOST_VARIANTS + 3):
            each = entry(f"{number:02x}", vary=str(number), received=number / 100)
            assert await store.keep(KEY, each, b"body", store.mark())
        found = await store.find(KEY)
        assert len(found) == MOST_VARIANTS
        assert found[0].id[:2] == f"{MOST_VARIANTS + 2:02x}"

    run(work)


def test_a_renewed_head_has_the_old_bodies(run: Callable[[Work], None]) -> None:
    async def work(store: Store) -> None:
        first = entry()
        await store.keep(KEY, first, b"body", store.mark())
        renewed = entry(modified="x", until=time.time() + 600)
        await store.renew(KEY, first, renewed)
        (found,) = await store.find(KEY)
        assert (found.modified, await store.body(KEY, found)) == ("x", b"body")

    run(work)


def test_what_is_gone_is_not_renewed(run: Callable[[Work], None]) -> None:
    async def work(store: Store) -> None:
        first = entry()
        await store.keep(KEY, first, b"body", store.mark())
        await store.remove(KEY, first)
        await store.renew(KEY, first, entry(modified="x"))
        await store.keep_coded(KEY, first, "gzip", b"zip")
        assert not await store.find(KEY)
        assert await store.body(KEY, first) is None
        assert await store.body(KEY, first, "gzip") is None

    run(work)


@pytest.mark.parametrize(
    "forget",
    [
        lambda store: store.drop(KEY),
        lambda store: store.purge(path="/v2/plans"),
        lambda store: store.purge(path="/v2/*"),
        lambda store: store.purge(tag="plans"),
        lambda store: store.purge(tag="legal *"),
    ],
)
def test_what_is_dropped_or_purged_is_gone_and_not_kept_from_before(run: Callable[[Work], None], forget: Work) -> None:
    async def work(store: Store) -> None:
        kept, before = entry(), store.mark()
        await store.keep(KEY, kept, b"body", before)
        await forget(store)
        assert not await store.find(KEY)
        assert not await store.keep(KEY, entry("b2"), b"body", before)
        assert await store.keep(KEY, entry("c3"), b"body", store.mark())

    run(work)


@pytest.mark.parametrize(
    "forget",
    [
        lambda store: store.drop(KEY._replace(origin="http://b")),
        lambda store: store.purge(path="/v2/plan"),
        lambda store: store.purge(path="/v2/plan?"),
        lambda store: store.purge(path="/v2/[p]*"),
        lambda store: store.purge(tag="legal"),
        lambda store: store.purge(tag="*"),
    ],
)
def test_what_is_meant_for_others_leaves_it(run: Callable[[Work], None], forget: Work) -> None:
    async def work(store: Store) -> None:
        await store.keep(KEY, entry(), b"body", store.mark())
        await forget(store)
        assert len(await store.find(KEY)) == 1

    run(work)


def test_what_is_too_large_or_past_is_not_to_be_had(run: Callable[[Work], None]) -> None:
    async def work(store: Store) -> None:
        large = b"x" * (MAX_OBJECT + 1)
        assert not await store.keep(KEY, entry(body=large), large, store.mark())
        await store.keep(KEY, entry(until=time.time() - 1), b"body", store.mark())
        assert not await store.find(KEY)

    run(work)


def test_a_store_that_fails_is_a_miss_counted_and_left_alone_for_a_while(server: RedisServer) -> None:
    async def work() -> None:
        counted = faults()
        with contextlib.closing(Notices(alone=True)) as notices:
            store = RedisStore(server.url, SHORT, MAX_OBJECT, time.time, notices, counted)
            kept = entry()
            assert await store.keep(KEY, kept, b"body", store.mark())
            server.pause()
            try:
                assert await store.find(KEY) == []
                assert counted.events == 1
                assert await store.body(KEY, kept) is None
                assert not await store.keep(KEY, entry("b2"), b"body", store.mark())
                assert counted.events == 1  # it was not asked again
                assert not await store.purge(tag="plans")
            finally:
                server.resume()
            rested = asyncio.get_running_loop().time() + REST
            await eventually(lambda: asyncio.get_running_loop().time() > rested, "it has rested")
            assert len(await store.find(KEY)) == 1
            await store.close()

    asyncio.run(work())


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "redis://:secret-word@127.0.0.1:1/0"])
def test_a_redis_that_is_not_there_is_a_miss(url: str) -> None:
    async def work() -> None:
        with contextlib.closing(Notices(alone=True)) as notices:
            store = RedisStore(url, LONG, MAX_OBJECT, time.time, notices, faults())
            assert await store.find(KEY) == []
            assert not await store.keep(KEY, entry(), b"body", store.mark())
            await store.drop(KEY)
            await store.close()

    asyncio.run(work())


@pytest.mark.parametrize(
    "change",
    [
        lambda head: b"",
        lambda head: b"{}",
        lambda head: b"[]",
        lambda head: b"\xff",
        lambda head: head[:-1],
        lambda head: head.replace(b"200", b"-200"),
        lambda head: head.replace(b"200", b'"x"'),
        lambda head: head.replace(b"text/plain", "\u20ac".encode()),
        lambda head: head.replace(b'"tags"', b'"more"'),
    ],
)
def test_a_head_that_is_none_is_not_read(change: Callable[[bytes], bytes]) -> None:
    assert heads.read(change(heads.written(entry()))) is None


def test_a_body_of_another_size_is_none(server: RedisServer) -> None:
    async def work() -> None:
        async with stores("redis", server) as store:
            await store.keep(KEY, entry(size=5), b"body", store.mark())
            (found,) = await store.find(KEY)
            assert await store.body(KEY, found, IDENTITY) is None

    asyncio.run(work())
