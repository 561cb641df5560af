"""Where events of a stream end (WHATWG HTML, "Parsing an event stream"): a pure reading, whatever chunks it comes in.

An event ends with a blank line, which is two line ends in a row. A line ends with LF, CR or both; a CR behind an LF is
taken for the beginning of both.
"""

from __future__ import annotations

import re
from typing import Final

from aiogateway.errors import Problem

# Given between two events (WHATWG HTML, "Authoring notes"): to whoever reads a stream it is nothing.
COMMENT: Final = b": keep-alive\n\n"
# May stand before all of a stream, and means nothing there.
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
# Looked for at every place: the end of one may be the beginning of the next.
_END: Final = re.compile(rb"(?=(\n\n|\r\r|\n\r\n))")
_ENDS: Final = (b"\n\n", b"\r\r", b"\n\r\n")


class Events:
    """What was given on of an event stream.

    :ivar between: whether it stands between two events; it does at its beginning.
    """

    __slots__ = ("_tail", "between")

    def __init__(self) -> None:
        self._tail = b""
        self.between = True

    def feed(self, chunk: bytes) -> None:
        """Take note of what is given on."""
        if chunk:
            self._tail = (self._tail + chunk[-3:])[-3:] if len(chunk) < 3 else chunk[-3:]
            self.between = self._tail.endswith(_ENDS)

    def end_in(self, chunk: bytes) -> int:
        """How many bytes of what comes next belong to the event that has begun; 0 when it goes on behind them."""
        known = len(self._tail)
        for found in _END.finditer(self._tail + chunk):
            if found.end(1) > known:
                return found.end(1) - known
        return 0


def last_event(problem: Problem, request_id: str) -> bytes:
    """The event that says why a stream ends."""
    return b"event: error\ndata: %b\n\n" % problem.body(request_id)
