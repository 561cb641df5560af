"""The public listener: aiohttp's low-level server, which makes a `ClientConnection` for each client.

There is no `web.Application`: its router knows no order of patterns but that of their registration, and its way from
a parsed request to a handler costs as much as ours from there to the upstream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Any, cast

from aiohttp import web
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy
from aiohttp.web_protocol import RequestHandler

from aiogateway.deadlines import Deadlines
from aiogateway.errors import Problem
from aiogateway.overload import Door
from aiogateway.proxy.connection import LINGER, ClientConnection
from aiogateway.proxy.head import Heads
from aiogateway.proxy.parsing import BODY_BUFFER, MAX_FIELD, MAX_FIELDS, MAX_TARGET
from aiogateway.proxy.request import Request
from aiogateway.proxy.terms import Answer, Handler, Observer, Terms


class Server(web.Server):
    """The public listener's protocol factory.

    :param handler: answers every request.
    :param observer: is told of every request that is over.
    :param answer_unparsed: makes the answer to a request that couldn't be parsed.
    :param refuse: the same as bytes, for when nothing but the transport is there.
    :param header_timeout: seconds for a request's head, from its first byte to its last.
    :param keepalive_timeout: seconds an idle connection is kept.
    :param download_min_rate: bytes a second a client must read while we wait for it.
    :param trusted: networks whose `X-Forwarded-*` is believed.
    :param door: says which clients are let in.
    :raises RuntimeError: aiohttp's C parser is missing; the pure Python one lets requests by that the C one refuses.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        observer: Observer,
        answer_unparsed: Callable[[Problem, Request], Answer],
        refuse: Callable[[Problem], bytes],
        deadlines: Deadlines,
        header_timeout: float,
        keepalive_timeout: float,
        download_min_rate: int,
        trusted: Sequence[IPv4Network | IPv6Network],
        door: Door,
    ) -> None:
        if HttpRequestParser is HttpRequestParserPy:
            raise RuntimeError("aiohttp's C extensions are missing: install aiohttp from a wheel, or with a compiler")
        super().__init__(
            cast(Any, handler),
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=keepalive_timeout,
            lingering_time=LINGER,
            max_line_size=MAX_TARGET,
            max_field_size=MAX_FIELD,
            max_headers=MAX_FIELDS,
            read_bufsize=BODY_BUFFER,
        )
        self._terms = Terms(
            observer, answer_unparsed, refuse, deadlines, header_timeout, download_min_rate, trusted, door, Heads()
        )
        self.winding_down = False

    def pre_shutdown(self) -> None:
        """Wind every connection down: each closes after its next answer, those that are still to be made too."""
        self.winding_down = True
        for connection in map(_ours, self.connections):
            connection.closing = True

    def busy(self) -> int:
        """How many connections have a request arriving or being answered, or an answer not yet sent to its end."""
        return sum(
            _ours(connection).busy or _ours(connection).arriving or transport.get_write_buffer_size() > 0
            for connection, transport in self._connections.items()
        )

    def unanswered(self) -> list[Callable[[], bool]]:
        """For each request that has no answer yet, what tells whether that is so still."""
        return [still for connection in map(_ours, self.connections) if (still := connection.unanswered()) is not None]

    def end_streams(self, problem: Problem) -> int:
        """Tell event streams and WebSockets why they end, each where it may; answers how many there are."""
        streams = [stream for each in self.connections if (stream := _ours(each).stream) is not None]
        for stream in streams:
            stream.end_with(problem)
        return len(streams)

    def cut_off(self) -> int:
        """Reset what is still being answered, so that nothing looks complete; answers how many there were."""
        left = [connection for connection in map(_ours, self.connections) if connection.busy]
        for connection in left:
            connection.cut_off()
        return len(left)

    def __call__(self) -> ClientConnection:
        made = ClientConnection(self, self._terms, loop=self._loop, **self._kwargs)
        made.closing = self.winding_down
        return made


def _ours(connection: RequestHandler) -> ClientConnection:
    """What `__call__` made, by its own type."""
    return cast(ClientConnection, connection)
