"""The services that remember conversations: chat history, the homepage's chatbot, the physiotherapy chatbot.

Rules: a session keeps its last hundred messages. History is read and deleted only by the user it was saved for.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from aiohttp import web

from aiogateway.demo import faults
from aiogateway.demo.forms import Received, received
from aiogateway.demo.service import any_method, cacheable, caller
from aiogateway.demo.speech import answer_to
from aiogateway.demo.world import Shelf, World

MESSAGES_KEPT = 100
GREETING = "Hello! I am Eva. Ask me what a 3D chatbot could do on your site, or how to get one there by tonight."

Messages = deque[dict[str, Any]]


class Sessions:
    """Messages by session, the oldest sessions and messages forgotten first."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sessions: Shelf[Messages] = Shelf()

    def add(self, key: str, *messages: dict[str, Any]) -> int:
        """Appends, and gives the number of messages the session holds."""
        session = self._sessions.get(key) or deque(maxlen=MESSAGES_KEPT)
        session.extend({**message, "at": self._world.timestamp()} for message in messages)
        self._sessions.put(key, session)
        return len(session)

    def of(self, key: str) -> list[dict[str, Any]]:
        return list(self._sessions.get(key) or ())

    def drop(self, key: str) -> int:
        """Forgets the session, and gives the number of messages it held."""
        return len(self._sessions.take(key) or ())


def _messages(got: Received) -> list[dict[str, Any]]:
    """What a client saves: a list of messages, or one question with its answer."""
    listed = got.document.get("messages")
    if isinstance(listed, list):
        return [message for message in listed if isinstance(message, dict)]
    pairs = (("user", got.get("question")), ("assistant", got.get("answer")))
    return [{"role": role, "content": text} for role, text in pairs if text]


class ChatHistory:
    """`CHAT_HISTORY_SERVICE_URL`."""

    def __init__(self, world: World) -> None:
        self._sessions = Sessions(world)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v2/save-chat-history", self.save),
            any_method("/v2/get-chat-history", self.read),
            any_method("/v2/get-chat-history/{session_id:.+}", self.read),
            any_method("/v2/delete-chat-history", self.delete),
        ]

    async def save(self, request: web.Request) -> web.Response:
        got = await received(request)
        [session_id] = got.need("session_id")
        user_id = got.get("user_id") or caller(request, got)
        count = self._sessions.add(f"{user_id}/{session_id}", *_messages(got))
        return web.json_response({"status": "saved", "session_id": session_id, "messages": count})

    async def read(self, request: web.Request) -> web.Response:
        user_id, session_id = await self._whose(request)
        messages = self._sessions.of(f"{user_id}/{session_id}")
        return web.json_response({"user_id": user_id, "session_id": session_id, "messages": messages})

    async def delete(self, request: web.Request) -> web.Response:
        user_id, session_id = await self._whose(request)
        count = self._sessions.drop(f"{user_id}/{session_id}")
        return web.json_response({"status": "deleted", "session_id": session_id, "messages": count})

    @staticmethod
    async def _whose(request: web.Request) -> tuple[str, str]:
        got = await received(request)
        session_id = request.match_info.get("session_id") or got.need("session_id")[0]
        return caller(request, got), session_id


class Homepage:
    """`HOME_PAGE_SERVICE_URL`, and the paths that go wrong on purpose."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sessions = Sessions(world)
        self._leads: Shelf[dict[str, Any]] = Shelf()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v2/homepage-get-response", self.respond),
            web.post("/v2/homepage-save-chat-history", self.save),
            any_method("/v2/homepage-get-greeting", self.greeting),
            web.post("/v2/homepage-generate-greeting", self.personal_greeting),
            web.post("/v2/homepage-save-lead", self.save_lead),
            *faults.routes(self._world),
        ]

    async def respond(self, request: web.Request) -> web.Response:
        got = await received(request)
        [question] = got.need("question")
        session_id = got.get("session_id") or self._world.new_id("session")
        text = answer_to(question)
        self._sessions.add(session_id, {"role": "user", "content": question}, {"role": "assistant", "content": text})
        return web.json_response({"session_id": session_id, "text": text})

    async def save(self, request: web.Request) -> web.Response:
        got = await received(request)
        [session_id] = got.need("session_id")
        count = self._sessions.add(session_id, *_messages(got))
        return web.json_response({"status": "saved", "session_id": session_id, "messages": count})

    async def greeting(self, request: web.Request) -> web.Response:
        body = json.dumps({"greeting": GREETING, "avatar": "eva", "suggestions": ["Pricing", "Demo", "Contact"]})
        return cacheable(request, body.encode(), "application/json", "public, max-age=60")

    async def personal_greeting(self, request: web.Request) -> web.Response:
        got = await received(request)
        campaign = {name: value for name, value in got.fields.items() if name.startswith("utm_")}
        source = campaign.get("utm_source")
        text = f"Welcome, and thank you for coming over from {source}! {GREETING}" if source else GREETING
        return web.json_response({"greeting": text, "campaign": campaign}, headers={"Cache-Control": "no-store"})

    async def save_lead(self, request: web.Request) -> web.Response:
        got = await received(request)
        [email] = got.need("email")
        lead = {"lead_id": self._world.new_id("lead"), "email": email, "name": got.get("name")}
        self._leads.put(lead["lead_id"], lead)
        return web.json_response({"lead_id": lead["lead_id"], "status": "saved"}, status=201)


class Physio:
    """`REMOTE_PHYSIO_SERVICE_URL`."""

    def __init__(self, world: World) -> None:
        self._sessions = Sessions(world)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v2/get-response-physio", self.respond),
            any_method("/v2/remote_physio_history", self.history),
            any_method("/v2/check-profile/{session_id}", self.profile),
            any_method("/v2/reset-session/{session_id}", self.reset),
        ]

    async def respond(self, request: web.Request) -> web.Response:
        got = await received(request)
        [question] = got.need("question")
        session_id = got.get("session_id", "default")
        text = "Sit upright and let the shoulders drop. Turn the head slowly, ten times to each side; stop if it hurts."
        self._sessions.add(session_id, {"role": "user", "content": question}, {"role": "assistant", "content": text})
        return web.json_response({"session_id": session_id, "text": text, "exercise": "neck-rotation", "repeats": 10})

    async def history(self, request: web.Request) -> web.Response:
        session_id = (await received(request)).get("session_id", "default")
        return web.json_response({"session_id": session_id, "messages": self._sessions.of(session_id)})

    async def profile(self, request: web.Request) -> web.Response:
        session_id = request.match_info["session_id"]
        missing = [] if self._sessions.of(session_id) else ["age", "complaint"]
        return web.json_response({"session_id": session_id, "complete": not missing, "missing": missing})

    async def reset(self, request: web.Request) -> web.Response:
        session_id = request.match_info["session_id"]
        count = self._sessions.drop(session_id)
        return web.json_response({"session_id": session_id, "status": "reset", "messages": count})
