"""The payment service: orders, signed payments, subscriptions, the provider's webhook.

Rules: amounts are whole paise. A payment and a webhook are checked against an HMAC-SHA256 (hex) over the bytes that
came, so that a gateway that changed one of them shows. The secrets sign play money and are meant to be seen.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from aiohttp import web

from aiogateway.demo.forms import received, refuse
from aiogateway.demo.service import any_method, caller
from aiogateway.demo.superadmin import PLANS
from aiogateway.demo.world import Shelf, World

PAYMENT_SECRET = "demo-payment-secret"
WEBHOOK_SECRET = "demo-webhook-secret"
SIGNATURE_HEADER = "X-Razorpay-Signature"


def signature(secret: str, message: bytes) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


class Payment:
    """`PAYMENT_SERVICE_URL`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._orders: Shelf[dict[str, Any]] = Shelf()
        self._subscriptions: Shelf[dict[str, Any]] = Shelf()

    def routes(self) -> list[web.RouteDef]:
        start = "/v2/payment"
        return [
            web.post(f"{start}/create-order", self.create_order),
            web.post(f"{start}/verify-payment", self.verify),
            any_method(f"{start}/get-user-subscription", self.subscription),
            web.post(f"{start}/create-subscription", self.subscribe),
            any_method(f"{start}/update-subscription", self.subscribe),
            web.post(f"{start}/cancel-subscription", self.cancel),
            web.post(f"{start}/webhook", self.webhook),
        ]

    async def create_order(self, request: web.Request) -> web.Response:
        got = await received(request)
        [amount] = got.need("amount")
        if not (amount.isascii() and amount.isdigit() and len(amount) <= 9):
            return refuse(400, "The amount is a whole number of paise")
        order_id, payment_id = self._world.new_id("order"), self._world.new_id("pay")
        order = {
            "order_id": order_id,
            "amount": int(amount),
            "currency": got.get("currency", "INR"),
            "status": "created",
        }
        self._orders.put(order_id, order)
        # The provider's page would hand these to the browser after the payment; here they come at once
        signed = signature(PAYMENT_SECRET, f"{order_id}|{payment_id}".encode())
        return web.json_response({**order, "test_payment": {"payment_id": payment_id, "signature": signed}}, status=201)

    async def verify(self, request: web.Request) -> web.Response:
        order_id, payment_id, given = (await received(request)).need("order_id", "payment_id", "signature")
        order = self._orders.get(order_id)
        if order is None:
            return refuse(404, f"There is no order {order_id!r}")
        due = signature(PAYMENT_SECRET, f"{order_id}|{payment_id}".encode())
        if not hmac.compare_digest(due.encode(), given.encode()):
            return refuse(400, "The payment's signature is wrong")
        paid = {**order, "payment_id": payment_id, "status": "paid"}
        self._orders.put(order_id, paid)
        return web.json_response(paid)

    async def subscription(self, request: web.Request) -> web.Response:
        user_id = caller(request, await received(request))
        found = self._subscriptions.get(user_id)
        return web.json_response(found or {"user_id": user_id, "plan_id": "free", "status": "active"})

    async def subscribe(self, request: web.Request) -> web.Response:
        got = await received(request)
        [plan_id] = got.need("plan_id")
        if plan_id not in {plan["plan_id"] for plan in PLANS}:
            return refuse(404, f"There is no plan {plan_id!r}")
        return self._keep(caller(request, got), plan_id, "active")

    async def cancel(self, request: web.Request) -> web.Response:
        user_id = caller(request, await received(request))
        found = self._subscriptions.get(user_id)
        return self._keep(user_id, found["plan_id"] if found else "free", "cancelled")

    def _keep(self, user_id: str, plan_id: str, status: str) -> web.Response:
        changed_at = self._world.timestamp()
        kept = {"user_id": user_id, "plan_id": plan_id, "status": status, "changed_at": changed_at}
        self._subscriptions.put(user_id, kept)
        return web.json_response(kept)

    async def webhook(self, request: web.Request) -> web.Response:
        body = await request.read()
        given = request.headers.get(SIGNATURE_HEADER)
        due = signature(WEBHOOK_SECRET, body)
        if given is not None and not hmac.compare_digest(due.encode(), given.encode()):
            return refuse(400, "The webhook's signature is wrong")
        return web.json_response({"status": "ok", "bytes": len(body), "signed": given is not None})
