"""A body of known length on its way from a socket to its reader, past the parser.

aiohttp's parser copies every piece of a body once more. Where the length is known there is nothing to parse: the
pieces can be handed on as the socket gave them, until as many bytes came as were announced.
"""

from __future__ import annotations

from aiohttp.streams import EMPTY_PAYLOAD, StreamReader


def take(reader: StreamReader) -> bytes:
    """What has arrived of a body, as `read_nowait`, with less ado where that is all of it and came in one piece.

    :raises Exception: what was set on the reader.
    """
    if reader is EMPTY_PAYLOAD:
        return b""
    pieces = reader._buffer
    if reader._eof and len(pieces) == 1 and not reader._buffer_offset and reader._exception is None:
        reader._size = 0
        return pieces.popleft()
    return reader.read_nowait()


class PlainBody:
    """The rest of a body.

    :param reader: gets the bytes, and its end.
    :param left: how many bytes are still to come; more than none.
    """

    __slots__ = ("left", "reader")

    def __init__(self, reader: StreamReader, left: int) -> None:
        self.reader = reader
        self.left = left

    def feed(self, data: bytes) -> bytes:
        """Take what belongs to the body; answers what came behind it. `left` is 0 when the body is complete."""
        left = self.left - len(data)
        if left > 0:
            self.left = left
            self.reader.feed_data(data)
            return b""
        body, behind = (data, b"") if left == 0 else (data[:left], data[left:])
        self.left = 0
        self.reader.feed_data(body)
        self.reader.feed_eof()
        return behind
