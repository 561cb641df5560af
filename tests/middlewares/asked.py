"""Requests for middlewares: read from bytes by the real parser, on a connection that has no socket."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

from aiohttp.http_parser import HttpRequestParser

from aiogateway.caching import Cache
from aiogateway.caching.memory_store import MemoryStore
from aiogateway.caching.notices import Notices
from aiogateway.compression import Compression
from aiogateway.deadlines import Deadlines
from aiogateway.metrics import Metrics
from aiogateway.middlewares import Tools
from aiogateway.overload import Door
from aiogateway.proxy.body import Bodies
from aiogateway.proxy.head import Heads
from aiogateway.proxy.listener import Server
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response
from aiogateway.recaptcha import Recaptcha
from aiogateway.settings import Settings, read
from aiogateway.stores import Limiter, SharedCounters
from aiogateway.tokens import verifier_from
from tests.proxy.served import Watching, answer_unparsed, refuse


def request(raw: bytes) -> Request:
    """The request whose bytes these are; call it inside an event loop."""
    loop = asyncio.get_running_loop()
    server = Server(
        ok,
        observer=Watching(),
        answer_unparsed=answer_unparsed,
        refuse=refuse,
        deadlines=Deadlines(loop.time),
        header_timeout=10.0,
        keepalive_timeout=75.0,
        download_min_rate=0,
        trusted=(),
        door=Door(1, 0),
    )
    connection = server()
    parser = HttpRequestParser(connection, loop, 2**16, auto_decompress=False)
    ((message, payload),) = parser.feed_data(raw)[0]
    return Request(message, payload, connection, Heads().of(message, None))


SECRET = "tests-" + "k" * 40


def bodies() -> Bodies:
    return Bodies(idle=60.0, min_rate=0, deadlines=Deadlines(asyncio.get_running_loop().time))


@contextlib.contextmanager
def tools(**environ: str) -> Iterator[tuple[Settings, Tools]]:
    """Settings, and what guards work with, nothing of it started."""
    settings = read({"JWT_SECRET": SECRET, **environ})
    with contextlib.closing(SharedCounters(capacity=1000)) as counters:
        limiter = Limiter(counters, None)
        metrics = Metrics()
        encoding = Compression(settings, metrics)
        cache = Cache(
            MemoryStore(1 << 20, 1 << 20, time.time, Notices(alone=True)),
            encoding,
            metrics,
            1 << 20,
            time.time,
            lambda record: None,
        )
        yield settings, Tools(bodies(), cache, encoding, limiter, metrics, Recaptcha(settings), verifier_from(settings))


def head(*fields: str, start: str = "GET /a HTTP/1.1") -> bytes:
    return "\r\n".join([start, "Host: a", *fields, "", ""]).encode()


async def ok(request: Request) -> Response:
    """The innermost handler: all went well."""
    return Response(200, [b"X: y"])
