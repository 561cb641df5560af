"""Who may have a WebSocket: a client's opening handshake, and its upstream's answer (RFC 6455 section 4).

Rules: the handshake is made between client and upstream; the gateway asks of both what the RFC asks of the other. What
makes a request no handshake at all leaves it a plain request, whose `Upgrade` is dropped.

A page can't set `Authorization` on a WebSocket. It offers the subprotocol `bearer` with its token behind it instead
(contract); neither goes on, and `bearer` is what it is told when the upstream selects nothing: a browser breaks off
when it offered subprotocols and none was selected.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from aiohttp.hdrs import (
    CONNECTION,
    SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION,
    UPGRADE,
)

from aiogateway.errors import Problem

VERSION: Final = "13"
BEARER: Final = "bearer"
# The last fields of a head that changes protocols, in either direction.
SWITCH: Final = b"Connection: Upgrade\r\nUpgrade: websocket"
# What a browser adds by itself, whatever page it is that asks.
AMBIENT: Final = frozenset({b"authorization", b"cookie"})
# RFC 6455 section 1.3.
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# 16 bytes in Base64 (section 4.2.1).
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NO_VALUES: Final[tuple[str, ...]] = ()


class Fields(Protocol):
    """Fields by name, several of one among them."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]: ...


class Handshake(NamedTuple):
    """A client's opening handshake.

    :ivar key: its `Sec-WebSocket-Key`.
    :ivar protocols: the subprotocols that go on to the upstream, as offered.
    :ivar extensions: names of the extensions that it offered.
    :ivar bearer: whether it offered `bearer`.
    :ivar token: what stood behind that; None for nothing.
    :ivar withheld: names of the client's fields that don't go on, in lower case.
    """

    key: str
    protocols: tuple[str, ...]
    extensions: frozenset[str]
    bearer: bool
    token: str | None
    withheld: frozenset[bytes] = frozenset()

    def lines(self) -> list[bytes]:
        """The lines that are added to the request for its upstream."""
        offered = [f"Sec-WebSocket-Protocol: {', '.join(self.protocols)}".encode()] if self.protocols else []
        return [SWITCH, *offered]


def members(values: Iterable[str]) -> list[str]:
    """The members of a list, over all of its fields (RFC 9110 section 5.6.1)."""
    return [member for value in values for part in value.split(",") if (member := part.strip(" \t"))]


def asks(method: str, version: tuple[int, int], headers: Fields) -> bool:
    """Whether a request asks for a WebSocket: anything else is a plain request (RFC 9110 section 7.8)."""
    upgrade = headers.getall(UPGRADE, _NO_VALUES)
    return bool(upgrade) and method == "GET" and version >= (1, 1) and "websocket" in map(str.lower, members(upgrade))


def read(headers: Fields, *, has_body: bool) -> Handshake:
    """The handshake of a request that asks for a WebSocket (RFC 6455 section 4.2.1).

    :raises Problem: `bad_request`; `upgrade_required` for another version, with the one that is known.
    """
    if "upgrade" not in map(str.lower, members(headers.getall(CONNECTION, _NO_VALUES))):
        raise Problem("bad_request", "the Connection field of a WebSocket handshake must name Upgrade")
    if has_body:
        raise Problem("bad_request", "a WebSocket handshake has no body")
    keys = headers.getall(SEC_WEBSOCKET_KEY, _NO_VALUES)
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        raise Problem("bad_request", "a WebSocket handshake needs one Sec-WebSocket-Key of 16 bytes in Base64")
    if list(headers.getall(SEC_WEBSOCKET_VERSION, _NO_VALUES)) != [VERSION]:
        fields = (("Sec-WebSocket-Version", VERSION), ("Upgrade", "websocket"), ("Connection", "Upgrade"))
        raise Problem("upgrade_required", headers=fields)
    offered = members(headers.getall(SEC_WEBSOCKET_PROTOCOL, _NO_VALUES))
    if len(set(offered)) != len(offered) or not all(map(_TOKEN.fullmatch, offered)):
        raise Problem("bad_request", "the Sec-WebSocket-Protocol field is malformed")
    bearer, token = BEARER in offered, None
    if bearer:
        at = offered.index(BEARER)
        token = offered[at + 1] if at + 1 < len(offered) else None
        del offered[at : at + 2]
    return Handshake(keys[0], tuple(offered), _extensions(headers), bearer, token)


def _extensions(headers: Fields) -> frozenset[str]:
    """Names of extensions (RFC 6455 section 9.1). A parameter's quoted comma makes a name more, and harms nobody."""
    named = members(headers.getall(SEC_WEBSOCKET_EXTENSIONS, _NO_VALUES))
    return frozenset(member.partition(";")[0].rstrip(" \t").lower() for member in named)


def accept(key: str) -> str:
    """The `Sec-WebSocket-Accept` for a key (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def check(handshake: Handshake, headers: Fields) -> list[bytes]:
    """Look at the fields of an upstream's 101; answers the lines that are added to it for the client.

    :raises Problem: `upstream_bad_response`: what a client would have to break off for (RFC 6455 section 4.1).
    """
    if (
        [value.lower() for value in headers.getall(UPGRADE, _NO_VALUES)] != ["websocket"]
        or "upgrade" not in map(str.lower, members(headers.getall(CONNECTION, _NO_VALUES)))
        or list(headers.getall(SEC_WEBSOCKET_ACCEPT, _NO_VALUES)) != [accept(handshake.key)]
    ):
        raise Problem("upstream_bad_response", "the service's answer to the WebSocket handshake is malformed")
    selected = members(headers.getall(SEC_WEBSOCKET_PROTOCOL, _NO_VALUES))
    if len(selected) > 1 or not set(selected) <= set(handshake.protocols):
        raise Problem("upstream_bad_response", "the service selected a subprotocol that was not offered")
    if not _extensions(headers) <= handshake.extensions:
        raise Problem("upstream_bad_response", "the service uses an extension that was not offered")
    if handshake.bearer and not selected:
        return [b"Sec-WebSocket-Protocol: " + BEARER.encode(), SWITCH]
    return [SWITCH]
