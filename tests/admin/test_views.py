"""The admin listener's JSON, asked for over a socket."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from aiogateway.admin.views import add_views
from aiogateway.routes import Table
from aiogateway.settings import Settings
from tests.clock import eventually
from tests.config_folders import load


class Admin:
    """What the pages are about, of no worker."""

    def __init__(self, table: Table) -> None:
        self.settings = Settings(auth_mode="off")
        self.table = table

    async def reports(self) -> list[dict[str, Any]]:
        return []


async def test_the_loop_goes_on_while_a_large_view_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    making, go_on = threading.Event(), threading.Event()

    def slowly(*arguments: object) -> object:
        making.set()
        assert go_on.wait(30)
        return {"upstreams": []}

    monkeypatch.setattr("aiogateway.admin.views.upstreams_view", slowly)
    app = web.Application()
    add_views(
        app, Admin(load(tmp_path, '[[route]]\npath = "/a"\nupstream = "b"\n', '[b]\nurl = "http://127.0.0.1:1"\n'))
    )
    async with TestClient(TestServer(app)) as client:
        slow = asyncio.create_task(client.get("/admin/upstreams"))
        try:
            await eventually(making.is_set, "a thread makes it")
            assert (await client.get("/admin/explain?method=GET&path=/a")).status == 200
            assert not slow.done()
        finally:
            go_on.set()
        assert await (await slow).json() == {"upstreams": []}
