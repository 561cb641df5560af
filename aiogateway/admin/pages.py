"""The dashboard: a page and its assets, read once, under a policy that lets nothing else in."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Final

from aiohttp import web

TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FIELDS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def add_dashboard(app: web.Application) -> None:
    """Serve the page at `/` and what it needs under `/assets/`."""
    for file in resources.files("aiogateway.admin").joinpath("dashboard").iterdir():
        suffix = f".{file.name.rpartition('.')[2]}"
        path = "/" if file.name == "index.html" else f"/assets/{file.name}"
        app.router.add_get(path, _serving(file.read_bytes(), TYPES[suffix]))


def _serving(body: bytes, kind: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    tag = hashlib.sha256(body).hexdigest()[:32]
    fields = {**FIELDS, "Content-Type": kind, "ETag": f'"{tag}"'}

    async def answer(request: web.Request) -> web.Response:
        held = request.if_none_match
        if held is not None and any(each.value in (tag, "*") for each in held):
            return web.Response(status=304, headers=fields)
        return web.Response(body=body, headers=fields)

    return answer
