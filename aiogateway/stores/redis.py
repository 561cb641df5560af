"""Counters of several machines, in Redis.

Owns one connection and what is sent over it. Rules:

- A check is one run of one script, whatever the number of its policies: it counts in all counters or in none.
- What is asked while an answer is on its way is sent together once that is here. Only the task that sends uses the
  connection: who asked may go away at any time, and answers stay in step with what was asked.
- Nothing waits longer than it was told to. Any fault ends the connection, the next check makes a new one, and nothing
  is tried twice, but for a script that the server has forgotten.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from aiogateway.stores.checks import Checks, Unavailable
from aiogateway.stores.redis_script import SCRIPT, Command, command_for, verdicts_from
from aiogateway.stores.windows import MAX_LIMIT, Policy, Verdict

# Checks sent together, and checks that may wait: more than a tenth of a second is enough for.
BATCH: Final = 64
MOST_WAITING: Final = 10_000

# What an answer or a broken connection may raise; a server that is none of Redis may answer anything.
_FAULTS: Final = (RedisError, OSError, EOFError, ValueError, LookupError, RecursionError)
# What the connection is made with, whatever the URL's query says; and what such a query may say of a pool.
_OPTIONS: Final[dict[str, Any]] = {
    "protocol": 2,
    "decode_responses": False,
    "retry": Retry(NoBackoff(), 0),
    "retry_on_timeout": False,
    "health_check_interval": 0,
    "socket_connect_timeout": None,  # who asks bounds the whole exchange
    "socket_timeout": None,
    "driver_info": None,
}
_OF_POOLS: Final = ("max_connections", "timeout")

# A counter that is there to be counted in, for whoever asks whether counting works.
_PROBE: Final = Policy("probe", MAX_LIMIT, 1, "probe", logged=False)

# What becomes of a command: its reply, or the error that came instead of one.
Answer = asyncio.Future[object]


class RedisCounters:
    """The counters of every limit, over all machines that share a Redis.

    :param url: of the server (`GATEWAY_REDIS_URL`).
    :param timeout: seconds that a check may wait, connecting included (`GATEWAY_REDIS_TIMEOUT`).
    :raises ValueError: the URL can't be used; nothing of it is in the text.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self._connection = _connection(url)
        self._timeout = timeout
        self._waiting: deque[tuple[Command, Answer]] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._closed = False

    async def take(self, checks: Checks) -> list[Verdict]:
        """Count one event, in all of some counters or, when a policy refuses, in none.

        A counter that several checks name is counted in once, and each has its say.

        :raises Unavailable: no answer in time; the event may have been counted nevertheless.
        """
        if self._closed or len(self._waiting) >= MOST_WAITING:
            raise Unavailable("closed" if self._closed else "too many wait")
        answer: Answer = asyncio.get_running_loop().create_future()
        self._waiting.append((command_for(checks), answer))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())
        try:
            async with asyncio.timeout(self._timeout):
                return verdicts_from(await answer, len(checks))
        except TimeoutError:
            raise Unavailable("TimeoutError") from None

    async def ping(self) -> None:
        """Find out whether counting works; a server that answers may still be unable to write.

        :raises Unavailable: it does not.
        """
        await self.take([(_PROBE, "")])

    async def close(self) -> None:
        """Close the connection; who waits gets `Unavailable`. A second time is harmless."""
        self._closed = True
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        for _, answer in self._waiting:
            _settle(answer, Unavailable())
        await self._connection.disconnect(nowait=True)

    async def _send(self) -> None:
        """Send what waits, until nothing does."""
        while batch := self._batch():
            replies: Sequence[object] = [Unavailable()] * len(batch)
            try:
                replies = await self._exchange([command for command, _ in batch])
            except _FAULTS as exc:
                replies = [exc] * len(batch)
            finally:
                for (_, answer), reply in zip(batch, replies, strict=True):
                    _settle(answer, reply)

    def _batch(self) -> list[tuple[Command, Answer]]:
        """The next that are still waited for."""
        batch: list[tuple[Command, Answer]] = []
        while self._waiting and len(batch) < BATCH:
            waiting = self._waiting.popleft()
            if not waiting[1].done():
                batch.append(waiting)
        return batch

    async def _exchange(self, commands: Sequence[Command]) -> list[object]:
        """Send commands and receive the reply to each. Whatever goes wrong, the connection is not used again."""
        connection = self._connection
        try:
            async with asyncio.timeout(self._timeout):
                if connection.is_connected and await connection.can_read():
                    await connection.disconnect(nowait=True)  # closed by the server, or out of step
                await connection.connect()  # type: ignore[no-untyped-call]
                replies = await self._round(commands)
                unknown = [n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
                if unknown:
                    _, *again = await self._round([("SCRIPT", "LOAD", SCRIPT), *(commands[n] for n in unknown)])
                    for n, reply in zip(unknown, again, strict=True):
                        replies[n] = reply
                return replies
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    async def _round(self, commands: Sequence[Command]) -> list[object]:
        connection = self._connection
        await connection.send_packed_command(connection.pack_commands(commands))
        replies: list[object] = []
        for _ in commands:
            try:
                replies.append(await connection.read_response())
            except ResponseError as exc:
                replies.append(exc)
        return replies


def connection_options(url: str) -> dict[str, Any]:
    """What connections are made with, their class among it: by the URL, but without bounds of time, which are
    the asker's, and never tried twice.

    :raises ValueError: the URL can't be used; nothing of it is in the text.
    """
    try:
        options: dict[str, Any] = {"connection_class": Connection, **parse_url(url), **_OPTIONS}
    except (ValueError, TypeError, RedisError):
        raise ValueError("the Redis URL can't be used") from None
    for name in _OF_POOLS:
        options.pop(name, None)
    return options


def _connection(url: str) -> AbstractConnection:
    options = connection_options(url)
    try:
        connection = options.pop("connection_class")(**options)
    except (ValueError, TypeError, RedisError):
        raise ValueError("the Redis URL can't be used") from None
    assert isinstance(connection, AbstractConnection)
    return connection


def _settle(answer: Answer, reply: object) -> None:
    if not answer.done():
        answer.set_result(reply)
