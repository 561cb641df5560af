"""Lets a WebSocket's handshake onto its route (RFC 6455 sections 4.2.1 and 10.2).

A page may open a socket wherever it likes, whatever CORS says, and reads what comes: so the route's CORS policy is
enforced here. Who sends no origin is no page. A page that a public route lets in without being listed gets no
credentials: what its browser adds by itself does not go on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection

from aiohttp.hdrs import AUTHORIZATION, ORIGIN
from multidict import CIMultiDict, CIMultiDictProxy

from aiogateway.errors import Problem
from aiogateway.middlewares.chain import Handler
from aiogateway.proxy.head import Head
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response
from aiogateway.routes import Route
from aiogateway.websocket import handshake


def websocket(inner: Handler, route: Route, origins: Collection[str]) -> Handler:
    """Read the handshake of requests that ask for a WebSocket; others go on as usual.

    :param origins: those that are allow-listed.
    :raises Problem: `bad_request`, `upgrade_required`, `forbidden`.
    """
    anybody = route.cors == "public"

    def answer(request: Request) -> Awaitable[Response]:
        headers = request.headers
        if handshake.asks(request.method, request.version, headers):
            found = handshake.read(headers, has_body=request.has_body)
            if any(origin not in origins for origin in headers.getall(ORIGIN, ())):
                if not anybody:
                    raise Problem("forbidden", "this origin may not open this WebSocket from a page")
                found = found._replace(withheld=handshake.AMBIENT)
            request.handshake = found
            if found.token is not None:
                believed = CIMultiDict(headers)
                believed.add(AUTHORIZATION, f"Bearer {found.token}")
                request.headers = CIMultiDictProxy(believed)
                request.head = Head(request.head.raw, request.headers)
        return inner(request)

    return answer


def unless_socket(kept: Handler, proxy: Handler) -> Handler:
    """Keep WebSockets away from what stores and encodes answers.

    :param kept: what other requests get.
    """

    def answer(request: Request) -> Awaitable[Response]:
        return (kept if request.handshake is None else proxy)(request)

    return answer
