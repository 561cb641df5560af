"""`POST /admin/cache/purge`: what is stored of answers is forgotten, in all workers."""

from __future__ import annotations

from typing import Final, Protocol
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from aiogateway.admin.views import answer, refusal
from aiogateway.caching.entry import Store
from aiogateway.caching.notices import TooLong
from aiogateway.errors import Problem

SEC_FETCH_SITE: Final = "Sec-Fetch-Site"
# What a browser says of requests that its user, or a page of the same origin, made (Fetch Metadata).
OWN: Final = frozenset({"same-origin", "none"})
USAGE: Final = "give either a path or a tag: /admin/cache/purge?path=/v2/legal/* or ?tag=plans"


class Purged(Protocol):
    """What has the store."""

    cache_store: Store


def is_foreign(request: web.Request) -> bool:
    """Whether a page of another origin made a request: a browser would send the listener's password along."""
    site, origin = request.headers.get(SEC_FETCH_SITE), request.headers.get(hdrs.ORIGIN)
    if site is not None and site.strip().lower() not in OWN:
        return True
    return origin is not None and urlsplit(origin).netloc.lower() != request.host.lower()


def wanted(request: web.Request) -> tuple[str, str]:
    """What to purge by, and its value.

    :raises Problem: `bad_request`, `forbidden`.
    """
    if is_foreign(request):
        raise Problem("forbidden", "a page of another origin can't purge")
    given = list(request.query.items())
    if len(given) != 1 or given[0][0] not in ("path", "tag") or not given[0][1]:
        raise Problem("bad_request", USAGE)
    name, value = given[0]
    if name == "path" and not value.startswith(("/", "*")):
        raise Problem("bad_request", USAGE)
    return name, value


def add_purge(app: web.Application, gateway: Purged) -> None:
    """Serve `/admin/cache/purge`."""

    async def purge(request: web.Request) -> web.Response:
        try:
            name, value = wanted(request)
            done = await gateway.cache_store.purge(**{name: value})
        except Problem as problem:
            return refusal(problem)
        except TooLong as exc:
            return refusal(Problem("bad_request", f"{name} {exc}"))
        return answer({"purged": {name: value}, "done": done}, 200 if done else 503)

    app.router.add_post("/admin/cache/purge", purge)
