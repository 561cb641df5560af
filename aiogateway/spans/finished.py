"""What a request leaves behind for its spans: plain values, so that neither its body nor its connection is kept."""

from __future__ import annotations

from typing import NamedTuple

from aiogateway.access_log import MAX_PATH, MAX_TEXT, plain
from aiogateway.proxy.record import Record
from aiogateway.proxy.request import Request


class Finished(NamedTuple):
    """A request that is over.

    :ivar path: without a query, what looks private masked.
    :ivar client: its address, seen through trusted proxies.
    :ivar peer: the address at the other end of the connection.
    :ivar user: of a verified token, masked in the same way; empty without one.
    :ivar offset: seconds from the record's clock to wall time.
    """

    record: Record
    method: str
    scheme: str
    path: str
    version: tuple[int, int]
    request_id: str
    client: str
    peer: str
    user: str
    offset: float


def finished(request: Request, now_wall: float) -> Finished:
    """:param now_wall: Unix time in seconds at which the request ended."""
    record, connection, identity = request.record, request.connection, request.identity
    return Finished(
        record,
        request.method,
        connection.scheme,
        plain(request.path, MAX_PATH),
        request.version,
        request.id,
        request.client,
        connection.peer,
        "" if identity is None else plain(identity.user, MAX_TEXT),
        now_wall - record.ended,
    )


def spans_in(record: Record) -> int:
    """How many spans a request has: a second one if an upstream was asked, or a connection to it tried."""
    return 2 if record.asked or record.connect else 1
