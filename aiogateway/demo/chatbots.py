"""The services that keep chatbots: create, maintenance (trash), selection, the three state services, client data.

Rules: create and maintenance look at one set of chatbots, selection and the state services at one set of selections, as
the real ones share a database. A chatbot is live, trashed, or gone. What belongs to another user is 404.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from aiogateway.demo.forms import Received, received, refuse
from aiogateway.demo.service import any_method, caller
from aiogateway.demo.world import Shelf, World

Chatbot = dict[str, Any]
KINDS = ("3d", "text", "voice")


class Chatbots:
    """`CREATE_CHATBOT_SERVICE_URL` and `CHATBOT_MAINTENCE_SERVICE_URL`: one set of chatbots, two services."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._live: Shelf[Chatbot] = Shelf()
        self._trash: Shelf[Chatbot] = Shelf()

    def create_routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v2/create-chatbot", self.create),
            web.get("/v2/get-chatbots/{user_id}", self.list_live),
            any_method("/v2/get-chatbot-status", self.status),
        ]

    def maintenance_routes(self) -> list[web.RouteDef]:
        return [
            any_method("/v2/delete-chatbot", self.delete),
            any_method("/v2/delete-chatbot-selection", self.to_trash),
            any_method("/v2/get-trashed-chatbots", self.list_trashed),
            any_method("/v2/restore-{rest}", self.restore),
        ]

    async def create(self, request: web.Request) -> web.Response:
        got = await received(request)
        [name] = got.need("name")
        chatbot = {
            "chatbot_id": self._world.new_id("bot"),
            "project_id": got.get("project_id") or self._world.new_id("project"),
            "user_id": caller(request, got),
            "name": name,
            "kind": got.get("kind", KINDS[0]),
            "created_at": self._world.timestamp(),
        }
        self._live.put(chatbot["chatbot_id"], chatbot)
        return web.json_response(chatbot, status=201)

    async def list_live(self, request: web.Request) -> web.Response:
        return _listed(self._live, request.match_info["user_id"])

    async def list_trashed(self, request: web.Request) -> web.Response:
        return _listed(self._trash, caller(request, await received(request)))

    async def status(self, request: web.Request) -> web.Response:
        got = await received(request)
        [chatbot_id] = got.need("chatbot_id")
        for state, shelf in (("live", self._live), ("trashed", self._trash)):
            chatbot = _owned(shelf, chatbot_id, caller(request, got))
            if chatbot is not None:
                return web.json_response({"chatbot_id": chatbot_id, "name": chatbot["name"], "status": state})
        return _unknown(chatbot_id)

    async def to_trash(self, request: web.Request) -> web.Response:
        return self._moved(request, await received(request), self._live, self._trash, "trashed")

    async def restore(self, request: web.Request) -> web.Response:
        return self._moved(request, await received(request), self._trash, self._live, "live")

    async def delete(self, request: web.Request) -> web.Response:
        got = await received(request)
        [chatbot_id] = got.need("chatbot_id")
        for shelf in (self._live, self._trash):
            if _owned(shelf, chatbot_id, caller(request, got)) is not None:
                shelf.take(chatbot_id)
                return web.json_response({"chatbot_id": chatbot_id, "status": "deleted"})
        return _unknown(chatbot_id)

    @staticmethod
    def _moved(
        request: web.Request, got: Received, source: Shelf[Chatbot], goal: Shelf[Chatbot], status: str
    ) -> web.Response:
        [chatbot_id] = got.need("chatbot_id")
        chatbot = _owned(source, chatbot_id, caller(request, got))
        if chatbot is None:
            return _unknown(chatbot_id)
        source.take(chatbot_id)
        goal.put(chatbot_id, chatbot)
        return web.json_response({"chatbot_id": chatbot_id, "name": chatbot["name"], "status": status})


def _owned(shelf: Shelf[Chatbot], chatbot_id: str, user_id: str) -> Chatbot | None:
    chatbot = shelf.get(chatbot_id)
    return chatbot if chatbot is not None and chatbot["user_id"] == user_id else None


def _listed(shelf: Shelf[Chatbot], user_id: str) -> web.Response:
    chatbots = [chatbot for chatbot in shelf if chatbot["user_id"] == user_id]
    return web.json_response({"user_id": user_id, "count": len(chatbots), "chatbots": chatbots})


def _unknown(chatbot_id: str) -> web.Response:
    return refuse(404, f"There is no chatbot {chatbot_id!r} of yours here")


class Selections:
    """`SELECTION_CHATBOT_SERVICE_URL` and the three `STATE_SELECTION_*` services: how a chatbot looks."""

    def __init__(self) -> None:
        self._selections: Shelf[dict[str, Any]] = Shelf()

    def selection_routes(self) -> list[web.RouteDef]:
        return [
            any_method("/v2/select-{what}", self.select),
            any_method("/v2/save-chatbot-selection", self.save),
            any_method("/v2/get-chatbot-selection", self.read),
        ]

    def state_routes(self, kind: str) -> list[web.RouteDef]:
        """The routes of the state service for `kind`: `3d`, `text` or `voice`."""
        return [any_method(f"/v2/save-{kind}{middle}-selection", self.save) for middle in ("-chatbot", "")]

    async def select(self, request: web.Request) -> web.Response:
        got = await received(request)
        what = request.match_info["what"]
        chosen = got.get(what) or got.get("value") or "default"
        return self._saved(caller(request, got), got.get("project_id", "default"), {what: chosen})

    async def save(self, request: web.Request) -> web.Response:
        got = await received(request)
        names = ("user_id", "project_id")
        chosen = {name: value for name, value in got.document.items() if name not in names}
        return self._saved(caller(request, got), got.get("project_id", "default"), chosen)

    async def read(self, request: web.Request) -> web.Response:
        got = await received(request)
        user_id = got.get("user_id") or caller(request, got)
        project_id = got.get("project_id", "default")
        found = self._selections.get(f"{user_id}/{project_id}")
        usual = {"chatbot": "3d", "purpose": "support", "avatar": "eva", "voice": "female-1", "model": "gpt-4o-mini"}
        return web.json_response(
            {"user_id": user_id, "project_id": project_id, "selection": {**usual, **(found or {})}}
        )

    def _saved(self, user_id: str, project_id: str, chosen: dict[str, Any]) -> web.Response:
        key = f"{user_id}/{project_id}"
        selection = {**(self._selections.get(key) or {}), **chosen}
        self._selections.put(key, selection)
        return web.json_response(
            {"status": "saved", "user_id": user_id, "project_id": project_id, "selection": selection}
        )


class ClientData:
    """`DATA_COLLECTION_SERVICE_URL`: the leads that chatbots collected."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._items: Shelf[dict[str, Any]] = Shelf()
        for number, name in enumerate(("Ada Byron", "Alan Mathison", "Grace Murray"), 1):
            self._items.put(f"item-{number}", {"item_id": f"item-{number}", "name": name, "status": "new"})

    def routes(self) -> list[web.RouteDef]:
        return [
            any_method("/v2/get-client-data", self.read),
            any_method("/v2/update-client-data/{item_id}", self.update),
        ]

    async def read(self, request: web.Request) -> web.Response:
        return web.json_response({"count": len(self._items), "items": list(self._items)})

    async def update(self, request: web.Request) -> web.Response:
        got = await received(request)
        item_id = request.match_info["item_id"]
        known = self._items.get(item_id)
        if known is None:
            return refuse(404, f"There is no item {item_id!r}")
        item = {**known, **got.document, "item_id": item_id, "updated_at": self._world.timestamp()}
        self._items.put(item_id, item)
        return web.json_response(item)
