"""A request's body on its way in, over a real socket: counted, and bounded in silence and in slowness."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from aiogateway.errors import Problem
from aiogateway.proxy.body import SMALL_BODY, RequestBody, too_large
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response, problem_response
from tests.clock import eventually
from tests.proxy.served import Answer, Served, serving

Take = Callable[[RequestBody], Awaitable[bytes]]
LIMIT = 200_000


async def all_of(body: RequestBody) -> bytes:
    """Every piece, one by one."""
    parts: list[bytes] = []
    while chunk := await body.read():
        parts.append(chunk)
    assert await body.read() == b"", "the end stays the end"
    return b"".join(parts)


async def small(body: RequestBody) -> bytes:
    """What `receive_small` gives, and whether that was all."""
    received, complete = await body.receive_small()
    return b"%d %d" % (len(received), complete)


@asynccontextmanager
async def taking(take: Take, *, min_rate: int = 0) -> AsyncIterator[Served]:
    """A server whose handler takes the body as `take` does, and answers what that gives."""

    async def handler(request: Request) -> Response:
        body = RequestBody(request, limit=LIMIT, idle=60.0, min_rate=min_rate, deadlines=served.deadlines)
        try:
            return Response(200, [b"X: y"], await take(body))
        except Problem as problem:
            return problem_response(problem, "id", close=True)

    async with serving(handler) as served:
        yield served


def head(*fields: bytes, version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"POST / HTTP/" + version, b"Host: a", *fields, b"", b""])


def chunked(*chunks: bytes) -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head(b"Transfer-Encoding: chunked") + framed + b"0\r\n\r\n"


def plain(body: bytes) -> bytes:
    return head(b"Content-Length: %d" % len(body)) + body


def code_of(answer: Answer) -> str:
    return str(json.loads(answer.body)["code"])


@pytest.mark.parametrize("frame", [plain, chunked])
@pytest.mark.parametrize("size", [1, 1000, SMALL_BODY, LIMIT])
async def test_a_body_within_the_limit_comes_whole(frame: Callable[[bytes], bytes], size: int) -> None:
    body = bytes(range(251)) * (size // 251 + 1)
    async with taking(all_of) as served:
        client = await served.client(frame(body[:size]))
        assert (await client.answer()).body == body[:size]


@pytest.mark.parametrize("frame", [plain, chunked])
async def test_a_body_over_the_limit_is_413_as_soon_as_it_is(frame: Callable[[bytes], bytes]) -> None:
    async with taking(all_of) as served:
        client = await served.client(frame(bytes(LIMIT + 1)))
        answer = await client.answer()
        assert (answer.status, code_of(answer)) == (413, "body_too_large")


SIZES = [
    (plain(b"abc"), b"3 1"),
    (chunked(b"abc", b"de"), b"5 1"),
    (chunked(), b"0 1"),
    (plain(bytes(SMALL_BODY)), b"%d 1" % SMALL_BODY),
    # Known to be large: nothing is received before a connection is there.
    (plain(bytes(SMALL_BODY + 1)), b"0 0"),
    (chunked(bytes(SMALL_BODY)), b"%d 1" % SMALL_BODY),
]


@pytest.mark.parametrize(("raw", "told"), SIZES, ids=[told.decode() for _, told in SIZES])
@pytest.mark.parametrize("pieces", [1, 7])
async def test_a_small_body_is_received_whole(raw: bytes, told: bytes, pieces: int) -> None:
    async with taking(small) as served:
        client = await served.client()
        size = len(raw) // pieces + 1
        for start in range(0, len(raw), size):
            client.send(raw[start : start + size])
            await asyncio.sleep(0)
        assert (await client.answer()).body == told


async def test_the_beginning_of_a_large_body_in_chunks_is_more_than_a_small_one() -> None:
    async with taking(small) as served:
        client = await served.client(chunked(*[bytes(10_000)] * 15))
        received, complete = map(int, (await client.answer()).body.split())
        assert received > SMALL_BODY and not complete


@pytest.mark.parametrize(
    ("version", "fields", "told"),
    [
        (b"1.1", [b"Expect: 100-continue", b"Content-Length: 2"], True),
        (b"1.1", [b"Content-Length: 2"], False),
        (b"1.0", [b"Expect: 100-continue", b"Content-Length: 2"], False),
    ],
)
async def test_a_client_that_expects_it_is_told_to_go_on_once_and_when_the_body_is_read(
    version: bytes, fields: list[bytes], told: bool
) -> None:
    may_read = asyncio.Event()

    async def patiently(body: RequestBody) -> bytes:
        await may_read.wait()
        return await all_of(body)

    async with taking(patiently) as served:
        client = await served.client(head(*fields, version=version))
        await eventually(served.server.busy, "the handler has it")
        may_read.set()
        if told:
            async with asyncio.timeout(30):
                assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"h")
        await served.caught_up()
        client.send(b"i")
        assert (await client.answer()).body == b"hi"


async def test_a_client_that_did_not_wait_is_not_told_to_go_on() -> None:
    async with taking(all_of) as served:
        client = await served.client(head(b"Expect: 100-continue", b"Content-Length: 2") + b"hi")
        assert (await client.answer()).body == b"hi"


async def test_a_body_that_stops_arriving_is_408() -> None:
    async with taking(all_of) as served:
        client = await served.client(head(b"Content-Length: 4") + b"ab")
        await eventually(lambda: len(served.deadlines) == 1, "the body is waited for")
        served.pass_time(59)
        client.send(b"c")  # the end of a silence
        await served.caught_up()
        served.pass_time(59)
        assert served.server.busy()
        served.pass_time(1.2)
        answer = await client.answer()
        assert (answer.status, code_of(answer)) == (408, "request_timeout")


@pytest.mark.parametrize(("seconds", "size", "status"), [(29, 1, 200), (31, 1, 408), (31, 2000, 200)])
async def test_a_body_must_keep_up_a_rate_after_a_grace(seconds: float, size: int, status: int) -> None:
    async with taking(all_of, min_rate=1000) as served:
        client = await served.client(head(b"Content-Length: 4000"))
        await eventually(lambda: len(served.deadlines) == 1, "the body is waited for")
        served.pass_time(seconds)
        client.send(bytes(size))
        if status == 200:
            client.send(bytes(4000 - size))
        assert (await client.answer()).status == status


async def test_time_that_is_not_waited_for_the_client_counts_for_nothing() -> None:
    may_read = asyncio.Event()

    async def late(body: RequestBody) -> bytes:
        first = await body.read()
        await may_read.wait()
        return first + await all_of(body)

    async with taking(late, min_rate=1000) as served:
        client = await served.client(head(b"Content-Length: 4") + b"ab")
        await eventually(served.server.busy, "the first piece is read")
        client.send(b"cd")
        await served.caught_up()
        served.pass_time(1000)
        may_read.set()
        assert (await client.answer()).body == b"abcd"


async def test_a_body_whose_framing_breaks_is_400() -> None:
    async with taking(all_of) as served:
        client = await served.client(head(b"Transfer-Encoding: chunked") + b"2\r\nab\r\n")
        await eventually(lambda: len(served.deadlines) == 1, "more is waited for")
        client.send(b"-1\r\n")
        answer = await client.answer()
        assert (answer.status, code_of(answer)) == (400, "bad_request")


def test_the_limit_is_told() -> None:
    assert (too_large(5).code, "5 bytes" in too_large(5).detail) == ("body_too_large", True)


def requests_in_memory() -> set[int]:
    """The identities of the requests that there are: other tests' may have stayed in a traceback."""
    return {id(each) for each in gc.get_objects() if type(each) is Request}


@pytest.mark.parametrize("fields", [[], [b"Expect: 100-continue"]])
async def test_a_request_with_a_body_is_gone_once_it_is_over_without_the_garbage_collector(fields: list[bytes]) -> None:
    async def handler(request: Request) -> Response:
        body = RequestBody(request, limit=LIMIT, idle=60.0, min_rate=0, deadlines=served.deadlines)
        request.rest = body
        return Response(200, [], await all_of(body))

    gc.collect()
    gc.disable()
    others = requests_in_memory()
    try:
        async with serving(handler) as served:
            client = await served.client(head(b"Content-Length: 100000", *fields))
            if fields:
                assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.send(b"x" * 100_000)
            assert (await client.answer()).status == 200
            await client.leave()
            await eventually(lambda: not requests_in_memory() - others, "it is gone")
    finally:
        gc.enable()
