"""An event stream on its way: silence is filled between two events, and only there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise

import pytest

from aiogateway.errors import Problem
from aiogateway.proxy.event_answer import EventAnswer
from aiogateway.proxy.events import COMMENT
from aiogateway.proxy.exchange import Exchange
from aiogateway.proxy.request import Request
from tests.clock import eventually
from tests.upstreams.scripted import Peer

from .exchanging import Bench, bench_for
from .served import PATIENCE, Client, Served, serving

KEEPALIVE, STREAM_IDLE = 15.0, 300.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
EVENT = b"data: 1\n\n"
LAST = b"data: last\n\n"
OLD, NEW = b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass
class Stage:
    """A stream on its way: the upstream says what the test says, and the client reads it."""

    served: Served
    bench: Bench
    client: Client
    said: asyncio.Queue[bytes]
    exchange: Exchange

    async def read(self, count: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.client.reader.readexactly(count)

    async def say(self, data: bytes) -> None:
        """The upstream says this, and nothing else until it came."""
        came = self.exchange.payload.total_bytes + len(data)
        self.said.put_nowait(data)
        await eventually(lambda: self.exchange.payload.total_bytes == came, "what was said came")

    async def pass_on(self, data: bytes) -> None:
        """The upstream says this, and the client gets nothing else."""
        self.said.put_nowait(data)
        assert await self.read(len(data)) == data

    async def rest(self) -> bytes:
        """What is there to the end, once the upstream closes."""
        self.said.put_nowait(b"")
        return await self.client.rest()


@contextlib.asynccontextmanager
async def streaming(
    fields: bytes = b"", *, asked: bytes = OLD, keepalive: float = KEEPALIVE, first: bytes = b""
) -> AsyncIterator[Stage]:
    """A stream whose head is at the client.

    :param fields: more of the upstream's head.
    :param first: what the upstream says with its head.
    """
    said: asyncio.Queue[bytes] = asyncio.Queue()
    exchanges: list[Exchange] = []

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(HEAD + fields + b"\r\n" + first)
        while data := await said.get():
            await peer.say(data)

    async def handler(request: Request) -> EventAnswer:
        exchange = await bench.exchange()
        exchanges.append(exchange)
        await bench.send(exchange)
        exchange.establish(STREAM_IDLE)
        lines = [b"Content-Type: text/event-stream"]
        return EventAnswer(exchange, lines, served.deadlines, stream_idle=STREAM_IDLE, keepalive=keepalive)

    async with bench_for(script) as bench, serving(handler) as served:
        client = await served.client(asked)
        async with asyncio.timeout(PATIENCE):
            await client.reader.readuntil(b"\r\n\r\n")
        yield Stage(served, bench, client, said, exchanges[0])
        await client.leave()
        await eventually(lambda: not len(served.deadlines), "no deadline outlives its stream")


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
async def test_silence_between_two_events_is_filled(end: bytes) -> None:
    async with streaming() as stage:
        await stage.pass_on(b"data: 1" + end)
        for _ in range(2):
            stage.served.pass_time(KEEPALIVE + 0.1)
            assert await stage.read(len(COMMENT)) == COMMENT
        await stage.pass_on(LAST)
        assert await stage.rest() == b""
        (record,) = stage.served.watching.records
        assert record.bytes_out == len(b"data: 1" + end + COMMENT * 2 + LAST)


@pytest.mark.parametrize("begun", [b"data: 1", b"data: 1\n", b"data: 1\r\n", b"data: 1\r\n\r", b": a comment\n"])
async def test_silence_within_an_event_is_not(begun: bytes) -> None:
    async with streaming() as stage:
        await stage.pass_on(EVENT + begun)
        stage.served.pass_time(KEEPALIVE + 0.1)
        await stage.pass_on(b"\n\n")
        stage.served.pass_time(KEEPALIVE + 0.1)
        assert await stage.read(len(COMMENT)) == COMMENT


async def test_a_comment_may_come_before_the_first_event() -> None:
    async with streaming() as stage:
        stage.served.pass_time(KEEPALIVE + 0.1)
        assert await stage.read(len(COMMENT)) == COMMENT
        await stage.pass_on(EVENT)


@pytest.mark.parametrize("cuts", [(), (3,), (1,), (2,), (1, 2, 3)])
async def test_a_byte_order_mark_does_not_go_on_behind_a_comment(cuts: tuple[int, ...]) -> None:
    said = b"\xef\xbb\xbf" + EVENT
    async with streaming() as stage:
        stage.served.pass_time(KEEPALIVE + 0.1)
        assert await stage.read(len(COMMENT)) == COMMENT
        for begin, end in pairwise((0, *cuts, len(said))):
            await stage.say(said[begin:end])
        assert await stage.read(len(EVENT)) == EVENT


async def test_the_silence_counts_from_what_the_client_was_given_last() -> None:
    async with streaming(first=EVENT) as stage:
        assert await stage.read(len(EVENT)) == EVENT
        for _ in range(3):
            stage.served.pass_time(KEEPALIVE - 1)
            await stage.pass_on(EVENT)
        stage.served.pass_time(KEEPALIVE - 1)
        stage.served.pass_time(1.2)
        assert await stage.read(len(COMMENT)) == COMMENT


async def test_a_comment_is_a_chunk_of_its_own() -> None:
    async with streaming(b"Transfer-Encoding: chunked\r\n", asked=NEW) as stage:
        stage.said.put_nowait(b"9\r\n" + EVENT + b"\r\n")
        assert await stage.read(14) == b"9\r\n" + EVENT + b"\r\n"
        stage.served.pass_time(KEEPALIVE + 0.1)
        assert await stage.read(19) == b"e\r\n" + COMMENT + b"\r\n"
        stage.said.put_nowait(b"0\r\n\r\n")
        assert await stage.read(5) == b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("fields", "keepalive"),
    [
        (b"", 0.0),
        (b"Content-Length: %d\r\n" % len(EVENT + LAST), KEEPALIVE),
        (b"Content-Encoding: gzip\r\n", KEEPALIVE),
    ],
    ids=["switched off", "of a length", "encoded"],
)
async def test_nothing_is_filled_in_where_there_is_no_room(fields: bytes, keepalive: float) -> None:
    async with streaming(fields, keepalive=keepalive) as stage:
        await stage.pass_on(EVENT)
        stage.served.pass_time(KEEPALIVE + 0.1)
        await stage.pass_on(LAST)
        assert await stage.rest() == b""


async def test_comments_do_not_stand_for_an_upstreams_word() -> None:
    async with streaming(first=EVENT) as stage:
        assert await stage.read(len(EVENT)) == EVENT
        for _ in range(int(STREAM_IDLE / KEEPALIVE)):
            stage.served.pass_time(KEEPALIVE + 0.1)
            stage.bench.pass_time(KEEPALIVE + 0.1)
        rest = await stage.client.rest()
        comments, _, error = rest.partition(b"event: error\n")
        assert comments and not comments.replace(COMMENT, b"")
        assert b"upstream_timeout" in error and error.endswith(b"\n\n")


async def test_a_client_that_does_not_read_is_given_no_comments_and_cut_off() -> None:
    large = b"\n" * (16 << 20)  # it stands between two events wherever it stands
    async with streaming() as stage:
        connection = stage.served.connection()
        stage.client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        stage.said.put_nowait(large)
        await eventually(lambda: connection.writing_paused, "the gateway waits for its client")
        seen: list[int] = []

        def stands() -> bool:
            seen.append(connection.unsent())
            return seen[-5:] == seen[-1:] * 5

        await eventually(stands, "the client's buffers are full")
        for _ in range(3):
            stage.served.pass_time(KEEPALIVE + 0.1)
        assert connection.unsent() == seen[-1]
        for _ in range(int(STREAM_IDLE / 5) + 1):
            stage.served.pass_time(5.1)
        await eventually(lambda: stage.served.watching.records, "it is cut off")


async def test_a_drain_ends_a_stream_that_stands_behind_a_comment() -> None:
    async with streaming(first=EVENT) as stage:
        assert await stage.read(len(EVENT)) == EVENT
        stage.served.pass_time(KEEPALIVE + 0.1)
        stream = stage.served.connection().stream
        assert stream is not None
        stream.end_with(Problem("draining"))
        stage.served.pass_time(KEEPALIVE + 0.1)
        rest = await stage.client.rest()
        assert rest.startswith(COMMENT) and rest.count(b"event: error\n") == 1 and rest.endswith(b"\n\n")
        (record,) = stage.served.watching.records
        assert (record.bytes_out, record.code) == (len(EVENT + rest), "draining")


async def test_a_client_that_left_is_no_trouble_for_a_comment() -> None:
    async with streaming(first=EVENT) as stage:
        assert await stage.read(len(EVENT)) == EVENT
        transport = stage.served.connection().transport
        assert transport is not None
        transport.abort()
        stage.served.pass_time(KEEPALIVE + 0.1)
        await eventually(lambda: stage.served.watching.records, "the stream is over")
        assert stage.bench.pool.streams == 0
