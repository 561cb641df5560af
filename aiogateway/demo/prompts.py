"""The system prompt service: a prompt per kind of agent, and texts uploaded to go with it."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from aiogateway.demo.forms import received, refuse
from aiogateway.demo.service import any_method, caller
from aiogateway.demo.world import Shelf, World

PROMPTS = {
    "support": "You are a patient support agent. Answer from the documents given, and say so when they don't help.",
    "sales": "You are a friendly sales agent. Find out what the visitor needs before you recommend a plan.",
    "physio": "You are a physiotherapist's assistant. Never diagnose; send people in pain to a doctor.",
}


class Prompts:
    """`SYSTEMPROMPT_SERVICE_URL`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._texts: Shelf[dict[str, Any]] = Shelf()

    def routes(self) -> list[web.RouteDef]:
        return [
            any_method("/v2/get-system-prompt", self.read),
            any_method("/v2/reset-system-prompt", self.reset),
            web.post("/v2/upload-text", self.upload),
            any_method("/v2/get-uploaded-texts", self.texts),
        ]

    async def read(self, request: web.Request) -> web.Response:
        agent_type = (await received(request)).get("agent_type", "support")
        if agent_type not in PROMPTS:
            return refuse(404, f"There is no agent type {agent_type!r}; there are {', '.join(PROMPTS)}")
        return web.json_response({"agent_type": agent_type, "system_prompt": PROMPTS[agent_type]})

    async def reset(self, request: web.Request) -> web.Response:
        got = await received(request)
        user_id = caller(request, got)
        mine = [text["text_id"] for text in self._texts if text["user_id"] == user_id]
        for text_id in mine:
            self._texts.take(text_id)
        return web.json_response(
            {"status": "reset", "agent_type": got.get("agent_type", "support"), "removed": len(mine)}
        )

    async def upload(self, request: web.Request) -> web.Response:
        got = await received(request)
        files = [file.as_json() for file in got.files]
        if not files:
            got.need("text")
        text_id = self._world.new_id("text")
        text = {
            "text_id": text_id,
            "user_id": caller(request, got),
            "characters": len(got.get("text")),
            "files": files,
        }
        self._texts.put(text_id, text)
        return web.json_response(text, status=201)

    async def texts(self, request: web.Request) -> web.Response:
        user_id = caller(request, await received(request))
        mine = [text for text in self._texts if text["user_id"] == user_id]
        return web.json_response({"user_id": user_id, "count": len(mine), "texts": mine})
