"""The crawling service: uploads, lists of URLs, and crawls that take a few seconds.

Rules: an upload is hashed as it comes and not kept. A crawl's progress is worked out from the clock when somebody asks,
so no task of this service outlives a request.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from aiogateway.demo.forms import Received, received, refuse, unprocessable
from aiogateway.demo.service import any_method, caller
from aiogateway.demo.world import Shelf, World

QUEUED_SECONDS = 0.5
CRAWL_SECONDS = 3.0
PAGES = ("", "about", "products", "pricing", "contact", "blog", "faq", "legal/terms")


@dataclass(frozen=True, slots=True)
class Crawl:
    """One crawl; `started` in seconds since the epoch."""

    task_id: str
    user_id: str
    project_id: str
    urls: tuple[str, ...]
    started: float

    def report(self, now: float) -> dict[str, Any]:
        """What polling shows at `now`: queued, then running, then done, with the pages read so far."""
        share = min(1.0, max(0.0, (now - self.started - QUEUED_SECONDS) / (CRAWL_SECONDS - QUEUED_SECONDS)))
        status = "done" if share == 1.0 else "running" if share > 0 else "queued"
        read = self.urls[: int(share * len(self.urls))]
        return {
            "task_id": self.task_id,
            "status": status,
            "progress": int(share * 100),
            "user_id": self.user_id,
            "project_id": self.project_id,
            "pages": [{"url": url, "status": 200, "words": 200 + zlib.crc32(url.encode()) % 1800} for url in read],
        }


def pages_of(site: str) -> list[str]:
    """Plausible addresses of a site, the same every time; `site` is a domain or any URL on it."""
    host = urlsplit(site if "//" in site else f"//{site}").netloc or "example.com"
    return [f"https://{host}/{page}" for page in PAGES]


class Crawling:
    """`DATA_CRAWLING_SERVICE_URL`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._crawls: Shelf[Crawl] = Shelf()

    def routes(self) -> list[web.RouteDef]:
        return [
            *(web.post(f"/v2/{name}", self.upload) for name in ("fetch-pdf", "fetch-text", "fetch-excel")),
            any_method("/v2/update-document", self.update),
            web.post("/v2/extract-contents", self.extract),
            any_method("/v2/check-task-status", self.status),
            any_method("/v2/fetch-urls", self.urls),
            any_method("/v2/fetch-sitemap-urls", self.urls),
            any_method("/v2/get-sitemap-urls", self.urls),
        ]

    async def upload(self, request: web.Request) -> web.Response:
        return web.json_response(_processed(await received(request)))

    async def update(self, request: web.Request) -> web.Response:
        done = _processed(await received(request))
        size: int = sum(file["size"] for file in done["files"])
        return web.json_response({**done, "status": "re-embedded", "chunks": 1 + size // 4000})

    async def extract(self, request: web.Request) -> web.Response:
        got = await received(request)
        user_id, project_id, domain = got.need("user_id", "project_id", "domain")
        listed = [url.strip() for value in got.fields.getall("urls", []) for url in value.strip("[]").split(",")]
        urls = tuple(url.strip('"') for url in listed if url) or tuple(pages_of(domain))
        crawl = Crawl(self._world.new_id("task"), user_id, project_id, urls, self._world.clock())
        self._crawls.put(crawl.task_id, crawl)
        return web.json_response({"task_id": crawl.task_id, "status": "queued", "urls": len(urls)})

    async def status(self, request: web.Request) -> web.Response:
        [task_id] = (await received(request)).need("task_id")
        crawl = self._crawls.get(task_id)
        if crawl is None:
            return refuse(404, f"There is no task {task_id!r}")
        return web.json_response(crawl.report(self._world.clock()))

    async def urls(self, request: web.Request) -> web.Response:
        got = await received(request)
        site = got.get("url") or got.get("domain") or got.get("sitemap_url") or "example.com"
        urls = pages_of(site)
        return web.json_response({"user_id": caller(request, got), "domain": site, "count": len(urls), "urls": urls})


def _processed(got: Received) -> dict[str, Any]:
    user_id, project_id = got.need("user_id", "project_id")
    if not got.files:
        raise unprocessable([{"type": "missing", "loc": ["body", "files"], "msg": "Field required"}])
    files = [file.as_json() for file in got.files]
    return {"user_id": user_id, "project_id": project_id, "files": files, "status": "processed"}
