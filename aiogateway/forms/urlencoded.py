"""`application/x-www-form-urlencoded` (URL standard, section 5.1), and queries.

Rules: pairs stand between `&`. Some services split at `;` as well, so a pair with both a `;` and the field in it can be
read in two ways. So can a name with a broken escape, and a value of the field with one, or with bytes beyond ASCII,
which browsers escape: Starlette takes such bytes for Latin-1.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from aiogateway.forms.names import LONGEST, MOST_FIELDS, MalformedForm, Spelling, Wanted, checked

_SEPARATOR: Final = re.compile(rb"[&;]")
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def decoded(text: bytes | bytearray) -> bytes:
    """:raises MalformedForm: an escape is broken."""
    if _BAD_ESCAPE.search(text):
        raise MalformedForm
    return unquote_to_bytes(bytes(text.replace(b"+", b" ")))


class UrlencodedScanner:
    """Finds one field in pairs that come bit by bit.

    A piece is what stands between two separators of either kind. Its name is kept until it is known, its value if it
    is the field's.
    """

    def __init__(self, field: str) -> None:
        self.values: list[bytes] = []
        self.settled = False
        self.late = False
        self._wanted = Wanted(field)
        self._pieces = 0
        self._split = False  # whether a `;` stands before this piece, in its pair
        self._name = bytearray()
        self._value: bytearray | None = None
        self._passing = False  # whether the piece is known to be another field

    def feed(self, data: bytes) -> None:
        """Look at more.

        :raises MalformedForm: the field can be read in two ways.
        """
        at = 0
        # Looking for one byte is several times faster than for either of two, and long values have neither.
        if b"&" in data or b";" in data:
            for separator in _SEPARATOR.finditer(data):
                self._read(data[at : separator.start()])
                self._end_piece(separator[0] == b";")
                at = separator.end()
        self._read(data[at:] if at else data)

    def finish(self) -> None:
        """The form ended.

        :raises MalformedForm: the field can be read in two ways.
        """
        self._end_piece(False)
        self.settled = True

    def _read(self, text: bytes) -> None:
        """More of a piece."""
        if self._passing:
            return
        if self._value is None:
            name, equals, text = text.partition(b"=")
            self._name += name
            if len(self._name) > LONGEST:
                raise MalformedForm
            if not equals:
                return
            self._judge()
        if self._value is not None:
            self._value += text
            if len(self._value) > LONGEST:
                raise MalformedForm

    def _judge(self) -> None:
        """The name is complete."""
        found = self._wanted.spelling(decoded(self._name))
        if found is Spelling.ALIKE or (found is Spelling.EXACT and self._split):
            raise MalformedForm
        self._passing = found is Spelling.OTHER
        self._value = bytearray() if found is Spelling.EXACT else None

    def _end_piece(self, by_semicolon: bool) -> None:
        self._pieces += 1
        if self._pieces > MOST_FIELDS:
            raise MalformedForm
        if not self._passing and self._value is None and self._name:
            self._judge()
        if self._value is not None:
            if by_semicolon or not self._value.isascii():
                raise MalformedForm
            value = checked(decoded(self._value))
            if len(self.values) < 2:
                self.values.append(value)
        self._split, self._passing, self._value = by_semicolon, False, None
        self._name.clear()


def without(field: str, body: bytes) -> bytes:
    """A form known to be read in one way only, without a field's pairs; the others stay byte for byte."""
    name = field.encode()
    return b"&".join(pair for pair in body.split(b"&") if decoded(pair.partition(b"=")[0]) != name)
