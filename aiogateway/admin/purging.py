"""Purges of the cache by hand: `POST /admin/cache/purge`, by path or by tag, in all workers of the machine."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from aiogateway.admin.views import answer, refusal
from aiogateway.caching.cache import Cache
from aiogateway.caching.notices import TooLong
from aiogateway.errors import Problem

WANTED = (
    "give a path without a query (/v2/plans, or /v2/legal/* for all that begins so; every query of it is purged) "
    "or a tag, and not both"
)


class Purged(Protocol):
    """Whose cache it is."""

    cache: Cache


def pattern_of(request: web.Request) -> dict[str, str]:
    """What is to be purged: `path` or `tag`.

    :raises Problem: `bad_request`; `forbidden` for another site's page, which a browser sends with what lets it in.
    """
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise Problem("forbidden", "pages of other sites may not purge")
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"{request.scheme}://{request.host}":
        raise Problem("forbidden", "pages of other sites may not purge")
    wanted = list(request.query.items())
    if len(wanted) != 1 or wanted[0][0] not in ("path", "tag") or not wanted[0][1]:
        raise Problem("bad_request", WANTED)
    ((name, value),) = wanted
    if name == "path" and (not value.startswith("/") or "?" in value):  # what is stored has no such path
        raise Problem("bad_request", WANTED)
    return {name: value}


def add_purge(app: web.Application, admin: Purged) -> None:
    """Serve it."""

    async def purge(request: web.Request) -> web.Response:
        try:
            wanted = pattern_of(request)
            done = await admin.cache.purge(path=wanted.get("path"), tag=wanted.get("tag"))
        except TooLong as exc:
            return refusal(Problem("bad_request", f"a path or a tag to purge by {exc}"))
        except Problem as problem:
            return refusal(problem)
        return answer({"purged": wanted, "done": done}, 200 if done else 503)

    app.router.add_post("/admin/cache/purge", purge)
