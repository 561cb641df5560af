"""The pages that show the API, on the admin listener."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from aiohttp.hdrs import ACCEPT_ENCODING, IF_NONE_MATCH

from aiogateway.apidocs import PATHS, Docs


def add_docs(app: web.Application, docs: Callable[[], Docs]) -> None:
    """Serve `/docs` and `/openapi.json`.

    :param docs: gives them as of the table that holds now.
    """

    async def answer(request: web.Request) -> web.Response:
        codings = ",".join(request.headers.getall(ACCEPT_ENCODING, ()))
        held = ",".join(request.headers.getall(IF_NONE_MATCH, ()))
        status, fields, body = await docs().answer(request.path, codings, held)
        return web.Response(status=status, headers=list(fields), body=body)

    for path in sorted(PATHS):
        app.router.add_get(path, answer)
