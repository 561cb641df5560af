"""Where the events of an event stream end (HTML, "Server-sent events", section 9.2.5), and the last one of ours.

Rules: nothing is held back to find out; only the last few bytes are remembered.
"""

from __future__ import annotations

import re
from typing import Final

from aiogateway.errors import Problem

# An empty line. The line ends are atomic: CR LF is one, not two.
_BLANK: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_KEPT: Final = 3


class Boundary:
    """Follows a stream.

    :ivar between: whether what came so far ends between two events.
    """

    __slots__ = ("_tail", "between")

    def __init__(self) -> None:
        self.between = True
        self._tail = b""

    def feed(self, chunk: bytes) -> None:
        """Take note of what came."""
        self._tail = (self._tail + chunk[-_KEPT - 1 :])[-_KEPT - 1 :]
        self.between = self._tail.replace(b"\r\n", b"\n").replace(b"\r", b"\n").endswith(b"\n\n")

    def first_in(self, chunk: bytes) -> int:
        """After how many bytes of what comes next an event ends; -1 when none does."""
        for found in _BLANK.finditer(self._tail + chunk):
            if found.end() > len(self._tail):
                return found.end() - len(self._tail)
        return -1


def last_event(problem: Problem, request_id: str) -> bytes:
    """The event that tells why a stream ends."""
    return b"event: error\ndata: %b\n\n" % problem.body(request_id)
