"""Counters in a real Redis: exact over machines, in step with their answers, and never waited for too long."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from aiogateway.stores.checks import Unavailable
from aiogateway.stores.redis import BATCH, MOST_WAITING, RedisCounters
from aiogateway.stores.windows import Policy, Verdict
from tests.clock import eventually
from tests.redis_server import RedisServer

pytestmark = pytest.mark.alone  # some let Redis stand still, and measure who waits for it

LOGIN = Policy("5/minute", 5, 60, "login", logged=True)
ROUTE = Policy("60/minute", 60, 60, "route", logged=False)
# Seconds that Redis may take: more than it ever needs, so that a busy machine changes no answer; what tests wait for
# that let it stand still; and what machines that do much else may add to that.
LONG = 10.0
SHORT = 1.0
SLACK = 2.0


@asynccontextmanager
async def counters_of(url: str, patience: float = LONG) -> AsyncIterator[RedisCounters]:
    counters = RedisCounters(url, patience)
    try:
        yield counters
    finally:
        await counters.close()


@asynccontextmanager
async def plain(server: RedisServer) -> AsyncIterator[Redis]:
    """A client of the test's own."""
    client = Redis(port=server.port)
    try:
        yield client
    finally:
        await client.aclose()


async def patient(take: Callable[[], Awaitable[list[Verdict]]]) -> list[Verdict]:
    """Ask until there is an answer: a busy machine may let any single one come too late."""
    while True:
        with contextlib.suppress(Unavailable):
            return await take()


async def test_a_limit_is_counted_down_and_holds(redis: RedisServer) -> None:
    async with counters_of(redis.url) as counters:
        told = [(await counters.take([(LOGIN, "a")]))[0] for _ in range(6)]
        assert [verdict.admitted for verdict in told] == [True] * 5 + [False]
        assert [verdict.remaining for verdict in told] == [4, 3, 2, 1, 0, 0]
        assert all(59 - SLACK < verdict.reset <= 60.000001 for verdict in told)
        assert (await counters.take([(LOGIN, "b")]))[0].remaining == 4


async def test_none_is_counted_when_one_refuses_and_one_named_twice_counts_once(redis: RedisServer) -> None:
    fewer = Policy("2/minute", 2, 60, "login", logged=True)
    async with counters_of(redis.url) as counters:
        for _ in range(2):
            assert all(verdict.admitted for verdict in await counters.take([(LOGIN, "a"), (fewer, "a")]))
        verdicts = await counters.take([(LOGIN, "a"), (fewer, "a"), (ROUTE, "a"), (LOGIN, "a")])
        assert [verdict.admitted for verdict in verdicts] == [True, False, True, True]
        assert [verdict.remaining for verdict in verdicts] == [3, 0, 60, 3]
        assert verdicts[2].reset == 0
        assert await counters.take([]) == []


@pytest.mark.parametrize("policy", [LOGIN, ROUTE])
async def test_over_two_machines_exactly_the_limit_passes(redis: RedisServer, policy: Policy) -> None:
    async with counters_of(redis.url) as one, counters_of(redis.url) as other:
        takes = [machine.take([(policy, "a")]) for machine in (one, other) for _ in range(200)]
        told = await asyncio.gather(*takes)
        assert sum(verdict.admitted for (verdict,) in told) == policy.limit


async def test_no_second_of_real_time_admits_more_than_the_limit(redis: RedisServer) -> None:
    policies = [Policy("p", 5, 1, "s", logged=True), Policy("p", 25, 1, "s", logged=False)]

    async def ask(counters: RedisCounters, policy: Policy) -> None:
        admitted: list[tuple[float, float]] = []
        end = time.monotonic() + 2.3
        while (sent := time.monotonic()) < end:
            (verdict,) = await patient(lambda: counters.take([(policy, "a")]))
            if verdict.admitted:
                admitted.append((sent, time.monotonic()))
            else:
                await asyncio.sleep(verdict.reset / 5)
        assert len(admitted) >= 2 * policy.limit, "room comes free again"
        for first, (sent, _) in enumerate(admitted):
            assert sum(received <= sent + 1 for _, received in admitted[first:]) <= policy.limit

    async with counters_of(redis.url) as counters:
        await asyncio.gather(*(ask(counters, policy) for policy in policies))


async def test_a_script_that_the_server_has_forgotten_is_loaded_again_and_nothing_is_counted_twice(
    redis: RedisServer,
) -> None:
    async with counters_of(redis.url) as counters, plain(redis) as client:
        await counters.take([(ROUTE, "a")])
        await client.script_flush()
        told = await asyncio.gather(*(counters.take([(ROUTE, "a")]) for _ in range(30)))
        assert sorted(verdict.remaining for (verdict,) in told) == [*range(29, 59)]


async def test_a_burst_opens_one_connection(redis: RedisServer) -> None:
    async with counters_of(redis.url) as counters, plain(redis) as client:
        await asyncio.gather(*(counters.take([(ROUTE, str(n))]) for n in range(5 * BATCH)), return_exceptions=True)
        others = [each for each in await client.client_list() if each["cmd"] != "client|list"]
        assert len(others) == 1


async def test_who_goes_away_while_waiting_leaves_every_answer_to_who_asked_for_it(redis: RedisServer) -> None:
    policies = [Policy(str(n), n, 60, f"scope {n}", logged=False) for n in range(1, 301)]
    async with counters_of(redis.url) as counters:
        for turn in range(10):
            tasks = [asyncio.create_task(counters.take([(policy, str(turn))])) for policy in policies]
            for _ in range(turn):  # some have been sent by now, some not
                await asyncio.sleep(0)
            for task in tasks[turn % 2 :: 2]:
                task.cancel()
            told = await asyncio.gather(*tasks, return_exceptions=True)
            for policy, answer in zip(policies, told, strict=True):
                match answer:
                    case [Verdict() as verdict]:
                        assert verdict.remaining == policy.limit - 1
                    case _:
                        assert isinstance(answer, asyncio.CancelledError | Unavailable)
        (verdict,) = await patient(lambda: counters.take([(policies[9], "last")]))
        assert verdict.remaining == 9


async def test_one_that_was_given_up_before_it_was_sent_is_not_counted(redis: RedisServer) -> None:
    async with counters_of(redis.url) as counters:
        tasks = [asyncio.create_task(counters.take([(ROUTE, "a")])) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (await counters.take([(ROUTE, "a")]))[0].remaining == 59


async def test_a_server_that_stands_still_is_not_waited_for(redis: RedisServer) -> None:
    async with counters_of(redis.url, SHORT) as counters:
        await patient(lambda: counters.take([(ROUTE, "a")]))
        redis.pause()
        start = time.monotonic()
        told = await asyncio.gather(*(counters.take([(ROUTE, "a")]) for _ in range(200)), return_exceptions=True)
        assert time.monotonic() - start < SHORT + SLACK
        assert [type(answer) for answer in told] == [Unavailable] * 200
        with pytest.raises(Unavailable):
            await counters.ping()
        redis.resume()
        await patient(lambda: counters.take([(LOGIN, "b")]))
        assert (await patient(lambda: counters.take([(LOGIN, "c")])))[0].remaining == 4, "no answer to an old question"


async def test_a_server_that_was_started_again_is_found_again(redis: RedisServer) -> None:
    async with counters_of(redis.url) as counters:
        await counters.take([(ROUTE, "a")])
        redis.restart()
        assert (await patient(lambda: counters.take([(ROUTE, "a")])))[0].remaining == 59
        redis.stop()
        with pytest.raises(Unavailable, match=r"^ConnectionError$"):
            await counters.take([(ROUTE, "a")])
        redis.start()
        await patient(lambda: counters.take([(ROUTE, "a")]))


async def test_an_idle_connection_that_the_server_closed_is_no_fault(redis: RedisServer) -> None:
    async with counters_of(redis.url) as counters, plain(redis) as client:
        await counters.take([(ROUTE, "a")])
        for each in await client.client_list():
            if each["cmd"] != "client|list":
                await client.client_kill_filter(_id=each["id"])
        await asyncio.sleep(0.01)
        assert (await counters.take([(ROUTE, "a")]))[0].remaining == 58


@pytest.mark.parametrize(
    ("options", "password", "fault"),
    [
        (("--requirepass", "correct-horse"), "correct-horse", None),
        (("--requirepass", "correct-horse"), "wrong-horse", "AuthenticationError"),
        (("--requirepass", "correct-horse"), None, "AuthenticationError"),
        (("--maxmemory", "1"), None, "OutOfMemoryError"),
        (("--replicaof", "127.0.0.1 1"), None, "ReadOnlyError"),
        (("--rename-command", "EVALSHA", ""), None, "ResponseError"),
        (("--rename-command", "HINCRBY", ""), None, "ResponseError"),
    ],
)
async def test_a_server_that_cannot_count_is_told_and_no_password_is(
    options: tuple[str, ...], password: str | None, fault: str | None
) -> None:
    with RedisServer(*options) as server:
        url = f"redis://:{password}@127.0.0.1:{server.port}" if password else server.url
        async with counters_of(url) as counters:
            if fault is None:
                await counters.ping()
                return
            with pytest.raises(Unavailable) as caught:
                await counters.ping()
            assert str(caught.value) == fault
            assert caught.value.__cause__ is None
            assert "horse" not in repr(counters) + repr(caught.value.__context__)


ANSWERS = {
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "nothing": b"",
    "too many parts": b"*1000000\r\n",
    "a part of infinite depth": b"*1\r\n" * 5000,
    "no number": b":one\r\n",
    "a negative length": b"$-7\r\n\r\n",
    "an endless line": b"+" + b"x" * 300_000,
    "one answer too many": b"$5\r\n1 4 9\r\n$5\r\n1 4 9\r\n",
    "half an answer": b"$5\r\n1 4",
    "other bytes": bytes(range(256)),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_a_server_that_is_no_redis_is_unavailable(answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(answer)
            if not answer:
                writer.close()
                return
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, counters_of(url, 0.1) as counters:
        for _ in range(2):
            told = await asyncio.gather(*(counters.take([(ROUTE, "a")]) for _ in range(3)), return_exceptions=True)
            assert all(isinstance(each, Unavailable) or each == [(True, 4, 9e-6)] for each in told)
        if b"1 4 9" not in answer:
            assert [type(each) for each in told] == [Unavailable] * 3


async def test_too_many_that_wait_are_told_at_once(redis: RedisServer) -> None:
    async with counters_of(redis.url, SHORT) as counters:
        redis.pause()
        tasks = [asyncio.create_task(counters.take([(ROUTE, "a")])) for _ in range(MOST_WAITING + 1)]
        await eventually(tasks[-1].done, "the last is told", within=SHORT + 10 * SLACK)
        assert str(tasks[-1].exception()) == "too many wait"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_closing_answers_who_waits_and_a_second_time_is_harmless(redis: RedisServer) -> None:
    counters = RedisCounters(redis.url, LONG)
    await counters.ping()
    redis.pause()
    waiting = [asyncio.create_task(counters.take([(ROUTE, "a")])) for _ in range(BATCH + 5)]
    await asyncio.sleep(0)
    await counters.close()
    await counters.close()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in told] == [Unavailable] * (BATCH + 5)
    with pytest.raises(Unavailable, match=r"^closed$"):
        await counters.take([(ROUTE, "a")])


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@127.0.0.1:hunter2/0",
        "redis://user:hunter2/hunter2@127.0.0.1:6379",
        "redis://:hunter2@127.0.0.1:99999999",
        "redis://:hunter2@[::1",
        "redis://:hunter2@127.0.0.1?socket_timeout=hunter2",
        "redis://:hunter2@127.0.0.1?hunter2=1",
        "http://:hunter2@127.0.0.1",
    ],
)
def test_a_url_that_cannot_be_used_is_told_without_anything_of_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"^the Redis URL can't be used$") as caught:
        RedisCounters(url, LONG)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_a_url_cannot_ask_for_longer_waits(redis: RedisServer) -> None:
    query = (
        "socket_timeout=60&socket_connect_timeout=60&retry_on_timeout=yes&max_connections=5000&timeout=60&protocol=3"
    )
    async with counters_of(f"{redis.url}?{query}&health_check_interval=1&decode_responses=yes", SHORT) as counters:
        assert (await counters.take([(ROUTE, "a")]))[0].remaining == 59
        redis.pause()
        start = time.monotonic()
        with pytest.raises(Unavailable):
            await counters.take([(ROUTE, "a")])
        assert time.monotonic() - start < SHORT + SLACK
