"""`application/x-www-form-urlencoded` (URL standard, section 5.1), and queries.

Rules: pairs stand between `&`. Some services split at `;` as well, so a pair with both a `;` and the field in it can be
read in two ways.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from aiogateway.forms.names import LONGEST, MalformedForm, Spelling, spelling

_SEPARATOR: Final = re.compile(rb"[&;]")
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def decoded(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))


class UrlencodedScanner:
    """Finds one field in pairs that come bit by bit.

    `_carry` is a piece whose end hasn't come; a piece is what stands between two separators of either kind.
    """

    def __init__(self, field: bytes) -> None:
        self.values: list[bytes] = []
        self.settled = False
        self.late = False
        self._field = field
        self._carry = b""
        self._skipping = False
        self._split = False  # whether a `;` stands in this pair
        self._pending: bytes | None = None  # the field's value, until the pair's end shows that no `;` follows

    def feed(self, data: bytes) -> None:
        """Look at more.

        :raises MalformedForm: the field can be read in two ways.
        """
        data = self._carry + data
        at = 0
        for separator in _SEPARATOR.finditer(data):
            if not self._skipping:
                self._piece(data[at : separator.start()])
            self._skipping = False
            at = separator.end()
            self._separated(separator[0] == b";")
        self._keep(b"" if self._skipping else data[at:])

    def finish(self) -> None:
        """The form ended.

        :raises MalformedForm: the field can be read in two ways.
        """
        if not self._skipping:
            self._piece(self._carry)
        self._carry = b""
        self._separated(False)
        self.settled = True

    def _keep(self, rest: bytes) -> None:
        """Keep the beginning of a piece, unless it is known already that it is another field."""
        if len(rest) > LONGEST:
            name, equals, _ = rest.partition(b"=")
            if not equals or spelling(decoded(name), self._field) is not Spelling.OTHER:
                raise MalformedForm
            self._skipping, rest = True, b""
        self._carry = rest

    def _piece(self, piece: bytes) -> None:
        name, _, value = piece.partition(b"=")
        if len(name) > LONGEST:
            raise MalformedForm
        found = spelling(decoded(name), self._field)
        if found is Spelling.OTHER:
            return
        if found is Spelling.ALIKE or self._split or len(value) > LONGEST or _BAD_ESCAPE.search(piece):
            raise MalformedForm
        self._pending = decoded(value)

    def _separated(self, by_semicolon: bool) -> None:
        if self._pending is not None:
            if by_semicolon:
                raise MalformedForm
            if len(self.values) < 2:
                self.values.append(self._pending)
            self._pending = None
        self._split = by_semicolon


def without(field: bytes, body: bytes) -> bytes:
    """A form without a field's pairs; the others stay byte for byte."""
    pairs = body.split(b"&")
    return b"&".join(pair for pair in pairs if decoded(pair.partition(b"=")[0]) != field)
