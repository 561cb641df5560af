"""Pages of our own: each a folder with a page and its assets, read once, under a policy that lets nothing else in."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
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
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def add_dashboard(app: web.Application) -> None:
    """Serve the dashboard."""
    add_page(app, resources.files("aiogateway.admin").joinpath("dashboard"), POLICY)


def add_page(app: web.Application, folder: Traversable, policy: str, words: Mapping[str, str] | None = None) -> None:
    """Serve the page of a folder at `/`, and what it needs under `/assets/`.

    :param policy: its `Content-Security-Policy`.
    :param words: what the page says instead of `{{name}}`, by name; already fit for HTML.
    """
    for file in folder.iterdir():
        suffix = f".{file.name.rpartition('.')[2]}"
        body = file.read_bytes()
        if file.name == "index.html":
            for name, value in (words or {}).items():
                body = body.replace(f"{{{{{name}}}}}".encode(), value.encode())
        path = "/" if file.name == "index.html" else f"/assets/{file.name}"
        app.router.add_get(
            path, _serving(body, {**FIELDS, "Content-Security-Policy": policy, "Content-Type": TYPES[suffix]})
        )


def _serving(body: bytes, fields: Mapping[str, str]) -> Callable[[web.Request], Awaitable[web.Response]]:
    tag = hashlib.sha256(body).hexdigest()[:32]
    fields = {**fields, "ETag": f'"{tag}"'}

    async def answer(request: web.Request) -> web.Response:
        held = request.if_none_match
        if held is not None and any(each.value in (tag, "*") for each in held):
            return web.Response(status=304, headers=fields)
        return web.Response(body=body, headers=fields)

    return answer
