"""A request as it goes to an upstream: made once, for whichever destination gets it."""

from __future__ import annotations

from typing import Final

from aiogateway.proxy.head import Head
from aiogateway.proxy.headers import without
from aiogateway.proxy.request import Request
from aiogateway.upstreams.destination import Destination

_VIA: Final = {(1, 1): b"Via: 1.1 aiogateway", (1, 0): b"Via: 1.0 aiogateway"}


class Outbound:
    """A request as it goes to an upstream, less what depends on the destination.

    :ivar path: path and query to ask for.
    :ivar fields: the head after its `Host` line.
    :ivar sent: what of the body is at hand.
    :ivar rest: where what isn't comes from; None when all is at hand.
    :ivar chunked: whether that rest goes out in chunks.
    """

    __slots__ = ("chunked", "fields", "path", "rest", "sent")

    def __init__(self, request: Request) -> None:
        head, sent, rest = request.head, request.sent, request.rest
        self.path = request.route.target(request.path, request.match.params) + request.query
        self.sent = sent
        self.rest = rest
        self.chunked = False
        handshake = request.handshake
        if handshake is not None and handshake.withheld:
            head = Head(tuple(without(head.raw, handshake.withheld)), head.headers)
        inward = head.inward()
        lines = [inward] if inward else []
        lines += (
            request.forwarded_lines(),
            _VIA[request.version],
            request.id_line,
            request.trace_lines,
        )
        if request.identity is not None:
            lines.append(request.identity.lines)
        if handshake is not None:
            lines += handshake.lines()
        if rest is None:
            if sent or head.has_framing:
                lines.append(b"Content-Length: %d" % len(sent))
        elif rest.length is not None:
            lines.append(b"Content-Length: %d" % rest.length)
        else:
            self.chunked = True
            lines.append(b"Transfer-Encoding: chunked")
            self.sent = b"%x\r\n%b\r\n" % (len(sent), sent) if sent else b""
        self.fields = b"\r\n".join(lines)

    def data_for(self, method: str, destination: Destination) -> bytes:
        """Head and body so far, in one piece."""
        return b"%b %b%b HTTP/1.1\r\nHost: %b\r\n%b\r\n\r\n%b" % (
            method.encode(),
            destination.base,
            self.path.encode("utf-8", "surrogateescape"),
            destination.host,
            self.fields,
            self.sent,
        )
