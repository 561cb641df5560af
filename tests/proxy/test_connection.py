"""Clients' connections in time: what a client may let us wait for, and what its leaving ends."""

from __future__ import annotations

import asyncio
import contextlib
from ipaddress import ip_network

import pytest

from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response
from tests.clock import eventually
from tests.proxy.served import Served, echo, serving

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
HALF = GET[:20]
OK = b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 0\r\n"


async def ok(request: Request) -> Response:
    return Response(200, [b"X: y"])


async def head_awaited(served: Served) -> None:
    await eventually(lambda: len(served.deadlines) == 1, "the head has a deadline")


async def test_a_head_that_does_not_arrive_is_408_and_the_end() -> None:
    async with serving(ok) as served:
        client = await served.client(HALF)
        await head_awaited(served)
        served.pass_time(9.9)
        client.send(GET[20:-1])
        await served.caught_up()
        served.pass_time(0.3)
        answer = await client.answer()
        assert (answer.status, answer.lines["connection"]) == (408, "close")
        assert await client.rest() == b""


async def test_the_deadline_of_a_head_ends_with_the_head() -> None:
    async with serving(echo) as served:
        client = await served.client(HALF)
        await head_awaited(served)
        client.send(GET[20:])
        assert (await client.answer()).status == 200
        assert len(served.deadlines) == 0
        served.pass_time(60)
        client.send(GET)
        assert (await client.answer()).status == 200


async def test_a_head_that_began_during_the_exchange_before_has_a_deadline_too() -> None:
    go_on = asyncio.Event()

    async def slow(request: Request) -> Response:
        await go_on.wait()
        return Response(200, [b"X: y"])

    async with serving(slow) as served:
        client = await served.client(GET)
        await eventually(served.server.busy, "the first is being answered")
        client.send(HALF)
        await served.caught_up()
        go_on.set()
        assert (await client.answer()).status == 200
        await head_awaited(served)
        served.pass_time(10.1)
        assert (await client.answer()).status == 408


@pytest.mark.parametrize("begun", [b"G", b"GET / HTTP/1.1\r\n", HALF, GET[:-1]])
async def test_a_head_that_began_in_the_packet_of_the_request_before_has_a_deadline_too(begun: bytes) -> None:
    async with serving(echo) as served:
        client = await served.client(GET + begun)
        assert (await client.answer()).status == 200
        await head_awaited(served)
        served.pass_time(10.1)
        assert (await client.answer()).status == 408
        assert await client.rest() == b""


async def test_an_idle_connection_ends_without_a_word_when_its_time_is_over() -> None:
    async with serving(ok, keepalive_timeout=0.05) as served:
        assert await (await served.client()).rest() == b""
        client = await served.client(GET)
        assert (await client.answer()).status == 200
        assert await client.rest() == b""


async def test_an_exchange_may_last_longer_than_an_idle_connection() -> None:
    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.2)
        return Response(200, [b"X: y"])

    async with serving(slow, keepalive_timeout=0.05) as served:
        client = await served.client(GET + GET)
        assert [(await client.answer()).status for _ in range(2)] == [200, 200]


async def test_a_connection_on_which_a_head_arrives_is_not_idle() -> None:
    """A head has `GATEWAY_HEADER_TIMEOUT` whatever `GATEWAY_KEEPALIVE_TIMEOUT` is, and past it a 408."""
    async with serving(ok, keepalive_timeout=0.1) as served:
        client = await served.client(HALF)
        await head_awaited(served)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                assert await client.reader.read(1), "the connection was closed in the middle of a head"
        client.send(GET[20:])
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("waits", ["before the first byte", "for the body", "for the client to read"])
async def test_a_client_that_leaves_ends_its_handler(waits: str, how: str) -> None:
    ended: list[str] = []

    async def waiting(request: Request) -> Response:
        try:
            if waits == "before the first byte":
                await asyncio.get_running_loop().create_future()
            while waits == "for the body":
                await request.content.readany()
            while True:
                request.write(bytes(1 << 20))
                await request.connection.pace(None).drain()
        except (asyncio.CancelledError, ConnectionError) as exc:
            ended.append(type(exc).__name__)
            raise

    async with serving(waiting) as served:
        client = await served.client(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
        await eventually(served.server.busy, "the handler waits")
        if how == "reset":
            client.writer.transport.abort()
        else:
            await client.leave()
        await eventually(lambda: not served.server.connections, "nothing of it is left")
    if waits == "for the client to read":  # a write or the wait may be the first to know
        assert ended in (["CancelledError"], ["ConnectionResetError"], ["ClientConnectionResetError"])
    else:
        assert ended == ["CancelledError"]


async def test_an_early_answer_is_read_while_the_rest_of_the_body_is_thrown_away() -> None:
    async def at_once(request: Request) -> Response:
        return Response(413, [b"X: y"], b"too large", close=True)

    size = 4 << 20
    async with serving(at_once) as served:
        client = await served.client(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        answer = await client.answer()
        assert (answer.status, answer.body, answer.lines["connection"]) == (413, b"too large", "close")
        for _ in range(64):
            client.send(bytes(size // 64))
            await client.writer.drain()
        assert await client.rest() == b"", "an end in good order, once all of it came"


async def test_what_follows_an_unread_body_is_not_answered() -> None:
    async with serving(ok) as served:
        client = await served.client(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n")
        assert (await client.answer()).status == 200
        client.send(b"abc" + GET)
        assert await client.rest() == b""


@pytest.mark.parametrize(("version", "passed"), [(b"1.1", True), (b"1.0", False)])
async def test_a_103_is_passed_on_before_the_answer_to_who_knows_of_them(version: bytes, passed: bool) -> None:
    fields = [(b"Link", b"</a.css>"), (b"X-Inner", b"i"), (b"Connection", b"x-inner"), (b"Server", b"s")]

    async def hints(request: Request) -> Response:
        request.early_hints(fields, ["x-inner"])
        return Response(200, [b"X: y"], close=True)

    async with serving(hints) as served:
        client = await served.client(b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version)
        interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" if passed else b""
        assert await client.rest() == interim + OK + b"Connection: close\r\n\r\n"


async def test_an_answer_to_head_has_a_length_and_no_body() -> None:
    async def body(request: Request) -> Response:
        return Response(200, [b"X: y"], b"12345")

    async with serving(body) as served:
        client = await served.client(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.answer(bodiless=True)).lines["content-length"] == "5"
        client.send(GET)
        assert (await client.answer()).body == b"12345"


async def test_winding_down_ends_each_connection_with_its_next_answer() -> None:
    go_on = asyncio.Event()

    async def slow(request: Request) -> Response:
        await go_on.wait()
        return await echo(request)

    async with serving(slow) as served:
        idle, busy = (
            await served.client(),
            await served.client(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab"),
        )
        await eventually(lambda: served.server.busy() == 1 and len(served.server.connections) == 2, "both are there")
        served.server.pre_shutdown()
        busy.send(b"cd")
        go_on.set()
        answer = await busy.answer()
        assert (answer.body, answer.lines["connection"]) == (b"abcd", "close")
        assert await busy.rest() == b""
        idle.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await idle.answer()).lines["connection"] == "close"
        assert await idle.rest() == b""
        late = await served.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await late.answer()).lines["connection"] == "close"


async def test_a_long_body_goes_past_the_parser_and_what_follows_it_does_not() -> None:
    async def plainly(request: Request) -> Response:
        if request.method == "POST":
            request.connection.read_plainly(request.content, int(request.headers["Content-Length"]))
        return await echo(request)

    body = bytes(range(256)) * 4096
    raw = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with serving(plainly) as served:
        client = await served.client(raw[:100])
        await eventually(served.server.busy, "the body is read")
        client.send(raw[100:] + GET + raw + GET)
        answers = [await client.answer() for _ in range(4)]
        assert [answer.body == body for answer in answers] == [True, False, True, False]
        client.send(b"GARBAGE\r\n\r\n")
        assert (await client.answer()).status == 400


@pytest.mark.parametrize("trusted", [True, False])
async def test_only_a_trusted_peer_is_asked_what_the_client_called_us(trusted: bool) -> None:
    async def who(request: Request) -> Response:
        return Response(200, [b"X-Origin: " + request.public_origin()])

    async with serving(who, trusted=(ip_network("127.0.0.0/8"),) if trusted else ()) as served:
        forwarded = b"X-Forwarded-Proto: HTTPS, http\r\nX-Forwarded-Host: public, inner\r\n"
        client = await served.client(b"GET / HTTP/1.1\r\nHost: a:1\r\n" + forwarded + b"\r\n")
        assert (await client.answer()).lines["x-origin"] == ("https://public" if trusted else "http://a:1")
