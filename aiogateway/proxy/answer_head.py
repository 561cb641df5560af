"""The heads of a service's answers: interim ones passed, and what no safe edge may give on refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from aiohttp.hdrs import CONNECTION, TRANSFER_ENCODING
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.http_writer import HttpVersion11
from aiohttp.streams import StreamReader

from aiogateway.errors import Problem
from aiogateway.proxy.headers import RawFields
from aiogateway.upstreams.connection import UpstreamConnection

# An upstream that sends more interim answers than this is broken.
MAX_INTERIM: Final = 20
SWITCHING: Final = 101

Interim = Callable[[RawFields, Sequence[str]], None]


async def past_interim(
    connection: UpstreamConnection, message: RawResponseMessage, interim: Interim, *, switching: bool
) -> tuple[RawResponseMessage, StreamReader]:
    """The answer's head behind interim ones, with its body's stream, or the one that switches the protocol.

    :param message: the first of the interim ones.
    :param interim: given each 103's fields, and the values of its `Connection` fields.
    :param switching: whether the protocol may be switched (101).
    :raises Problem: `upstream_bad_response`.
    :raises aiohttp.ClientError: the connection is lost.
    """
    for _ in range(MAX_INTERIM):
        connection.saw_interim()
        if message.code == 103:
            interim(message.raw_headers, message.headers.getall(CONNECTION, ()))
        elif message.code not in (100, 102):
            raise Problem("upstream_bad_response", "the service switched protocols, or sent no valid status")
        message, payload = await connection.next_head()
        if message.code >= 200 or (switching and message.code == SWITCHING):
            return message, payload
    raise Problem("upstream_bad_response", "the service sent interim answers only")


def check(message: RawResponseMessage) -> None:
    """Refuse what aiohttp's lenient parser lets by and no safe edge may give on.

    :raises Problem: `upstream_bad_response`: an unknown version, status or transfer coding (RFC 9112 sections 2.3, 4
        and 6.1).
    """
    codings = message.headers.getall(TRANSFER_ENCODING, None)
    if codings is not None and (
        len(codings) != 1 or codings[0].lower() != "chunked" or message.version != HttpVersion11
    ):
        raise Problem("upstream_bad_response", "the service used an unknown transfer coding")
    if message.version[0] != 1 or not (200 <= message.code <= 599 or message.code == SWITCHING):
        raise Problem("upstream_bad_response", "the service sent no valid status line")


def bad_response(exc: Exception) -> Problem:
    """The problem for an answer that broke off or can't be parsed."""
    if isinstance(exc, HttpProcessingError):
        return Problem("upstream_bad_response", "the service's answer can't be parsed")
    return Problem("upstream_bad_response", "the service closed the connection without an answer")
