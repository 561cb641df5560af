"""One request and its answer over a real connection: what is waited for, what is sent, and who gets the connection."""

from __future__ import annotations

import asyncio

import pytest

from aiogateway.errors import Problem
from aiogateway.proxy.upload import JOIN, write_chunk
from tests.clock import eventually
from tests.proxy.exchanging import EMPTY, IDLE, OK, POST, TIMEOUT, Upload, bench_for, everything
from tests.upstreams.scripted import Peer, answering


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
        await eventually(upload.pieces.empty, "the upload waits for more")
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
