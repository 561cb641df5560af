"""The auth and user services: logins, one-time codes, sign-up, features of an account.

Rules: any e-mail and password log in; the password `wrong` and the code `000000` don't, so that both outcomes can be
seen. Passwords are looked at and forgotten.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from aiogateway.demo.forms import received, refuse
from aiogateway.demo.world import TOKEN_SECONDS, Shelf, World, user_id_of

WRONG_PASSWORD = "wrong"
WRONG_CODE = "000000"
FEATURES = {"avatars_3d": True, "voice": True, "crawling": True, "llm_models": 9, "custom_domain": False}
LIMITS = {"chatbots": 10, "documents": 500, "upload_bytes": 1 << 30, "answers_per_month": 20_000}


def logged_in(world: World, email: str, roles: tuple[str, ...] = ("user",)) -> web.Response:
    """The answer to a login that succeeded: a bearer token, the user, and two cookies."""
    user_id = user_id_of(email)
    answer = web.json_response(
        {
            "access_token": world.token(user_id, roles),
            "token_type": "bearer",
            "expires_in": TOKEN_SECONDS,
            "user_id": user_id,
            "user": _user(user_id, email, roles),
        },
        headers={"Cache-Control": "no-store"},
    )
    cookie: dict[str, Any] = {"max_age": TOKEN_SECONDS, "path": "/", "samesite": "Lax"}
    answer.set_cookie("session", world.new_id("session"), httponly=True, **cookie)
    answer.set_cookie("csrf", world.new_id("csrf"), **cookie)
    return answer


def _user(user_id: str, email: str, roles: tuple[str, ...]) -> dict[str, Any]:
    name = email.partition("@")[0].replace(".", " ").title()
    return {"user_id": user_id, "email": email, "name": name, "roles": list(roles), "plan": "growth"}


class Auth:
    """`AUTH_SERVICE_URL`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v2/login", self.login),
            web.post("/v2/verify-login-otp", self.verify_login_otp),
            web.post("/v2/forgot-password", self.forgot_password),
            web.post("/v2/reset-password", self.reset_password),
        ]

    async def login(self, request: web.Request) -> web.Response:
        email, password = (await received(request)).need("email", "password")
        if password == WRONG_PASSWORD:
            return refuse(401, "Incorrect email or password")
        return logged_in(self._world, email)

    async def verify_login_otp(self, request: web.Request) -> web.Response:
        email, code = (await received(request)).need("email", "otp")
        if code == WRONG_CODE:
            return refuse(401, "The code is wrong or has expired")
        return logged_in(self._world, email)

    async def forgot_password(self, request: web.Request) -> web.Response:
        (await received(request)).need("email")
        return web.json_response({"status": "ok", "message": "If the address is known, a code is on its way"})

    async def reset_password(self, request: web.Request) -> web.Response:
        _, code, _ = (await received(request)).need("email", "otp", "new_password")
        if code == WRONG_CODE:
            return refuse(400, "The code is wrong or has expired")
        return web.json_response({"status": "ok", "message": "The password has been changed"})


class Users:
    """`USER_SERVICE_URL`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._accounts: Shelf[dict[str, Any]] = Shelf()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v2/signup", self.signup),
            web.post("/v2/verify-otp", self.verify_otp),
            web.get("/v2/get-user-features/{user_id}", self.features),
        ]

    async def signup(self, request: web.Request) -> web.Response:
        email, _ = (await received(request)).need("email", "password")
        user_id = user_id_of(email)
        if user_id in self._accounts:
            return refuse(409, "An account with this address exists already")
        self._accounts.put(user_id, {**_user(user_id, email, ("user",)), "created_at": self._world.timestamp()})
        return web.json_response({"user_id": user_id, "email": email, "verified": False}, status=201)

    async def verify_otp(self, request: web.Request) -> web.Response:
        email, code = (await received(request)).need("email", "otp")
        if code == WRONG_CODE:
            return refuse(400, "The code is wrong or has expired")
        return web.json_response({"user_id": user_id_of(email), "email": email, "verified": True})

    async def features(self, request: web.Request) -> web.Response:
        user_id = request.match_info["user_id"]
        return web.json_response({"user_id": user_id, "plan": "growth", "features": FEATURES, "limits": LIMITS})
