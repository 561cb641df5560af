"""Where a body ends and the next request begins, in whatever packets they come; framing that breaks, and its bounds."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from aiogateway.proxy.parsing import MAX_ARRIVING, MAX_HEAD
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response
from tests.clock import eventually
from tests.proxy.served import Client, Served, after, echo, serving

GET = b"GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n"
LENGTH = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKS = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n"
BODIES = {"length": LENGTH, "chunks": CHUNKS + b"\r\n", "chunks and trailers": CHUNKS + b"X-Asked: trailer\r\n\r\n"}


@pytest.mark.parametrize("kind", BODIES)
async def test_a_connection_goes_on_behind_a_body_wherever_its_packets_are_cut(kind: str) -> None:
    raw = BODIES[kind]
    async with serving(echo) as served:
        lost = [cut for cut in range(1, len(raw)) if not await goes_on(served, raw[:cut], raw[cut:])]
        assert not lost, f"cut before {[raw[cut:] for cut in lost]}, the connection ends unannounced"


async def goes_on(served: Served, first: bytes, second: bytes) -> bool:
    """Whether a request in two packets is answered, and another behind it too."""
    client = await served.client(first)
    await eventually(lambda: served.server.connections, "it is connected")
    await served.caught_up()
    client.send(second)
    answer = await client.answer()
    assert (answer.body, "connection" in answer.lines) == (b"hello", False)
    client.send(GET)
    try:
        told = (await client.answer()).lines["x-asked"]
    except (asyncio.IncompleteReadError, ConnectionError):
        told = ""
    assert told in ("", "GET /a?b=c 1.1")
    await client.leave()
    await eventually(lambda: not served.server.connections, "it ends")
    return bool(told)


async def test_a_connection_goes_on_behind_a_long_body_in_chunks_that_waited_to_be_read() -> None:
    go_on = asyncio.Event()
    async with serving(after(go_on)) as served:
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        client = await served.client(CHUNKS.partition(b"2\r\n")[0] + chunk * 16 + b"0\r\n\r\n")
        await eventually(lambda: served.server.busy() and served.connection()._reading_paused, "reading pauses")
        go_on.set()
        assert len((await client.answer()).body) == 16 * 0x10000
        client.send(GET)
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("pieces", [(100_000, 31_073), (131_072, 1), (65_536, 65_537), (150_000, 50_000)])
async def test_a_body_whose_last_byte_paused_the_parser_ends_when_it_goes_past_it(pieces: tuple[int, int]) -> None:
    go_on = asyncio.Event()

    async def late(request: Request) -> Response:
        if request.method == "POST":
            await go_on.wait()
            request.connection.read_plainly(request.content, sum(pieces))
        return await echo(request)

    async with serving(late) as served:
        head = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % sum(pieces)
        client = await served.client(head + bytes(pieces[0]))
        await eventually(served.server.busy, "it is being answered")
        await served.caught_up()
        client.send(bytes(pieces[1]))
        await eventually(lambda: served.connection()._reading_paused, "reading pauses")
        client.send(GET)
        go_on.set()
        assert len((await client.answer()).body) == sum(pieces)
        assert (await client.answer()).lines["x-asked"] == "GET /a?b=c 1.1"


async def test_a_request_in_the_packet_of_a_body_s_end_is_the_next_one() -> None:
    raw = LENGTH + GET
    async with serving(echo) as served:
        for cut in range(1, len(raw)):
            client = await served.client(raw[:cut])
            client.send(raw[cut:])
            assert (await client.answer()).body == b"hello"
            assert (await client.answer()).lines["x-asked"] == "GET /a?b=c 1.1"
            await client.leave()


async def test_the_trailers_of_a_body_are_never_fields_of_the_next_request() -> None:
    async def asked(request: Request) -> Response:
        answer = await echo(request)
        answer.lines.append(b"X-Fields: " + ",".join(request.headers).encode())
        return answer

    async with serving(asked) as served:
        for raw in (BODIES["chunks and trailers"] + GET, BODIES["chunks and trailers"] + b"\r\n"):
            client = await served.client(raw)
            assert (await client.answer()).lines["x-fields"] == "Host,Transfer-Encoding"
            client.send(GET)
            # Whether the connection goes on or ends is all the same, as long as nothing is mixed up.
            assert b"X-Asked: trailer" not in (rest := await client.some())
            assert rest == b"" or b"X-Fields: Host\r\n" in rest


async def test_a_request_before_one_that_can_t_be_read_is_answered_first() -> None:
    go_on = asyncio.Event()
    async with serving(after(go_on)) as served:
        client = await served.client(GET)
        await eventually(served.server.busy, "the first is being answered")
        client.send(b"GARBAGE\r\n\r\n")
        await waits_behind(served, 1)
        go_on.set()
        assert [(await client.answer()).status for _ in range(2)] == [200, 400]
        assert await client.rest() == b""


@pytest.mark.parametrize("together", [False, True], ids=["in a packet of its own", "in the head's packet"])
async def test_broken_framing_in_a_body_ends_its_reader_with_400(together: bool) -> None:
    async with serving(echo) as served:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        client = await served.client(head + b"zz\r\n" * together)
        if not together:
            await eventually(served.server.busy, "the handler reads")
            client.send(b"zz\r\n")
        answer = await client.answer()
        assert (answer.status, json.loads(answer.body)["code"]) == (400, "bad_request")
        assert await client.rest() == b"", "what follows can't be told from a body"


async def test_broken_framing_in_the_body_of_a_request_that_waits_its_turn_ends_its_reader_too() -> None:
    go_on = asyncio.Event()
    async with serving(after(go_on)) as served:
        client = await served.client(GET)
        await eventually(served.server.busy, "the first is being answered")
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await waits_behind(served, 1)
        client.send(b"zz\r\n")
        await waits_behind(served, 2)
        go_on.set()
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 400


async def waits_behind(served: Served, count: int) -> None:
    await eventually(lambda: len(served.connection()._messages) == count, f"{count} wait behind the first")


LINE = b"X: " + b"a" * 8000 + b"\r\n"


async def in_packets(served: Served, client: Client, *packets: bytes) -> None:
    """Send bytes so that the server takes them in as these packets."""
    for packet in packets:
        client.send(packet)
        await asyncio.sleep(0)
        with contextlib.suppress(OSError, AssertionError, ValueError):  # it may have hung up by now
            await served.caught_up()


@pytest.mark.parametrize("size", [1000, 8000, 30_000, 200_000])
async def test_a_head_that_is_too_large_in_all_is_431_in_whatever_packets_it_comes(size: int) -> None:
    raw = GET[:-2] + LINE * (MAX_HEAD // len(LINE) + 1) + b"\r\n"
    async with serving(echo) as served:
        client = await served.client()
        await eventually(lambda: served.server.connections, "it is connected")
        await in_packets(served, client, *(raw[at : at + size] for at in range(0, len(raw), size)))
        assert (await client.answer()).status == 431
        assert await client.rest() == b""


BEFORE = {
    "another head": GET,
    "a large body": b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 150000\r\n\r\n" + bytes(150_000),
    "a body like a head": b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 50004\r\n\r\n%b\r\n\r\n" % bytes(50_000),
    "an empty line": b"\r\n",
}


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
@pytest.mark.parametrize("lines", [1, MAX_HEAD // len(LINE), MAX_HEAD // len(LINE) + 1])
@pytest.mark.parametrize("cut", [10, 9000, 40_000])
async def test_only_what_belongs_to_a_head_counts(before: bytes, lines: int, cut: int) -> None:
    raw = GET[:-2] + LINE * lines + b"\r\n"
    async with serving(echo) as served:
        client = await served.client()
        await eventually(lambda: served.server.connections, "it is connected")
        await in_packets(served, client, before + raw[:cut], raw[cut:])
        if before != b"\r\n":
            assert (await client.answer()).status == 200
        assert (await client.answer()).status == (200 if lines <= MAX_HEAD // len(LINE) else 431)


async def test_large_requests_of_usual_kinds_follow_one_another() -> None:
    chunks = CHUNKS.partition(b"2\r\n")[0] + b"20000\r\n%b\r\n0\r\n\r\n" % bytes(0x20000)
    async with serving(echo) as served:
        client = await served.client()
        await eventually(lambda: served.server.connections, "it is connected")
        for _ in range(3):
            for raw in (BEFORE["a large body"], BEFORE["a body like a head"], GET[:-2] + LINE * 8 + b"\r\n", chunks):
                await in_packets(served, client, raw)
                assert (await client.answer()).status == 200


ENDLESS = {
    "fields": (GET[:-2], LINE),
    "fields behind empty lines": (b"\r\n" * 10 + GET[:-2], LINE),
    "trailers": (CHUNKS, LINE),
    "a chunk's extension": (CHUNKS.partition(b"\r\n2\r\n")[0] + b"\r\n2;a=", b"b" * 8000),
    "a chunk's size": (CHUNKS.partition(b"\r\n2\r\n")[0] + b"\r\n", b"0" * 8000),
}


@pytest.mark.parametrize(("beginning", "more"), ENDLESS.values(), ids=ENDLESS)
async def test_what_never_ends_is_cut_off(beginning: bytes, more: bytes) -> None:
    async with serving(echo) as served:
        client = await served.client(beginning)
        await eventually(lambda: served.server.connections, "it is connected")
        connection, sent = served.connection(), 0
        while not connection._deaf:
            assert sent <= MAX_ARRIVING + len(more)
            await in_packets(served, client, more)
            sent += len(more)
        answer = await client.answer()
        assert (answer.status, answer.lines["connection"]) in ((431, "close"), (400, "close"))


async def test_a_large_head_behind_a_request_that_is_being_answered_is_refused_after_that_one() -> None:
    go_on = asyncio.Event()
    async with serving(after(go_on)) as served:
        client = await served.client(GET)
        await eventually(served.server.busy, "the first is being answered")
        await in_packets(served, client, GET[:-2], *[LINE] * 12)
        assert served.connection()._deaf
        go_on.set()
        assert [(await client.answer()).status for _ in range(2)] == [200, 431]
        assert await client.rest() == b""


async def test_an_answer_reaches_a_client_that_goes_on_sending_its_head() -> None:
    async with serving(echo) as served:
        client = await served.client(GET[:-2])
        await eventually(lambda: served.server.connections, "it is connected")
        connection = served.connection()
        for _ in range(100):
            await in_packets(served, client, LINE)
        assert connection._deaf
        assert (await client.answer()).status == 431
        assert await client.rest() == b""


BEHIND = {
    "in its packet": (b"GET /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: %b\r\n\r\n", b""),
    "in the packet of its body": (
        b"POST /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: %b\r\nContent-Length: 5\r\n\r\n",
        b"hello",
    ),
}


@pytest.mark.parametrize(("head", "body"), BEHIND.values(), ids=BEHIND)
@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
@pytest.mark.parametrize("behind", [GET, GET[:20], b"GET http://[::1]:80@/b HTTP/1.1\r\nHost: a\r\n\r\n", b"\x81\x05"])
async def test_nothing_is_read_from_behind_an_upgrade_that_is_declined(
    head: bytes, body: bytes, protocol: bytes, behind: bytes
) -> None:
    async with serving(echo) as served:
        client = await served.client()
        await eventually(lambda: served.server.connections, "it is connected")
        packets = [head % protocol, body + behind] if body else [head % protocol + behind]
        await in_packets(served, client, *packets, GET)
        answer = await client.answer()
        assert (answer.status, answer.body, answer.lines["connection"]) == (200, body, "close")
        assert await client.rest() == b""


TOLD = {
    b"GET / HTTP/1.7\r\n": "http_version_not_supported",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": "http_version_not_supported",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0": "not_implemented",
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 102: "header_too_large",
    b"GET http://[::1]:80@/b HTTP/1.1\r\nHost: a\r\n\r\n": "bad_request",
    b"GET / HTTP/1.1\r\nToo many headers\r\n": "bad_request",
}


@pytest.mark.parametrize(("raw", "code"), TOLD.items())
async def test_the_parser_s_reasons_are_understood(raw: bytes, code: str) -> None:
    """They are told by how its messages begin: this fails when aiohttp changes one."""
    async with serving(echo) as served:
        client = await served.client(raw)
        assert json.loads((await client.answer()).body)["code"] == code
