"""An upstream's answer on its way to the client in a content coding (RFC 9110 section 8.4).

A body that has arrived whole is encoded in one piece. A longer one is encoded as it flows: whenever nothing more of it
is at hand, the client can read all that came, so that what comes late waits for nothing.
"""

from __future__ import annotations

import time

from aiohttp.hdrs import CONTENT_LENGTH, ETAG, IF_NONE_MATCH

from aiogateway.compression import IDENTITY, Choice, Compression, Piecewise, encoded_lines, varying, weakened
from aiogateway.compression.compression import ON_LOOP
from aiogateway.proxy.exchange import Exchange
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response
from aiogateway.proxy.upstream_answer import UpstreamAnswer


class EncodedAnswer(UpstreamAnswer):
    """:param plain: the answer, of which nothing is sent yet; this one takes its place."""

    __slots__ = ("_choice", "_compression")

    small = ON_LOOP

    def __init__(self, plain: UpstreamAnswer, choice: Choice, compression: Compression) -> None:
        super().__init__(plain.exchange, plain.lines, plain.shelf)
        self._choice = choice
        self._compression = compression

    def _write(self, request: Request, body: bytes) -> None:
        length = self._length()
        coding = self._compression.coding(self._choice, length if request.method == "HEAD" else len(body))
        if request.method == "HEAD":
            # What only encoding tells is left out (RFC 9110 section 9.3.2): the length, and whether there is enough to
            # be encoded where the service didn't say.
            lines = b"\r\n".join(self.lines)
            self.lines = [weakened(lines) if length is None else encoded_lines(lines, coding)]
            request.write(self._head(None))
        elif coding == IDENTITY:
            super()._write(request, body)
        else:
            body = self._compression.encode_now(coding, body)
            self.lines = [encoded_lines(b"\r\n".join(self.lines), coding)]
            request.record.bytes_out = len(body)
            request.write(self._head(len(body)) + body)

    async def _relay(self, request: Request, exchange: Exchange) -> None:
        coding = self._choice.coding
        encoder = self._compression.piecewise(coding)
        if encoder is None:
            await super()._relay(request, exchange)
            return
        try:
            self.lines = [encoded_lines(b"\r\n".join(self.lines), coding)]
            request.write(self._head(None))
            exchange.read_plainly()
            await self._encode(request, exchange, encoder)
        finally:
            encoder.close()
        request.record.released = time.monotonic()
        if self._chunked:
            request.write(b"0\r\n\r\n")

    async def _encode(self, request: Request, exchange: Exchange, encoder: Piecewise) -> None:
        """Write the body as it comes."""
        length, taken = self._length(), 0
        chunk = exchange.at_hand() or await exchange.read()
        while chunk:
            taken += len(chunk)
            following = exchange.at_hand()
            encoded = await encoder.feed(chunk, late=not following and not exchange.payload.is_eof())
            if encoded:
                self._give(request, encoded)
            if request.must_wait and not self._shelve(length, taken + len(following)):
                await self.wait_for_client()
            chunk = following or await exchange.read()
        self._give(request, encoder.finish())


def encoded(response: Response, request: Request, compression: Compression, *, told: bool = False) -> Response:
    """An answer as the client takes it, which says so where that depends on the client.

    :param told: whether it says so already.
    """
    if type(response) is not UpstreamAnswer:  # a problem, which is small, or a stream of events
        return response
    headers = response.exchange.message.headers
    if response.status == 304:
        # It names the answer that the client has, which may be one that was encoded (RFC 9110 section 15.4.5).
        if ETAG in headers and f"W/{headers[ETAG]}" in request.headers.get(IF_NONE_MATCH, ""):
            response.lines = [weakened(b"\r\n".join(response.lines))]
            if not told and (line := varying(headers)) is not None:
                response.lines.append(line)
        return response
    choice = request.head.coding()
    length = headers.get(CONTENT_LENGTH)
    if length is not None and int(length) < compression.least and not choice.refused:
        return response
    if not compression.may_encode(response.status, headers):
        return response
    if not told and (line := varying(headers)) is not None:
        response.lines.append(line)
    return response if choice.coding == IDENTITY else EncodedAnswer(response, choice, compression)
