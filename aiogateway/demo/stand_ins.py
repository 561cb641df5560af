"""All stand-ins together: which service stands behind which variable, their sockets, and their life.

Rules: the sockets are bound when the object is made, on 127.0.0.1 and ports that the kernel chooses unless somebody
says where, since the gateway's settings need the addresses before any loop runs. Whoever makes the object closes it:
`close` where it was started, and the `with` statement around it for what was bound and never served.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType, TracebackType
from typing import Self

from aiohttp import web

from aiogateway.demo.accounts import Auth, Users
from aiogateway.demo.chatbots import Chatbots, ClientData, Selections
from aiogateway.demo.conversations import ChatHistory, Homepage, Physio
from aiogateway.demo.crawling import Crawling
from aiogateway.demo.llm import Models
from aiogateway.demo.payment import Payment
from aiogateway.demo.prompts import Prompts
from aiogateway.demo.responses import Response3D, text_answer, voice_answer
from aiogateway.demo.service import any_method, application
from aiogateway.demo.superadmin import Superadmin
from aiogateway.demo.verifier import Verifier
from aiogateway.demo.world import World

BACKLOG = 1024
# What uvicorn, behind which the real services run, keeps an idle connection
KEEPALIVE_SECONDS = 5.0
# For each of the two waits that aiohttp makes: for handlers to end, and for cancelled ones to be gone
SHUTDOWN_SECONDS = 0.5
VERIFIER = "RECAPTCHA_VERIFY_URL"
ANYWHERE = ("127.0.0.1", 0)


def services(world: World) -> dict[str, list[web.RouteDef]]:
    """The routes behind each upstream's variable; what a service has no route for it answers generically."""
    chatbots, selections = Chatbots(world), Selections()
    return {
        "AUTH_SERVICE_URL": Auth(world).routes(),
        "USER_SERVICE_URL": Users(world).routes(),
        "CREATE_CHATBOT_SERVICE_URL": chatbots.create_routes(),
        "SELECTION_CHATBOT_SERVICE_URL": selections.selection_routes(),
        "DATA_CRAWLING_SERVICE_URL": Crawling(world).routes(),
        "STATE_SELECTION_3D_CHATBOT_SERVICE_URL": selections.state_routes("3d"),
        "STATE_SELECTION_TEXT_CHATBOT_SERVICE_URL": selections.state_routes("text"),
        "STATE_SELECTION_VOICE_CHATBOT_SERVICE_URL": selections.state_routes("voice"),
        "SYSTEMPROMPT_SERVICE_URL": Prompts(world).routes(),
        "CHATBOT_MAINTENCE_SERVICE_URL": chatbots.maintenance_routes(),
        "RESPONSE_3D_CHATBOT_SERVICE_URL": Response3D(world).routes(),
        "RESPONSE_TEXT_CHATBOT_SERVICE_URL": [any_method("/v2/get-response-text{variant:.*}", text_answer)],
        "RESPONSE_VOICE_CHATBOT_SERVICE_URL": [any_method("/v2/get-response-voice{variant:.*}", voice_answer)],
        "CHAT_HISTORY_SERVICE_URL": ChatHistory(world).routes(),
        "DATA_COLLECTION_SERVICE_URL": ClientData(world).routes(),
        "LLM_MODEL_SERVICE": Models(world).routes(),
        "HOME_PAGE_SERVICE_URL": Homepage(world).routes(),
        "REMOTE_PHYSIO_SERVICE_URL": Physio(world).routes(),
        "PAYMENT_SERVICE_URL": Payment(world).routes(),
        "SUPERADMIN_SERVICE_URL": Superadmin(world).routes(),
    }


class StandIns:
    """The twenty services and the verifier, each on a port of its own.

    :param signing_key: signs the tokens of the logins; at least 32 bytes, as the gateway wants it.
    :param rng: makes ids and the verifier's secret.
    :param clock: gives seconds since the epoch.
    :param sleep: takes seconds; paces streams and the slow answer.
    :param addresses: by variable, host and port to listen on.
    :param recaptcha_secret: what the verifier takes; left out, one of its own.
    :raises OSError: a socket can't be bound.
    """

    def __init__(
        self,
        signing_key: str,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        addresses: Mapping[str, tuple[str, int]] = MappingProxyType({}),
        recaptcha_secret: str | None = None,
    ) -> None:
        self.world = World(signing_key, rng or random.Random(), clock, sleep)
        self._secret = recaptcha_secret or self.world.new_id("recaptcha")
        self._routes = {**services(self.world), VERIFIER: Verifier(self.world, self._secret).routes()}
        self._sockets: dict[str, socket.socket] = {}
        self._runners: list[web.AppRunner] = []
        try:
            for variable in self._routes:
                self._sockets[variable] = socket.create_server(addresses.get(variable, ANYWHERE), backlog=BACKLOG)
        except OSError:
            self._release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def environment(self) -> dict[str, str]:
        """The variables that lead a gateway to these stand-ins."""
        urls = {name: f"http://127.0.0.1:{bound.getsockname()[1]}" for name, bound in self._sockets.items()}
        return {**urls, VERIFIER: f"{urls[VERIFIER]}/siteverify", "RECAPTCHA_SECRET_KEY": self._secret}

    async def start(self) -> None:
        """Serves on every socket, in the running loop. What was started is stopped when one can't be."""
        try:
            for variable, bound in self._sockets.items():
                await self._serve(application(variable.lower().removesuffix("_url"), self._routes[variable]), bound)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Ends every service; requests in flight get a second. Closing twice is harmless."""
        runners, self._runners = self._runners, []
        try:
            await asyncio.gather(*(runner.cleanup() for runner in runners))
        finally:
            self._release()

    async def _serve(self, app: web.Application, bound: socket.socket) -> None:
        # A handler whose client left is cancelled: a stream ends with the one who reads it
        runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=KEEPALIVE_SECONDS,
            shutdown_timeout=SHUTDOWN_SECONDS,
        )
        self._runners.append(runner)
        await runner.setup()
        await web.SockSite(runner, bound).start()

    def _release(self) -> None:
        for bound in self._sockets.values():
            bound.close()
