"""Some requests through a gateway of a worker's own, before it serves: then its first client waits no longer than the
others.

Nothing is done for the first time then: modules are loaded, what is made once is made, and the interpreter has seen
what it is going to do again and again. It costs a start some hundredths of a second. Not done in a parent, for all
workers: a loop that ran there keeps it from noticing the end of those that die.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import os
import secrets
import socket
import tempfile
import time
from pathlib import Path
from typing import Final

import orjson
import structlog

from aiogateway.app import Gateway
from aiogateway.board import Board
from aiogateway.caching.notices import Notices
from aiogateway.output import Output
from aiogateway.routes import Table, configure
from aiogateway.settings import Settings
from aiogateway.stores import SharedCounters

# The interpreter adapts a function after some eight calls.
ROUNDS: Final = 8
SECONDS: Final = 5.0
ORIGIN: Final = "https://warm.test"
ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
ROUTES: Final = """
upstream = "warm"
auth = "required"
rate_limit = "1000/second"
[[route]]
path = "/warm/{name}"
methods = ["GET", "POST"]
"""

log = structlog.get_logger(__name__)


async def warm_up(settings: Settings) -> None:
    """Serve oneself for a moment, with what the settings say of logs. Harmless where that fails, but for the time."""
    secret = secrets.token_urlsafe(48)
    try:
        with socket.create_server(("127.0.0.1", 0)) as service:
            own, table = _configured(settings, service, secret)
            await _serve_oneself(own, table, service, _token(secret))
    except (OSError, TimeoutError, EOFError) as exc:
        log.warning("the first requests will be slow: there was no warming up", reason=str(exc) or type(exc).__name__)


def _configured(settings: Settings, service: socket.socket, secret: str) -> tuple[Settings, Table]:
    """A configuration of one route to a service."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "routes").mkdir()
        upstreams = f'[warm]\nurl = "http://127.0.0.1:{service.getsockname()[1]}"\n'
        Path(folder, "upstreams.toml").write_text(upstreams, encoding="utf-8")
        Path(folder, "routes", "warm.toml").write_text(ROUTES, encoding="utf-8")
        environ = {
            "ALLOWED_ORIGINS": ORIGIN,
            "GATEWAY_CONFIG": folder,
            "GATEWAY_LOG_FORMAT": settings.log_format,
            "GATEWAY_LOG_LEVEL": settings.log_level,
            "JWT_SECRET": secret,
        }
        return configure(environ)


def _token(secret: str) -> str:
    parts = {"alg": "HS256", "typ": "JWT"}, {"sub": "warm", "exp": int(time.time()) + 600}
    signed = b".".join(base64.urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=") for part in parts)
    signature = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return b".".join((signed, base64.urlsafe_b64encode(signature).rstrip(b"="))).decode()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What the service does: it answers whatever comes, until nothing does."""
    with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError):
        while head := await reader.readuntil(b"\r\n\r\n"):
            await reader.readexactly(len(b"a=1") if head.startswith(b"POST") else 0)
            writer.write(ANSWER)


async def _serve_oneself(settings: Settings, table: Table, service: socket.socket, token: str) -> None:
    """:raises OSError: a connection failed.
    :raises EOFError: it ended early.
    :raises TimeoutError: it took too long.
    """
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(SECONDS))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        stack.callback(os.close, nowhere)
        counters = stack.enter_context(contextlib.closing(SharedCounters(capacity=1000, alone=True)))
        notices = stack.enter_context(contextlib.closing(Notices(alone=True)))
        gateway = Gateway(settings, table, counters, notices, Board(None, 0), Output(nowhere))
        stack.push_async_callback(gateway.close)
        server = await gateway.start()
        loop = asyncio.get_running_loop()
        stack.callback((await asyncio.start_server(_answer, sock=service)).close)
        listening = await loop.create_server(server, "127.0.0.1", 0)
        stack.callback(listening.close)
        stack.push_async_callback(server.shutdown, 0)
        for turn in range(ROUNDS):
            # Connections of their own at first, for they are made by others too.
            async with contextlib.AsyncExitStack() as connection:
                reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname()[:2])
                connection.callback(writer.close)
                for method, body in (("GET", ""), ("POST", "a=1"), ("GET", "")):
                    writer.write(_request(method, f"/warm/{turn}", body, token))
                    head = await reader.readuntil(b"\r\n\r\n")
                    if not head.startswith(b"HTTP/1.1 200 "):
                        raise EOFError(head[:40].decode("latin-1"))
                    await reader.readexactly(2)


def _request(method: str, path: str, body: str, token: str) -> bytes:
    fields = {
        "Host": "warm.test",
        "Accept-Encoding": "gzip",
        "Authorization": f"Bearer {token}",
        "Origin": ORIGIN,
        "User-Agent": "warm-up",
        **({"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body))} if body else {}),
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()
