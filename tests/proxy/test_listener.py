"""The server side on real sockets: how heads and bodies may arrive, and how connections go on or end."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.http_exceptions import BadHttpMessage, BadStatusLine, LineTooLong

from aiogateway.proxy.parsing import MAX_FIELD, MAX_FIELDS, MAX_TARGET, unparsed
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response
from tests.clock import eventually
from tests.proxy.served import echo, serving

HOST = b"Host: a\r\n"
GET = b"GET /a?b=c HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.mark.parametrize(
    ("exc", "code"),
    [
        (LineTooLong(b"GET /aaa", MAX_TARGET), "uri_too_long"),
        (LineTooLong(b"GET /aaa", MAX_FIELD), "header_too_large"),
        (BadHttpMessage("Too many headers received"), "header_too_large"),
        (BadStatusLine("nonsense"), "bad_request"),
        (ValueError("whatever"), "bad_request"),
        (None, "bad_request"),
    ],
)
def test_what_can_t_be_parsed_is_told_without_the_client_s_bytes(exc: BaseException | None, code: str) -> None:
    problem = unparsed(exc)
    assert problem.code == code
    assert "GET" not in problem.detail and "nonsense" not in problem.detail


async def test_a_head_may_arrive_byte_by_byte() -> None:
    async with serving(echo) as served:
        client = await served.client()
        for byte in b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi":
            client.send(bytes([byte]))
            await asyncio.sleep(0)
        answer = await client.answer()
        assert (answer.lines["x-asked"], answer.body) == ("POST /a 1.1", b"hi")


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    paths = [f"/{number}" for number in range(100)]
    async with serving(echo) as served:
        client = await served.client(b"".join(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode() for path in paths))
        answers = [await client.answer() for _ in paths]
        assert [answer.lines["x-asked"] for answer in answers] == [f"GET {path} 1.1" for path in paths]


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
async def test_an_upgrade_is_a_plain_request_and_the_connection_goes_on(protocol: bytes) -> None:
    upgrade = b"GET /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: %b\r\n\r\n" % protocol
    async with serving(echo) as served:
        client = await served.client(upgrade)
        assert (await client.answer()).lines["x-asked"] == "GET /up 1.1"
        client.send(GET)
        assert (await client.answer()).lines["x-asked"] == "GET /a?b=c 1.1"


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
async def test_a_request_in_the_same_packet_as_an_upgrade_is_not_lost_without_a_word(protocol: bytes) -> None:
    upgrade = b"GET /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: %b\r\n\r\n" % protocol
    async with serving(echo) as served:
        client = await served.client(upgrade + GET)
        first = await client.answer()
        assert first.lines["x-asked"] == "GET /up 1.1"
        if first.lines.get("connection") == "close":  # announced, so the client knows to ask again
            assert await client.rest() == b""
        else:
            assert (await client.answer()).lines["x-asked"] == "GET /a?b=c 1.1"


@pytest.mark.parametrize(
    ("head", "asked"),
    [
        (b"GET http://a/x?y#z HTTP/1.1\r\n" + HOST, "GET /x?y#z 1.1"),
        (b"GET http://a HTTP/1.1\r\n" + HOST, "GET / 1.1"),
        (b"OPTIONS * HTTP/1.1\r\n" + HOST, "OPTIONS * 1.1"),
        (b"GET /a%2f..//b?%zz HTTP/1.1\r\n" + HOST, "GET /a%2f..//b?%zz 1.1"),
        (b"GET /http://b HTTP/1.1\r\n" + HOST, "GET /http://b 1.1"),
    ],
)
async def test_the_target_s_path_and_query_are_as_the_client_wrote_them(head: bytes, asked: str) -> None:
    async with serving(echo) as served:
        client = await served.client(head + b"\r\n")
        assert (await client.answer()).lines["x-asked"] == asked


@pytest.mark.parametrize(
    ("version", "fields", "kept"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: close\r\n", False),
        (b"1.1", b"Connection: x, Close\r\n", False),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: keep-alive\r\n", True),
        # Not spoken here; a middleware says so, and nothing more is read.
        (b"2.0", b"", False),
    ],
)
async def test_a_connection_is_kept_as_version_and_fields_say(version: bytes, fields: bytes, kept: bool) -> None:
    async with serving(echo) as served:
        client = await served.client(b"GET / HTTP/%b\r\nHost: a\r\n%b\r\n" % (version, fields))
        answer = await client.answer()
        assert answer.lines["x-asked"].endswith(version.decode())
        if kept:
            assert answer.lines.get("connection") == ("keep-alive" if version == b"1.0" else None)
            client.send(GET)
            assert (await client.answer()).status == 200
        else:
            assert answer.lines["connection"] == "close"
            assert await client.rest() == b""


REFUSED = {
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "a NUL": (b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n", 400),
    "length and chunks": (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "too many fields": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * (MAX_FIELDS + 1) + b"\r\n", 431),
    "too long a target": (b"GET /" + b"a" * MAX_TARGET + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "a target without end": (b"GET /" + b"a" * 2 * MAX_TARGET, 414),
    "too long a value": (b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_FIELD + b"a\r\n\r\n", 431),
    "too long a name": (b"GET / HTTP/1.1\r\n" + b"a" * MAX_FIELD + b"a: b\r\n\r\n", 431),
}


@pytest.mark.parametrize(("raw", "status"), REFUSED.values(), ids=REFUSED)
async def test_what_can_t_be_read_is_answered_once_and_the_connection_ends(raw: bytes, status: int) -> None:
    async def never(request: Request) -> Response:
        raise AssertionError("nothing of it is a request")

    async with serving(never) as served:
        client = await served.client(raw)
        answer = await client.answer()
        assert (answer.status, answer.lines["content-type"]) == (status, "application/problem+json")
        assert await client.rest() == b""


async def test_as_many_fields_as_are_allowed_are_taken() -> None:
    async with serving(echo) as served:
        client = await served.client(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * (MAX_FIELDS - 1) + b"\r\n")
        assert (await client.answer()).status == 200


async def test_a_connection_is_busy_until_its_last_answer_has_left_us() -> None:
    """Else a drain would end with the answer unsent: its handler is done, its bytes wait for the client to read."""

    async def fill(request: Request) -> Response:
        transport = request.connection.transport
        assert transport is not None
        while not transport.get_write_buffer_size():
            transport.write(bytes(1 << 14))
        return Response(200, [b"X: y"], b"end", close=True)

    async with serving(fill) as served:
        client = await served.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await eventually(lambda: served.server.busy() and not served.connection().busy, "the handler is done")
        assert served.server.busy() == 1
        assert served.server.cut_off() == 0
        served.server.pre_shutdown()
        assert (await client.rest()).endswith(b"\r\n\r\nend")
        await eventually(lambda: not served.server.busy(), "everything is sent")
