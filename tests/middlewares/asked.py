"""Requests for middlewares: read from bytes by the real parser, on a connection that has no socket."""

from __future__ import annotations

import asyncio

from aiohttp.http_parser import HttpRequestParser

from aiogateway.deadlines import Deadlines
from aiogateway.proxy.listener import Server
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response
from tests.proxy.served import answer_unparsed


def request(raw: bytes) -> Request:
    """The request whose bytes these are; call it inside an event loop."""
    loop = asyncio.get_running_loop()
    server = Server(
        ok,
        answer_unparsed=answer_unparsed,
        refuse=lambda problem: answer_unparsed(problem).in_full(),
        deadlines=Deadlines(loop.time),
        header_timeout=10.0,
        keepalive_timeout=75.0,
        download_min_rate=0,
        trusted=(),
    )
    connection = server()
    parser = HttpRequestParser(connection, loop, 2**16, auto_decompress=False)
    ((message, payload),) = parser.feed_data(raw)[0]
    return Request(message, payload, connection)


def head(*fields: str, start: str = "GET /a HTTP/1.1") -> bytes:
    return "\r\n".join([start, "Host: a", *fields, "", ""]).encode()


async def ok(request: Request) -> Response:
    """The innermost handler: all went well."""
    return Response(200, [b"X: y"])
