"""What upstreams answer: interim answers, malformed ones, and those that break off."""

from __future__ import annotations

import aiohttp
import pytest

from aiogateway.errors import Problem
from aiogateway.proxy.exchange import StaleConnection
from tests.proxy.exchanging import OK, bench_for, closing, everything
from tests.upstreams.scripted import Peer, answering


async def test_interim_answers_are_told_or_passed_over_and_the_answer_follows() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\n"
    async with bench_for(answering(interim + b"HTTP/1.1 102 Processing\r\n\r\n" + OK)) as bench:
        exchange, body = await bench.get()
        assert (exchange.message.code, body) == (200, b"ok")
        exchange.finish()
        assert bench.interim == [(((b"Link", b"</a>"), (b"Connection", b"x")), ["x"])]


async def test_a_connection_that_gave_an_interim_answer_is_kept() -> None:
    async with bench_for(answering(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)) as bench:
        exchange, _ = await bench.get()
        exchange.finish()
        assert bench.pool.idle == 1


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
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "one bare line feed": b"HTTP/1.1 200 OK\r\nX: y\nContent-Length: 0\r\n\r\n",
    "a folded field": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
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
