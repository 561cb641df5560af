"""Who decides while Redis answers, dies, stands still and comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from aiogateway.settings import ConfigError, read
from aiogateway.stores import Limiter, Policy, SharedCounters, limiter_from
from aiogateway.stores.redis import RedisCounters
from tests.clock import eventually
from tests.redis_server import RedisServer

pytestmark = pytest.mark.alone  # some let Redis stand still, and measure who waits for it

LOGIN = Policy("5/minute", 5, 60, "login", logged=True)
ROUTE = Policy("1000/minute", 1000, 60, "route", logged=False)
RETRY_AFTER = 0.02
# Seconds: see test_redis.
LONG = 10.0
SHORT = 1.0
SLACK = 2.0
DOWN = "redis is unreachable, limits are counted on this machine"
BACK = "redis is back"

Lines = list[MutableMapping[str, Any]]


@asynccontextmanager
async def limiter_for(server: RedisServer | None, patience: float = LONG) -> AsyncIterator[Limiter]:
    local = SharedCounters(1000)
    limiter = Limiter(local, RedisCounters(server.url, patience) if server else None, RETRY_AFTER)
    await limiter.start()
    try:
        yield limiter
    finally:
        await limiter.close()
        local.close()


def events(lines: Lines) -> list[str]:
    return [line["event"] for line in lines]


async def test_without_redis_this_machine_decides() -> None:
    async with limiter_for(None) as limiter:
        told = [(await limiter.take([(LOGIN, "a")]))[0].remaining for _ in range(5)]
        assert told == [4, 3, 2, 1, 0]
        assert not (await limiter.take([(LOGIN, "a")]))[0].admitted
        assert (limiter.backend, limiter.fallbacks) == ("local", 0)


async def test_redis_decides_for_all_machines_and_this_one_remembers(redis: RedisServer) -> None:
    async with limiter_for(redis) as one, limiter_for(redis) as other:
        told = [(await machine.take([(LOGIN, "a")]))[0].admitted for machine in (one, other) * 3]
        assert told == [True] * 5 + [False]
        assert (one.backend, other.fallbacks) == ("redis", 0)
        assert [machine.local.peek(LOGIN, "a").remaining for machine in (one, other)] == [2, 3]


async def test_what_redis_refuses_is_not_counted_here(redis: RedisServer) -> None:
    async with limiter_for(redis) as one, limiter_for(redis) as other:
        for _ in range(5):
            await one.take([(LOGIN, "a")])
        assert not (await other.take([(ROUTE, "a"), (LOGIN, "a")]))[1].admitted
        assert other.local.peek(ROUTE, "a").remaining == 1000
        assert other.local.peek(LOGIN, "a").remaining == 5


async def test_when_redis_dies_this_machine_goes_on_from_what_it_knows_and_says_so_once(redis: RedisServer) -> None:
    async with limiter_for(redis) as limiter:
        for _ in range(3):
            await limiter.take([(LOGIN, "a")])
        redis.stop()
        with capture_logs() as lines:
            told = [(await limiter.take([(LOGIN, "a")]))[0].admitted for _ in range(4)]
        assert told == [True, True, False, False]
        assert [(line["event"], line["log_level"], line["fault"]) for line in lines] == [
            (DOWN, "warning", "ConnectionError")
        ]
        assert (limiter.backend, limiter.fallbacks) == ("local", 4)


async def test_many_in_flight_when_redis_stands_still_wait_once_and_later_ones_not_at_all(redis: RedisServer) -> None:
    async with limiter_for(redis, SHORT) as limiter:
        redis.pause()
        with capture_logs() as lines:
            start = time.monotonic()
            told = await asyncio.gather(*(limiter.take([(LOGIN, "a")]) for _ in range(200)))
            assert time.monotonic() - start < SHORT + SLACK
            assert sum(verdict.admitted for (verdict,) in told) == 5
            start = time.monotonic()
            for _ in range(200):
                assert not (await limiter.take([(LOGIN, "a")]))[0].admitted
            assert time.monotonic() - start < 200 * SHORT / 5
        assert events(lines) == [DOWN]
        assert limiter.fallbacks == 400


async def test_redis_decides_again_once_it_is_back(redis: RedisServer) -> None:
    async with limiter_for(redis, SHORT) as limiter:
        with capture_logs() as lines:
            for _ in range(3):
                redis.pause()
                await limiter.take([(ROUTE, "a")])
                assert limiter.backend == "local"
                redis.resume()
                await eventually(lambda: limiter.backend == "redis", "redis is asked again")
            redis.stop()
            await limiter.take([(ROUTE, "a")])
            redis.start()
            await eventually(lambda: limiter.backend == "redis", "redis is asked again")
        assert events(lines) == [DOWN, BACK] * 4
        assert (await limiter.take([(ROUTE, "a")]))[0].remaining == 999, "a server that was started again is empty"


async def test_a_redis_that_is_not_there_at_first_is_used_once_it_is(redis: RedisServer) -> None:
    redis.stop()
    with capture_logs() as lines:
        async with limiter_for(redis) as limiter:
            assert limiter.backend == "local"
            assert (await limiter.take([(LOGIN, "a")]))[0].remaining == 4
            redis.start()
            await eventually(lambda: limiter.backend == "redis", "redis is asked")
            assert (await limiter.take([(LOGIN, "a")]))[0].remaining == 4
    assert events(lines) == [DOWN, BACK]


async def test_a_redis_that_answers_but_cannot_count_stays_out_of_it() -> None:
    with capture_logs() as lines, RedisServer("--maxmemory", "1") as server:
        async with limiter_for(server) as limiter:
            await asyncio.sleep(5 * RETRY_AFTER)
            assert limiter.backend == "local"
    assert [(line["event"], line["fault"]) for line in lines] == [(DOWN, "OutOfMemoryError")]


async def test_under_load_every_request_is_decided_while_redis_stops_and_starts(redis: RedisServer) -> None:
    longest, decided, stopping = 0.0, 0, False

    async def ask(limiter: Limiter, who: str) -> None:
        nonlocal longest, decided
        while not stopping:
            start = time.monotonic()
            assert (await limiter.take([(ROUTE, who), (LOGIN, who)]))[0].remaining >= 0
            longest = max(longest, time.monotonic() - start)
            decided += 1
            await asyncio.sleep(0.001)

    async def changed(limiter: Limiter, backend: str) -> None:
        await eventually(lambda: limiter.backend == backend, f"{backend} decides")

    with capture_logs() as lines:
        async with limiter_for(redis, SHORT) as limiter:
            asking = [asyncio.create_task(ask(limiter, str(n % 7))) for n in range(20)]
            for harm, cure in ((redis.stop, redis.start), (redis.pause, redis.resume)) * 2:
                harm()
                await changed(limiter, "local")
                await asyncio.to_thread(cure)
                await changed(limiter, "redis")
            stopping = True
            await asyncio.gather(*asking)
    assert decided > 100
    assert longest < SHORT + SLACK
    said = events(lines)
    assert said == [DOWN, BACK] * (len(said) // 2)
    assert len(said) >= 8


async def test_a_failure_from_before_an_outage_begins_no_new_one(redis: RedisServer) -> None:
    async with limiter_for(redis, SHORT) as limiter:
        redis.pause()
        with capture_logs() as lines:
            early = asyncio.create_task(limiter.take([(LOGIN, "a")]))
            await asyncio.sleep(SHORT / 2)
            late = asyncio.create_task(limiter.take([(LOGIN, "a")]))
            await early
            redis.resume()
            await late
            await eventually(lambda: limiter.backend == "redis", "redis is asked again")
            await asyncio.sleep(2 * SHORT)
        assert events(lines) == [DOWN, BACK]


async def test_who_goes_away_while_redis_is_asked_is_let_go(redis: RedisServer) -> None:
    async with limiter_for(redis) as limiter:
        redis.pause()
        task = asyncio.create_task(limiter.take([(LOGIN, "a")]))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (limiter.backend, limiter.fallbacks) == ("redis", 0)
        assert limiter.local.peek(LOGIN, "a").remaining == 5


@pytest.mark.parametrize("down", [False, True])
async def test_closing_ends_what_asks_and_requests_go_on_here(redis: RedisServer, down: bool) -> None:
    if down:
        redis.stop()
    before = asyncio.all_tasks()
    async with limiter_for(redis) as limiter:
        assert len(asyncio.all_tasks() - before) == down
        await limiter.close()
        assert asyncio.all_tasks() == before
        with capture_logs() as lines:
            assert (await limiter.take([(LOGIN, "a")]))[0].remaining == 4
        assert (asyncio.all_tasks(), lines) == (before, [])


async def test_settings_say_who_decides(redis: RedisServer) -> None:
    def settings(variables: Mapping[str, str]) -> Limiter:
        return limiter_from(read({"GATEWAY_AUTH_MODE": "off", **variables}), local)

    local = SharedCounters(1)
    assert settings({}).remote is None
    limiter = settings({"GATEWAY_REDIS_URL": redis.url, "GATEWAY_REDIS_TIMEOUT": str(SHORT)})
    await limiter.start()
    assert limiter.backend == "redis"
    redis.pause()
    start = time.monotonic()
    await limiter.take([(LOGIN, "a")])
    assert time.monotonic() - start >= SHORT
    assert limiter.fallbacks == 1
    await limiter.close()
    for url in ("redis://:secret@127.0.0.1:secret", "redis://127.0.0.1:99999/0"):
        with pytest.raises(ConfigError) as caught:
            settings({"GATEWAY_REDIS_URL": url})
        assert "GATEWAY_REDIS_URL" in str(caught.value) and "secret" not in str(caught.value)
    local.close()
