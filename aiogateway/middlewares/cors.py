"""Which pages of other origins may read an answer (the Fetch standard's CORS protocol).

Rules: an origin counts only as a whole, byte for byte as browsers write it; allow-listed ones get credentials, any
other only what is public, and `*`, so that nothing of theirs is ever repeated with credentials. Every answer says that
it depends on the origin, those without any CORS field too. A preflight is answered here: it needs no token, costs no
limit and nothing of an upstream.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Collection, Iterable, Mapping
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.hdrs import ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN
from aiohttp_cors import ResourceOptions
from aiohttp_cors.preflight_handler import _PreflightHandler

from aiogateway.errors import Problem
from aiogateway.middlewares.chain import Handler
from aiogateway.middlewares.server_timing import server_timing
from aiogateway.proxy.head import NOBODY
from aiogateway.proxy.headers import date_line
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response
from aiogateway.routes import Endpoint, Table
from aiogateway.routes.table import METHOD_ORDER

# What a script may read beside the fields that every script may (Fetch, "CORS-safelisted response-header name").
EXPOSED: Final = ("X-Request-ID", "Retry-After", "RateLimit", "RateLimit-Policy", "Server-Timing")
# Seconds a browser may remember a preflight; Chromium keeps none for longer.
MAX_AGE: Final = 7200
# A browser sends these whatever a preflight says of methods, so a script can read the 405 that they get.
SAFELISTED_METHODS: Final = frozenset({"GET", "HEAD", "POST"})

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VARY: Final = b"Vary: Origin"
_PREFLIGHT_VARY: Final = b"Vary: Access-Control-Request-Method, Access-Control-Request-Headers"
# Of aiohttp-cors's answer to a preflight; whose origin it is, every answer says in the same way.
_GRANTS: Final = ("Access-Control-Allow-Headers", "Access-Control-Max-Age")


def endpoint_of(table: Table, path: str) -> Endpoint | None:
    """What a path means; None when no route has it.

    :raises Problem: `bad_request` for a path that can't be trusted.
    """
    try:
        return table.match(path).endpoint
    except Problem as problem:
        if problem.code != "route_not_found":
            raise
        return None


def policy_of(endpoint: Endpoint | None, method: str) -> str:
    """The CORS policy of a path; for a method that it doesn't take, as in a 405, what holds for all that it does."""
    if endpoint is None:
        return "allowlist"
    routes = [endpoint.methods[method]] if method in endpoint.methods else endpoint.methods.values()
    return "public" if all(route.cors == "public" for route in routes) else "allowlist"


def cors(inner: Handler, table: Table, origins: Iterable[str]) -> Handler:
    """Say on every answer who may read it.

    :param origins: those that are allow-listed (`ALLOWED_ORIGINS`).
    """
    expose = f"Access-Control-Expose-Headers: {', '.join(EXPOSED)}"
    listed = {
        origin: "\r\n".join(
            (
                _VARY.decode(),
                f"Access-Control-Allow-Origin: {origin}",
                f"Timing-Allow-Origin: {origin}",
                "Access-Control-Allow-Credentials: true",
                expose,
            )
        ).encode()
        for origin in origins
    }
    others = {
        "allowlist": _VARY,
        "public": b"\r\n".join((_VARY, b"Access-Control-Allow-Origin: *", expose.encode())),
    }

    def policy(request: Request) -> str:
        """That of a request which was refused before its route was found."""
        try:
            return policy_of(endpoint_of(table, request.path), request.method)
        except Problem:
            return "allowlist"

    async def answer(request: Request) -> Response:
        response = await inner(request)
        origin = request.head.origin
        if origin is None:
            response.lines.append(_VARY)
        elif (line := listed.get(origin)) is not None:
            response.lines += (line, server_timing(request.record))
        else:
            response.lines.append(others[request.cors or policy(request)])
        return response

    return answer


class _Preflight(_PreflightHandler):
    """aiohttp-cors's judgement of one preflight.

    :param methods: those that the path takes.
    :param options: what each origin may do.
    """

    def __init__(self, methods: Iterable[str], options: Mapping[str, ResourceOptions]) -> None:
        self._methods = methods
        self._options = options

    async def _get_config(self, request: Any, origin: str, request_method: str) -> Mapping[str, ResourceOptions]:
        """aiohttp-cors's hook. What it would refuse is refused here: its texts repeat the request, and break on it."""
        options = self._options.get(request.head.origin or NOBODY) or self._options.get("*")
        if options is None or (request_method not in SAFELISTED_METHODS and request_method not in self._methods):
            raise web.HTTPForbidden
        return {"*": options}

    @staticmethod
    def _parse_request_headers(request: Any) -> Iterable[str]:
        """The fields that the page wants to send; aiohttp-cors would repeat whatever stands there."""
        values = request.headers.getall(ACCESS_CONTROL_REQUEST_HEADERS, ())
        names = [name for value in values for part in value.split(",") if (name := part.strip(" \t"))]
        if not all(map(_TOKEN.fullmatch, names)):
            raise web.HTTPForbidden
        return dict.fromkeys(map(str.lower, names))


def _options(*, credentials: bool) -> ResourceOptions:
    make: Any = ResourceOptions  # its constructor has no types
    found: ResourceOptions = make(allow_credentials=credentials, allow_headers="*", max_age=MAX_AGE)
    return found


def preflights(inner: Handler, table: Table, origins: Iterable[str]) -> Handler:
    """Answer preflights; any other `OPTIONS` is a method like the others.

    :param origins: those that are allow-listed.
    :raises Problem: `forbidden` for an origin or a method that the path doesn't take; `bad_request` for its path.
    """
    listed = dict.fromkeys(origins, _options(credentials=True))
    options = {"allowlist": listed, "public": {"*": _options(credentials=False), **listed}}

    async def grant(request: Request) -> Response:
        endpoint = endpoint_of(table, request.path)
        # A path without a route takes every method, so that a script can read the 404.
        methods: Collection[str] = METHOD_ORDER
        if endpoint is not None:
            request.record.route = endpoint.pattern
            # A browser remembers the answer for all methods in it: those of a stricter policy are not for strangers.
            listed_origin = request.head.origin in listed
            methods = [
                name
                for name in METHOD_ORDER
                if name in endpoint.methods and (listed_origin or endpoint.methods[name].cors == "public")
            ]
        request.cors = policy_of(endpoint, request.headers[ACCESS_CONTROL_REQUEST_METHOD])
        try:
            granted = await _Preflight(methods, options[request.cors])._preflight_handler(cast(Any, request))
        except web.HTTPForbidden:
            raise Problem("forbidden", "this origin may not make this request from a page") from None
        lines = [date_line(), _PREFLIGHT_VARY, b"Access-Control-Allow-Methods: %b" % ", ".join(methods).encode()]
        lines += [f"{name}: {granted.headers[name]}".encode() for name in _GRANTS if name in granted.headers]
        return Response(200, lines, close=not request.content.is_eof())

    def answer(request: Request) -> Awaitable[Response]:
        if request.method == "OPTIONS":
            headers = request.headers
            if ORIGIN in headers and ACCESS_CONTROL_REQUEST_METHOD in headers:
                return grant(request)
        return inner(request)

    return answer
