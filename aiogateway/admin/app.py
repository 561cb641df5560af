"""The admin listener: whether this gateway lives, whether it wants requests, what it counts."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from aiogateway.app import Gateway


def admin_app(gateway: Gateway) -> web.Application:
    """The admin listener's application for one worker."""

    async def healthz(request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(request: web.Request) -> web.Response:
        reasons = sorted(gateway.unready)
        return web.json_response(
            {"status": "unready" if reasons else "ready", "reasons": reasons},
            status=503 if reasons else 200,
        )

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(body=gateway.metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def name_no_version(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "aiogateway"

    app = web.Application()
    app.on_response_prepare.append(name_no_version)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    return app
