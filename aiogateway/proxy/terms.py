"""What a listener, its connections and the handlers behind them agree on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Protocol

from aiogateway.deadlines import Deadlines
from aiogateway.errors import Problem
from aiogateway.overload import Door
from aiogateway.proxy.head import Heads
from aiogateway.proxy.request import Request


class Observer(Protocol):
    """Who is told of every request.

    :ivar active: requests being answered; connections add to it, `finished` doesn't.
    """

    active: int

    def finished(self, request: Request) -> None: ...


class Answer(Protocol):
    """What a handler gives back. `begin`, or aiohttp's `prepare`, is called first, then `write_eof`."""

    @property
    def keep_alive(self) -> bool | None: ...

    def begin(self, request: Request) -> None: ...

    async def prepare(self, request: Any) -> Any: ...

    async def write_eof(self, data: bytes = b"") -> None: ...


Handler = Callable[[Request], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for every connection of a listener.

    :ivar observer: is told of every request that is over.
    :ivar answer_unparsed: makes the answer to a request that couldn't be parsed.
    :ivar refuse: the same as bytes, for when nothing but the transport is there.
    :ivar header_timeout: seconds for a request's head, from its first byte to its last.
    :ivar download_min_rate: bytes a second a client must read while we wait for it.
    :ivar trusted: networks whose `X-Forwarded-*` is believed.
    :ivar door: says which clients are let in.
    :ivar heads: what requests' fields come to.
    """

    observer: Observer
    answer_unparsed: Callable[[Problem, Request], Answer]
    refuse: Callable[[Problem], bytes]
    deadlines: Deadlines
    header_timeout: float
    download_min_rate: int
    trusted: Sequence[IPv4Network | IPv6Network]
    door: Door
    heads: Heads
