"""Answers a route's GETs from the cache, and forgets what a request of another method changes (RFC 9111)."""

from __future__ import annotations

from aiogateway.caching import Asking, Cache, key_of
from aiogateway.caching.entry import Key
from aiogateway.middlewares.chain import Handler
from aiogateway.proxy.headers import RELOCATED
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response, abandoning
from aiogateway.proxy.upstream_answer import UpstreamAnswer

# They change nothing (RFC 9110 section 9.2.1).
SAFE = frozenset({"GET", "HEAD"})


def cache(inner: Handler, shared: Cache, asking: Asking) -> Handler:
    """:param inner: what answers a request of another method."""

    async def answer(request: Request) -> Response:
        if request.method in SAFE:
            return await shared.answer(request, asking)
        return await inner(request)

    return answer


def invalidation(inner: Handler, shared: Cache) -> Handler:
    """Around a route of a path that a cached one has too: what is stored of a URI is forgotten once it was changed.

    Before the answer goes out, so that whoever changed it sees the change (RFC 9111 section 4.4).
    """

    async def answer(request: Request) -> Response:
        response = await inner(request)
        if request.method not in SAFE and 200 <= response.status < 400:
            key = key_of(request)
            with abandoning(response):
                await shared.drop(key)
                if isinstance(response, UpstreamAnswer):
                    for path in _named(response, key):
                        await shared.drop(path)
        return response

    return answer


def _named(response: UpstreamAnswer, key: Key) -> list[Key]:
    """URIs of the same origin that an answer says it is about."""
    origin = key.origin.partition("\n")[0]
    found = []
    for line in b"\r\n".join(response.lines).split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() in RELOCATED:
            target = value.strip(b" \t").decode("utf-8", "surrogateescape").removeprefix(origin)
            if target[:1] == "/" and target[:2] != "//":
                path, mark, query = target.partition("#")[0].partition("?")
                found.append(Key(key.origin, path, mark + query))
    return found
