"""The superadmin service: its login, users, plans and the legal documents.

Rules: plans and documents are public, with ETag and freshness. A document is a page for who asks for HTML, else JSON.
"""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from aiogateway.demo.accounts import WRONG_PASSWORD, logged_in
from aiogateway.demo.forms import received, refuse
from aiogateway.demo.service import Handler, any_method, cacheable
from aiogateway.demo.world import World, user_id_of

PLANS: tuple[dict[str, Any], ...] = (
    {"plan_id": "free", "name": "Free", "price": 0, "chatbots": 1, "answers_per_month": 100},
    {"plan_id": "starter", "name": "Starter", "price": 99_900, "chatbots": 3, "answers_per_month": 2_000},
    {"plan_id": "growth", "name": "Growth", "price": 299_900, "chatbots": 10, "answers_per_month": 20_000},
    {"plan_id": "scale", "name": "Scale", "price": 999_900, "chatbots": 50, "answers_per_month": 200_000},
)
CLAUSES = (
    "The service answers visitors of your site from the documents and pages that you give it.",
    "You keep every right to what you upload; it is used to answer your own visitors and for nothing else.",
    "Conversations are kept for ninety days, or shorter if you choose so, and are then deleted.",
    "An answer may be wrong. Whoever relies on it for health, money or law asks a person first.",
    "Either side may end the contract at the end of a month; what was uploaded is deleted within thirty days.",
)
USERS = tuple(
    {"user_id": user_id_of(email), "email": email, "plan": plan, "chatbots": chatbots}
    for email, plan, chatbots in (
        ("demo@example.com", "growth", 3),
        ("ada@example.com", "starter", 1),
        ("grace@example.com", "scale", 21),
    )
)


class Superadmin:
    """`SUPERADMIN_SERVICE_URL`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v2/admin-login", self.login),
            any_method("/v2/admin/users", self.users),
            any_method("/v2/admin/get-user-history", self.history),
            web.get("/v2/subscriptions/plans", self.plans),
            web.get("/v2/get-latest-terms-conditions", _document("Terms and conditions")),
            web.get("/v2/get-latest-privacy-policy", _document("Privacy policy")),
            web.get("/v2/get-user-data/{user_id}", self.user_data),
        ]

    async def login(self, request: web.Request) -> web.Response:
        email, password = (await received(request)).need("email", "password")
        if password == WRONG_PASSWORD:
            return refuse(401, "Incorrect email or password")
        return logged_in(self._world, email, ("superadmin",))

    async def users(self, request: web.Request) -> web.Response:
        return web.json_response({"count": len(USERS), "users": USERS})

    async def history(self, request: web.Request) -> web.Response:
        user_id = (await received(request)).get("user_id") or USERS[0]["user_id"]
        events = [{"at": self._world.timestamp(), "event": name} for name in ("login", "create-chatbot", "fetch-pdf")]
        return web.json_response({"user_id": user_id, "events": events})

    async def plans(self, request: web.Request) -> web.Response:
        body = json.dumps({"currency": "INR", "unit": "paise", "plans": PLANS}).encode()
        return cacheable(request, body, "application/json", "public, max-age=60")

    async def user_data(self, request: web.Request) -> web.Response:
        user_id = request.match_info["user_id"]
        known = next((user for user in USERS if user["user_id"] == user_id), {"user_id": user_id, "plan": "free"})
        return web.json_response({**known, "last_login": self._world.timestamp()})


def _document(title: str) -> Handler:
    """The handler of a legal document, as a page or as JSON."""
    heads = [f"{number}. {title}, clause {number}" for number in range(1, len(CLAUSES) + 1)]
    sections = "".join(f"<h2>{head}</h2>\n<p>{clause}</p>\n" for head, clause in zip(heads, CLAUSES, strict=True))
    head = f"<head><title>{title}</title></head>"
    page = f"<!DOCTYPE html>\n<html>{head}\n<body><h1>{title}</h1>\n{sections}</body></html>\n"
    bodies = {
        "text/html": page.encode(),
        "application/json": json.dumps({"title": title, "version": "2026-11-01", "html": sections}).encode(),
    }

    async def document(request: web.Request) -> web.Response:
        kind = "text/html" if "text/html" in request.headers.get("Accept", "") else "application/json"
        answer = cacheable(request, bodies[kind], kind, "public, max-age=300")
        answer.headers["Vary"] = "Accept"
        return answer

    return document
