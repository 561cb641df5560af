"""The reCAPTCHA verifier's stand-in: `POST /siteverify` with `secret` and `response`, as the public one documents it.

Rules: the token `bad` fails, an empty one is missing, any other passes with score 0.9. A token `name:action` passes for
that action, as a v3 token carries the action that its page named.
"""

from __future__ import annotations

import hmac
from typing import Any

from aiohttp import web

from aiogateway.demo.forms import Received, received
from aiogateway.demo.world import World

BAD_TOKEN = "bad"


class Verifier:
    """`RECAPTCHA_VERIFY_URL`.

    :param secret: the one it takes.
    """

    def __init__(self, world: World, secret: str) -> None:
        self._world = world
        self._secret = secret

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/siteverify", self.verify)]

    async def verify(self, request: web.Request) -> web.Response:
        got = await received(request)
        faults = self._faults(got)
        if faults:
            return web.json_response({"success": False, "error-codes": faults})
        _, _, action = got.get("response").partition(":")
        verdict: dict[str, Any] = {"success": True, "challenge_ts": self._world.timestamp(), "hostname": "localhost"}
        return web.json_response({**verdict, "score": 0.9, "action": action or "login"})

    def _faults(self, got: Received) -> list[str]:
        secret, token = got.get("secret"), got.get("response")
        found = {
            "missing-input-secret": not secret,
            "invalid-input-secret": bool(secret) and not hmac.compare_digest(secret.encode(), self._secret.encode()),
            "missing-input-response": not token,
            "invalid-input-response": token == BAD_TOKEN,
        }
        return [code for code, is_so in found.items() if is_so]
