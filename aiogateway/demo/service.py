"""What makes a stand-in a service: its application, the generic answer, conditional answers, streams.

Rules: a path without a handler of its own still answers: JSON that names service, method, path and the fields' names,
never their values. A stream writes one event a write, so that each can be seen arriving.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from aiohttp import hdrs, web

from aiogateway.demo.forms import Received, received
from aiogateway.demo.world import World

BODY_LIMIT = 32 * 1024 * 1024
EVENT_GAP = 0.1

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def any_method(path: str, handler: Handler) -> web.RouteDef:
    """A route for every method: which ones a client may use is the gateway's to say."""
    return web.route(hdrs.METH_ANY, path, handler)


def application(name: str, routes: Iterable[web.RouteDef]) -> web.Application:
    """The service `name`: its routes, in order, and the generic answer after them."""
    app = web.Application(client_max_size=BODY_LIMIT)
    app.add_routes(routes)
    app.router.add_route(hdrs.METH_ANY, "/{path:.*}", generic(name))
    return app


def generic(name: str) -> Handler:
    """The handler of paths that only have to answer something plausible."""

    async def answer(request: web.Request) -> web.StreamResponse:
        got = await received(request)
        return web.json_response(
            {
                "service": name,
                "status": "ok",
                "method": request.method,
                "path": request.path,
                "received": {"fields": sorted(set(got.fields)), "files": len(got.files)},
            }
        )

    return answer


def caller(request: web.Request, got: Received) -> str:
    """Who asks: the identity that the gateway verified, else the `user_id` that the request names."""
    return request.headers.get("X-User-Id") or got.get("user_id") or "anonymous"


def cacheable(request: web.Request, body: bytes, content_type: str, cache_control: str) -> web.Response:
    """An answer with ETag and Cache-Control, or 304 when the client holds this very body (RFC 9110 13.1.2)."""
    etag = hashlib.sha256(body).hexdigest()[:16]
    held = request.if_none_match or ()
    unchanged = any(tag.value in (etag, "*") for tag in held)
    answer = (
        web.Response(status=304) if unchanged else web.Response(body=body, content_type=content_type, charset="utf-8")
    )
    answer.etag = etag
    answer.headers[hdrs.CACHE_CONTROL] = cache_control
    return answer


def event(data: Mapping[str, Any] | str, name: str = "", number: int | None = None) -> bytes:
    """One event of an event stream (WHATWG HTML 9.2): the fields that are given, and the blank line."""
    text = data if isinstance(data, str) else json.dumps(data)
    head = (f"id: {number}\n" if number is not None else "") + (f"event: {name}\n" if name else "")
    return f"{head}data: {text}\n\n".encode()


async def paced(request: web.Request, world: World, content_type: str, parts: Iterable[bytes]) -> web.StreamResponse:
    """Streams `parts`, one write each, `EVENT_GAP` seconds apart."""
    answer = web.StreamResponse(headers={hdrs.CONTENT_TYPE: content_type, hdrs.CACHE_CONTROL: "no-store"})
    await answer.prepare(request)
    for index, part in enumerate(parts):
        if index:
            await world.sleep(EVENT_GAP)
        await answer.write(part)
    await answer.write_eof()
    return answer
