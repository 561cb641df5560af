"""The demo's page, on a port of its own: of another origin than the gateway, as any customer's page is.

Rules: the socket is bound when the object is made, because the gateway must list the page's origin before it starts.
Whoever makes the object closes it, and says where the gateway is before it is started.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection
from html import escape
from importlib import resources
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from aiogateway.admin.pages import add_page
from aiogateway.serving import Alongside

# Where the page is when nobody else has that port.
PORT: Final = 8001
SHUTDOWN_SECONDS: Final = 0.5
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src blob:; connect-src {}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class SamplePage:
    """:param spoken_for: ports that others on this machine are to have.
    :raises OSError: no port can be had.

    :ivar url: where it is.
    :ivar gateway: base URL of the gateway's public listener.
    :ivar dashboard: that of its admin listener.
    """

    def __init__(self, spoken_for: Collection[int] = ()) -> None:
        self._socket = _bound(0 if PORT in spoken_for else PORT)
        self._runner: web.AppRunner | None = None
        self.gateway = self.dashboard = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/"

    @property
    def origins(self) -> tuple[str, ...]:
        """What browsers call it, by either name of this machine."""
        return f"http://127.0.0.1:{self._port}", f"http://localhost:{self._port}"

    @property
    def _port(self) -> int:
        port: int = self._socket.getsockname()[1]
        return port

    async def start(self) -> None:
        """Serve the page, in the running loop."""
        app = web.Application()
        words = {"gateway": escape(self.gateway), "dashboard": escape(self.dashboard)}
        folder = resources.files("aiogateway.demo").joinpath("page")
        add_page(app, folder, POLICY.format(sources_of(self.gateway)), words)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket).start()

    async def close(self) -> None:
        """Serve it no more. Closing twice is harmless."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()


def _bound(port: int) -> socket.socket:
    """That port, or another if it is taken."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError:
        return socket.create_server(("127.0.0.1", 0))


def sources_of(gateway: str) -> str:
    """What the policy names for calls and sockets to a gateway (Content Security Policy Level 3, 2.3.1)."""
    scheme, _, host = gateway.partition("://")
    live = scheme.replace("http", "ws", 1)
    # A policy has no way to write an IPv6 address: browsers drop the source, and with it every call
    return f"{scheme}: {live}:" if host.startswith("[") else f"{gateway} {live}://{host}"


class Together:
    """Several things that live as long as the gateway.

    :param parts: started in this order, closed all at once.
    """

    def __init__(self, *parts: Alongside) -> None:
        self._parts = parts

    async def start(self) -> None:
        """Start all; what was started is closed when one can't be."""
        try:
            for part in self._parts:
                await part.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await asyncio.gather(*(part.close() for part in self._parts))
