"""The admin listener's JSON: upstreams, failures, pools, routes, what would happen to a request, the configuration."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import orjson
from aiohttp import web

from aiogateway import __version__, describe
from aiogateway.address import without_userinfo
from aiogateway.admin.reports import failures_view, pools_view, upstreams_view
from aiogateway.errors import MEDIA_TYPE, Problem
from aiogateway.routes import OWN_PATHS, Table
from aiogateway.settings import Settings
from aiogateway.settings.variables import FIELDS, is_secret

MASK: Final = "***"
# Set on what names users or secrets of the platform: nobody is to keep it.
FIELDS_OF_ALL: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


View = Callable[[web.Request], Awaitable[web.Response]]


class Admin(Protocol):
    """What the pages are about."""

    settings: Settings
    table: Table

    async def reports(self) -> list[dict[str, Any]]: ...


def answer(content: object, status: int = 200, fields: Mapping[str, str] | None = None) -> web.Response:
    body = orjson.dumps(content, option=orjson.OPT_INDENT_2, default=str)
    return web.Response(
        status=status, body=body, content_type="application/json", headers={**FIELDS_OF_ALL, **(fields or {})}
    )


async def made(make: Callable[[], object]) -> web.Response:
    """An answer with what a function gives, which takes too long for the loop."""
    return await asyncio.to_thread(lambda: answer(make()))


def refusal(problem: Problem) -> web.Response:
    """A problem, in the contract's format; the admin listener names no requests."""
    fields = {**FIELDS_OF_ALL, **dict(problem.headers), "Content-Type": MEDIA_TYPE}
    return web.Response(status=problem.status, body=problem.body(""), headers=fields)


def explained(table: Table, method: str, path: str) -> dict[str, Any]:
    """What happens to a request (as `aiogateway explain`).

    :param path: may have a query.
    :raises Problem: `bad_request`, `route_not_found`, `method_not_allowed`.
    """
    bare, mark, query = path.partition("?")
    if not method or not bare.startswith("/"):
        raise Problem("bad_request", "give a method and a path: /admin/explain?method=GET&path=/v2/plans")
    if bare in OWN_PATHS:
        return {"method": method, "path": bare, "answered_by": "gateway", "methods": ["GET", "HEAD"]}
    endpoint, params, encoded_slash = table.match(bare)
    route = endpoint.route(method, encoded_slash=encoded_slash)
    return describe.explanation_record(method, bare, mark + query, route, params)


def configuration(settings: Settings, table: Table) -> dict[str, Any]:
    """Every setting with its effective value and where that came from; nothing secret."""
    shown = []
    for name, field in FIELDS.items():
        value = getattr(settings, field)
        if is_secret(field):
            value = None if value is None else MASK
        elif isinstance(value, str):
            value = without_userinfo(value)
        elif isinstance(value, tuple):
            value = [str(item) for item in value]
        shown.append({"name": name, "value": value, "source": settings.sources.get(field, "default")})
    upstreams = [
        {
            "name": upstream.name,
            "destinations": list(map(without_userinfo, upstream.urls)),
            "pool": {
                setting.removeprefix("pool_"): {
                    "value": getattr(upstream.pool, setting.removeprefix("pool_")),
                    "source": source,
                }
                for setting, source in upstream.sources.items()
                if setting.startswith("pool_")
            },
            "source": upstream.sources["url"],
        }
        for upstream in table.upstreams.values()
    ]
    return {"settings": shown, "upstreams": upstreams}


def add_views(app: web.Application, admin: Admin) -> None:
    """Serve `/admin/*`. What grows with workers, upstreams or routes is made in a thread."""

    async def upstreams(request: web.Request) -> web.Response:
        reports, table = await admin.reports(), admin.table
        return await made(lambda: upstreams_view(reports, table, __version__, time.monotonic(), time.time()))

    async def failures(request: web.Request) -> web.Response:
        reports = await admin.reports()
        return await made(lambda: failures_view(reports, time.time()))

    async def pools(request: web.Request) -> web.Response:
        reports, table = await admin.reports(), admin.table
        return await made(lambda: pools_view(reports, table, time.monotonic(), time.time()))

    async def routes(request: web.Request) -> web.Response:
        table = admin.table
        return await made(lambda: {"routes": [describe.route_record(route) for route in table.routes]})

    async def explain(request: web.Request) -> web.Response:
        return answer(explained(admin.table, request.query.get("method", "").upper(), request.query.get("path", "")))

    async def config(request: web.Request) -> web.Response:
        settings, table = admin.settings, admin.table
        return await made(lambda: configuration(settings, table))

    def shown(view: View) -> View:
        async def handle(request: web.Request) -> web.Response:
            try:
                return await view(request)
            except Problem as problem:
                return refusal(problem)

        return handle

    for view in (upstreams, failures, pools, routes, explain, config):
        app.router.add_get(f"/admin/{view.__name__}", shown(view))
