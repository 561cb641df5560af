"""One connection to an upstream, over real sockets."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp.http_exceptions import HttpProcessingError

from aiogateway.errors import Problem
from aiogateway.upstreams.connection import MAX_FIELDS, MAX_LINE
from tests.clock import eventually
from tests.upstreams.scripted import GET, OK, Peer, answering, ask, connected, head_of

LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_one_connection_serves_many_exchanges(answer: bytes) -> None:
    async with connected(answering(*[answer] * 5)) as connection:
        for _ in range(5):
            assert await ask(connection) == (200, b"ok")
            assert connection.is_reusable()


async def test_answers_with_and_without_bodies_alternate() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    async with connected(answering(OK, head, head, OK, b"HTTP/1.1 204 No Content\r\n\r\n", OK)) as connection:
        answers = [await ask(connection, bodiless=n in (1, 2)) for n in range(6)]
        assert [body for _, body in answers] == [b"ok", b"", b"", b"ok", b"", b"ok"]
        assert connection.is_reusable()


async def test_a_body_without_a_length_ends_with_its_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\n\r\nok")

    async with connected(script) as connection:
        assert await ask(connection) == (200, b"ok")
        assert not connection.is_reusable()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_a_connection_that_the_answer_ends_is_not_used_again(answer: bytes) -> None:
    async with connected(answering(answer)) as connection:
        assert (await ask(connection))[1] == b"ok"
        assert not connection.is_reusable()


async def test_a_connection_that_the_upstream_closed_is_not_used_again() -> None:
    async def then(peer: Peer) -> None:
        peer.close()

    async with connected(answering(OK, then=then)) as connection:
        assert await ask(connection) == (200, b"ok")
        await eventually(lambda: not connection.is_reusable(), "the end is noticed")


async def test_whether_anything_was_answered_is_known() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(OK)
        await peer.head()

    async with connected(script) as connection:
        await ask(connection)
        connection.begin(GET, bodiless=False)
        assert not connection.answered
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await head_of(connection)
        assert not connection.answered


BROKEN = {
    "nonsense": b"nonsense\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/2": b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
    "too many fields": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (MAX_FIELDS + 1) + b"\r\n",
    "too long a field": b"HTTP/1.1 200 OK\r\nX: " + b"y" * (MAX_LINE + 1) + b"\r\n\r\n",
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_an_answer_that_is_none_is_an_error(answer: bytes) -> None:
    async with connected(answering(answer)) as connection:
        connection.begin(GET, bodiless=False)
        with pytest.raises(HttpProcessingError):
            await head_of(connection)
        assert not connection.is_reusable()


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize(
    "begun",
    [LONG, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"],
    ids=["length", "chunks"],
)
async def test_a_body_that_breaks_off_is_an_error(begun: bytes, how: str) -> None:
    go_on = asyncio.Event()

    async def then(peer: Peer) -> None:
        await go_on.wait()
        peer.reset() if how == "reset" else peer.close()

    async with connected(answering(begun, then=then)) as connection:
        connection.begin(GET, bodiless=False)
        _, payload = await head_of(connection)
        assert await payload.readany() == b"ab"
        go_on.set()
        with pytest.raises(aiohttp.ClientPayloadError):
            await payload.readany()


async def test_a_body_whose_framing_breaks_later_on_is_an_error() -> None:
    go_on = asyncio.Event()

    async def then(peer: Peer) -> None:
        await go_on.wait()
        await peer.say(b"no chunk\r\n")
        await peer.rest()

    begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"
    async with connected(answering(begun, then=then)) as connection:
        connection.begin(GET, bodiless=False)
        _, payload = await head_of(connection)
        assert await payload.readany() == b"ab"
        go_on.set()
        async with asyncio.timeout(30):
            with pytest.raises(aiohttp.ClientPayloadError):
                await payload.readany()


async def test_a_body_without_a_length_that_is_reset_is_an_error() -> None:
    go_on = asyncio.Event()

    async def then(peer: Peer) -> None:
        await go_on.wait()
        peer.reset()

    async with connected(answering(b"HTTP/1.1 200 OK\r\n\r\nab", then=then)) as connection:
        connection.begin(GET, bodiless=False)
        _, payload = await head_of(connection)
        assert await payload.readany() == b"ab"
        go_on.set()
        with pytest.raises(aiohttp.ClientPayloadError):
            await payload.readany()


async def test_failing_wakes_who_waits_for_the_head() -> None:
    async with connected(answering()) as connection:
        connection.begin(GET, bodiless=False)
        reading = asyncio.ensure_future(head_of(connection))
        await asyncio.sleep(0)
        connection.fail(Problem("upstream_timeout"))
        with pytest.raises(Problem, match="upstream_timeout"):
            await reading
        assert not connection.is_reusable()


async def test_failing_wakes_who_waits_for_the_body() -> None:
    async with connected(answering(LONG)) as connection:
        connection.begin(GET, bodiless=False)
        _, payload = await head_of(connection)
        await payload.readany()
        reading = asyncio.ensure_future(payload.readany())
        await asyncio.sleep(0)
        connection.fail(Problem("upstream_timeout"))
        with pytest.raises(Problem, match="upstream_timeout"):
            await reading


async def test_what_is_written_after_the_end_vanishes_and_reading_says_so() -> None:
    async def script(peer: Peer) -> None:
        peer.reset()

    async with connected(script) as connection:
        await eventually(lambda: not connection.is_reusable(), "the end is noticed")
        connection.begin(GET, bodiless=False)
        with pytest.raises(aiohttp.ClientError):
            await head_of(connection)
        with pytest.raises(ConnectionError):
            await connection.drain()


async def test_an_aborted_request_does_not_look_complete() -> None:
    seen: list[bytes] = []
    over = asyncio.Event()

    async def script(peer: Peer) -> None:
        try:
            await peer.head()
            seen.append(await peer.rest())
        finally:
            over.set()

    async with connected(script) as connection:
        connection.begin(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf", bodiless=False)
        connection.abort()
        connection.abort()
        connection.close()
        async with asyncio.timeout(30):
            await over.wait()
        assert b"".join(seen) in (b"", b"half")


async def test_a_long_body_of_known_length_goes_past_the_parser_and_its_connection_is_used_again() -> None:
    body = bytes(range(256)) * 4096
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with connected(answering(answer, OK, answer)) as connection:
        for expected in (body, b"ok", body):
            connection.begin(GET, bodiless=False)
            message, payload = await head_of(connection)
            connection.read_plainly(int(message.headers["Content-Length"]))
            parts: list[bytes] = []
            while chunk := await payload.readany():
                parts.append(chunk)
            connection.complete(message)
            assert b"".join(parts) == expected
            assert connection.is_reusable()
