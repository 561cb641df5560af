"""One request and its answer over a real connection, with time in the test's hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import aiohttp
import pytest

from aiogateway.deadlines import Deadlines
from aiogateway.errors import Problem
from aiogateway.proxy.body import RequestBody
from aiogateway.proxy.exchange import JOIN, Exchange, StaleConnection, write_chunk
from aiogateway.proxy.headers import RawFields
from aiogateway.upstreams.pool import Pool
from tests.clock import Clock, eventually
from tests.upstreams.scripted import Peer, Script, answering, connecting
from tests.upstreams.standing import limits

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EMPTY = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
TIMEOUT, IDLE = 60.0, 30.0


class Upload(RequestBody):
    """A body whose pieces the test gives, one by one; an exception is raised where it stands."""

    __slots__ = ("pieces",)

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.length = None
        self.pieces: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        for piece in pieces:
            self.pieces.put_nowait(piece)

    async def read(self) -> bytes:
        piece = await self.pieces.get()
        if isinstance(piece, Exception):
            raise piece
        return piece


class Bench:
    """A pool over a real upstream, and exchanges with it."""

    def __init__(self, pool: Pool, deadlines: Deadlines, clock: Clock) -> None:
        self.pool = pool
        self.deadlines = deadlines
        self.clock = clock
        self.interim: list[tuple[RawFields, Sequence[str]]] = []
        self._begun: list[Exchange] = []

    async def exchange(self) -> Exchange:
        connection = self.pool.take() or await self.pool.acquire()
        exchange = Exchange(self.pool, connection, self.deadlines, timeout=TIMEOUT, idle=IDLE)
        self._begun.append(exchange)
        return exchange

    async def send(self, exchange: Exchange, data: bytes = GET, rest: RequestBody | None = None) -> None:
        async with asyncio.timeout(3):
            await exchange.send(
                data, rest, chunked=True, bodiless=False, interim=lambda *told: self.interim.append(told)
            )

    async def get(self) -> tuple[Exchange, bytes]:
        """A whole exchange, but for its end, and the body."""
        exchange = await self.exchange()
        await self.send(exchange)
        return exchange, await everything(exchange)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.deadlines.sweep()

    def close(self) -> None:
        for exchange in self._begun:
            exchange.abort()
        self.pool.close()


async def everything(exchange: Exchange) -> bytes:
    parts: list[bytes] = []
    while chunk := await exchange.read():
        parts.append(chunk)
    return b"".join(parts)


@contextlib.asynccontextmanager
async def bench_for(script: Script) -> AsyncIterator[Bench]:
    clock = Clock(asyncio.get_running_loop().time())
    deadlines = Deadlines(clock)
    async with connecting(script) as connect:
        bench = Bench(Pool("b", limits(keepalive_timeout=1e6, max_age=1e6), connect, deadlines), deadlines, clock)
        try:
            yield bench
        finally:
            bench.close()
            assert (bench.pool.in_use, bench.pool.streams, len(deadlines)) == (0, 0, 0), "something outlived its end"


async def test_a_connection_goes_back_once_its_answer_is_read() -> None:
    async with bench_for(answering(OK, OK)) as bench:
        for _ in range(2):
            exchange, body = await bench.get()
            assert (exchange.message.code, body) == (200, b"ok")
            exchange.finish()
            exchange.finish()
            exchange.abort()
            assert (bench.pool.idle, bench.pool.in_use) == (1, 0)


@pytest.mark.parametrize("end", ["finish", "abort"])
async def test_an_answer_that_is_not_read_to_its_end_costs_its_connection(end: str) -> None:
    async with bench_for(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")) as bench:
        exchange = await bench.exchange()
        await bench.send(exchange)
        assert await exchange.read() == b"ab"
        exchange.finish() if end == "finish" else exchange.abort()
        assert (bench.pool.idle, bench.pool.in_use) == (0, 0)


async def test_no_answer_within_the_route_s_tier_is_a_timeout() -> None:
    async with bench_for(answering()) as bench:
        exchange = await bench.exchange()
        sending = asyncio.ensure_future(bench.send(exchange))
        await eventually(lambda: len(bench.deadlines) == 1, "the head is waited for")
        bench.pass_time(TIMEOUT - 0.1)
        assert not sending.done()
        bench.pass_time(0.2)
        with pytest.raises(Problem, match="did not answer in time") as caught:
            await sending
        assert caught.value.code == "upstream_timeout"


async def test_the_wait_for_the_head_counts_from_the_request_s_last_byte() -> None:
    async with bench_for(answering()) as bench:
        exchange, upload = await bench.exchange(), Upload()
        sending = asyncio.ensure_future(bench.send(exchange, POST, upload))
        await eventually(lambda: exchange.uploading, "the upload began")
        bench.pass_time(10 * TIMEOUT)
        upload.pieces.put_nowait(b"abc")
        upload.pieces.put_nowait(b"")
        await eventually(lambda: len(bench.deadlines) == 1, "the head is waited for")
        bench.pass_time(TIMEOUT + 0.1)
        with pytest.raises(Problem, match="did not answer in time"):
            await sending


async def test_silence_in_the_middle_of_an_answer_is_a_timeout() -> None:
    async with bench_for(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")) as bench:
        exchange = await bench.exchange()
        await bench.send(exchange)
        assert await exchange.read() == b"ab"
        bench.pass_time(10 * IDLE)  # the client reads slowly; that isn't the upstream's silence
        reading = asyncio.ensure_future(exchange.read())
        await asyncio.sleep(0)
        bench.pass_time(IDLE + 0.1)
        with pytest.raises(Problem, match="in the middle"):
            await reading


async def test_an_upstream_that_stops_reading_is_a_timeout() -> None:
    async def deaf(peer: Peer) -> None:
        await asyncio.get_running_loop().create_future()

    async with bench_for(deaf) as bench:
        exchange, upload = await bench.exchange(), Upload(*[bytes(1 << 20)] * 64)
        sending = asyncio.ensure_future(bench.send(exchange, POST, upload))
        await eventually(lambda: len(bench.deadlines) == 1, "the upstream is waited for")
        bench.pass_time(IDLE + 0.1)
        with pytest.raises(Problem, match="stopped reading"):
            await sending


@pytest.mark.parametrize("size", [1, JOIN, JOIN + 1, 300_000])
async def test_what_is_uploaded_arrives_in_chunks(size: int) -> None:
    arrived: list[bytes] = []

    async def takes(peer: Peer) -> None:
        await peer.head()
        arrived.append(await peer.exactly(len(b"%x\r\n" % size) + size + 2 + 5))
        await peer.say(OK)

    async with bench_for(takes) as bench:
        exchange = await bench.exchange()
        await bench.send(exchange, POST, Upload(bytes(size), b""))
        assert arrived == [b"%x\r\n" % size + bytes(size) + b"\r\n0\r\n\r\n"]
        assert await everything(exchange) == b"ok"
        exchange.finish()


async def test_an_answer_that_comes_early_is_given_on_while_the_rest_is_sent() -> None:
    async with bench_for(answering(OK)) as bench:
        exchange, upload = await bench.exchange(), Upload(b"abc")
        await bench.send(exchange, POST, upload)
        assert exchange.uploading
        assert await everything(exchange) == b"ok"
        exchange.finish()
        assert (bench.pool.idle, bench.pool.in_use) == (0, 0), "half a request is on that connection"


@pytest.mark.parametrize("answer", [OK, EMPTY])
async def test_no_deadline_of_an_exchange_outlives_it(answer: bytes) -> None:
    """The connection is someone else's by then."""
    async with bench_for(answering(answer, OK)) as bench:
        exchange, upload = await bench.exchange(), Upload(b"abc")
        await bench.send(exchange, POST, upload)
        upload.pieces.put_nowait(b"")
        await eventually(lambda: not exchange.uploading, "the upload ends after the answer's head")
        await everything(exchange)
        exchange.finish()
        assert len(bench.deadlines) == 0


async def test_a_body_that_fails_ends_the_exchange_with_its_problem() -> None:
    async with bench_for(answering()) as bench:
        exchange = await bench.exchange()
        with pytest.raises(Problem, match="body_too_large"):
            await bench.send(exchange, POST, Upload(b"abc", Problem("body_too_large")))


async def test_a_body_that_fails_behind_an_early_head_ends_the_answer_with_its_problem() -> None:
    async with bench_for(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")) as bench:
        exchange, upload = await bench.exchange(), Upload(b"abc")
        await bench.send(exchange, POST, upload)
        assert await exchange.read() == b"ab"
        upload.pieces.put_nowait(Problem("request_timeout"))
        with pytest.raises(Problem, match="request_timeout"):
            await exchange.read()


async def test_interim_answers_are_told_or_passed_over_and_the_answer_follows() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\n"
    async with bench_for(answering(interim + b"HTTP/1.1 102 Processing\r\n\r\n" + OK, OK)) as bench:
        exchange, body = await bench.get()
        assert (exchange.message.code, body) == (200, b"ok")
        exchange.finish()
        assert bench.interim == [(((b"Link", b"</a>"), (b"Connection", b"x")), ["x"])]
        exchange, body = await bench.get()
        assert body == b"ok"
        exchange.finish()


BAD = {
    "nonsense": b"nonsense\r\n\r\n",
    "an unsolicited switch": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "interim answers without end": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50,
    "an unknown interim answer": b"HTTP/1.1 199 Whatever\r\n\r\n" + OK,
    "a status that is none": b"HTTP/1.1 999 Whatever\r\nContent-Length: 0\r\n\r\n",
    "another version": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "an unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
}


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD)
async def test_what_is_no_answer_is_a_bad_response(answer: bytes) -> None:
    async with bench_for(answering(answer, then=closing)) as bench:
        exchange = await bench.exchange()
        with pytest.raises(Problem, match="upstream_bad_response") as caught:
            await bench.send(exchange)
        assert "nonsense" not in caught.value.detail


async def closing(peer: Peer) -> None:
    peer.close()


async def test_a_kept_connection_that_closes_without_a_byte_is_stale_and_a_new_one_is_not() -> None:
    async def one_answer(peer: Peer) -> None:
        await peer.head()
        await peer.say(OK)
        await peer.head()

    async with bench_for(one_answer) as bench:
        first, _ = await bench.get()
        first.finish()
        second = await bench.exchange()
        with pytest.raises(StaleConnection):
            await bench.send(second)
        second.abort()


async def test_a_kept_connection_on_which_an_answer_began_is_not_stale() -> None:
    async with bench_for(answering(OK, b"HTTP/1.1 2", then=closing)) as bench:
        first, _ = await bench.get()
        first.finish()
        second = await bench.exchange()
        with pytest.raises(Problem, match="upstream_bad_response"):
            await bench.send(second)


async def test_a_body_that_breaks_off_is_an_error_and_costs_the_connection() -> None:
    async with bench_for(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab", then=closing)) as bench:
        exchange = await bench.exchange()
        await bench.send(exchange)
        with pytest.raises(aiohttp.ClientPayloadError):
            await everything(exchange)
        exchange.finish()
        assert (bench.pool.idle, bench.pool.in_use) == (0, 0)


async def test_an_event_stream_leaves_the_count_and_may_be_silent_for_longer() -> None:
    async with bench_for(answering(b"HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n")) as bench:
        exchange = await bench.exchange()
        await bench.send(exchange)
        exchange.establish(300.0)
        assert (bench.pool.in_use, bench.pool.streams) == (0, 1)
        assert await exchange.read() == b"data: 1\n\n"
        reading = asyncio.ensure_future(exchange.read())
        await asyncio.sleep(0)
        bench.pass_time(299)
        assert not reading.done()
        bench.pass_time(1.2)
        with pytest.raises(Problem, match="in the middle"):
            await reading
        exchange.abort()
        assert bench.pool.streams == 0


async def test_cancelling_a_send_and_aborting_ends_the_upload_too() -> None:
    async with bench_for(answering()) as bench:
        exchange, upload = await bench.exchange(), Upload(b"abc")
        sending = asyncio.ensure_future(bench.send(exchange, POST, upload))
        await eventually(lambda: upload.pieces.empty(), "the upload waits for more")
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        exchange.abort()
        await eventually(lambda: not exchange.uploading, "the upload ends")


@pytest.mark.parametrize("size", [1, JOIN, JOIN + 1])
def test_a_chunk_is_framed(size: int) -> None:
    written: list[bytes] = []
    write_chunk(written.append, bytes(size))
    assert b"".join(written) == b"%x\r\n" % size + bytes(size) + b"\r\n"
