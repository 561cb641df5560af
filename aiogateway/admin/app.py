"""The admin listener: whether this gateway lives, whether it wants requests, what it counts."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Middleware
from prometheus_client import CONTENT_TYPE_LATEST

from aiogateway.address import parse
from aiogateway.admin.docs import add_docs
from aiogateway.admin.pages import add_dashboard
from aiogateway.admin.purging import add_purge
from aiogateway.admin.views import add_views, refusal
from aiogateway.app import Gateway
from aiogateway.errors import Problem

# Orchestrators ask these, and have no token.
OPEN: Final = frozenset({"/healthz", "/readyz"})


def wanting(token: str) -> Middleware:
    """Let in who knows the token, as a bearer token or as the password of HTTP Basic (contract)."""
    wanted = token.encode()

    @web.middleware
    async def check(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
        if request.path in OPEN or hmac.compare_digest(given(request.headers.get("Authorization", "")), wanted):
            return await handler(request)
        challenge = 'Basic realm="aiogateway", charset="UTF-8"'
        return web.json_response({"status": "unauthenticated"}, status=401, headers={"WWW-Authenticate": challenge})

    return check


def is_local_name(host: str) -> bool:
    """Whether a `Host` field can't name a site of somebody else's: an address, `localhost`, a name without a dot."""
    name = host.strip().rpartition(":")[0] or host.strip()
    name = name.lower().removesuffix(".")
    return parse(host) is not None or "." not in name or name.endswith(".localhost")


def is_loopback(host: str) -> bool:
    """Whether a listener at this host is for its own machine only."""
    address = parse(host)
    return host == "localhost" if address is None else address.is_loopback


@web.middleware
async def for_this_machine(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Without a token, loopback is what keeps others out, and a browser here can be led to it.

    A page may have its site's name looked up again, as an address of this machine, and then read what is here as its
    own (DNS rebinding). The browser goes on saying that name, and every browser says which codings it takes: no page
    can have that left out.
    """
    by_browser = "Accept-Encoding" in request.headers
    if request.path in OPEN or not by_browser or is_local_name(request.headers.get("Host", "")):
        return await handler(request)
    return refusal(Problem("forbidden", "ask by an address or localhost; for other names set GATEWAY_ADMIN_TOKEN"))


def given(authorization: str) -> bytes:
    """The token in an `Authorization` field (RFC 6750 section 2.1, RFC 7617 section 2); empty if there is none."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip().encode("utf-8", "surrogateescape")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(rest.strip(), validate=True).partition(b":")[2]
    except ValueError:
        return b""


def admin_app(gateway: Gateway) -> web.Application:
    """The admin listener's application for one worker."""
    token = gateway.settings.admin_token

    async def healthz(request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(request: web.Request) -> web.Response:
        reasons = sorted(gateway.unready)
        return web.json_response(
            {"status": "unready" if reasons else "ready", "reasons": reasons},
            status=503 if reasons else 200,
        )

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(body=await gateway.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def name_no_version(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "aiogateway"

    guards = [] if token is None else [wanting(token.get_secret_value())]
    if token is None and is_loopback(gateway.settings.admin_host):
        guards = [for_this_machine]
    app = web.Application(middlewares=guards)
    app.on_response_prepare.append(name_no_version)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    add_views(app, gateway)
    add_purge(app, gateway)
    add_dashboard(app)
    add_docs(app, lambda: gateway.docs)
    return app
