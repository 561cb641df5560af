"""One member of a JSON object (RFC 8259), as the object comes.

Rules: the object is UTF-8 and nothing stands around it but blanks. Members at its top count, the others are passed by
without being kept, but no further than every parser agrees on where strings and brackets end: comments and single
quotes, which some read, are refused. A value is a string, or a whole number that all read exactly. Names that differ in
case only can be read in two ways, for some services take either.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Mapping
from typing import Final

from aiogateway.forms.names import LONGEST, MOST_FIELDS, MalformedForm, checked, folded

# Brackets within brackets; Python's own parser and many others give up at about as many.
DEEPEST: Final = 1000
# RFC 7493 section 2.2: what a double holds exactly, as JavaScript reads any number.
LARGEST: Final = 2**53 - 1

_BLANKS: Final = re.compile(rb"[ \t\r\n]*+")
# Groups are repeated within (?>...), not by *+: before 3.11.5, Python keeps what a repetition that failed had taken.
_STRING: Final = rb'[^"\\]*+(?>(?:\\.[^"\\]*+)*)'
_STRING_END: Final = re.compile(_STRING + rb'(")?', re.DOTALL)
_SCALAR: Final = re.compile(rb"[-+.0-9A-Za-z]*+")
_INTEGER: Final = re.compile(rb"0|-?[1-9][0-9]{0,15}")
# All that may stand between brackets; lists and objects of nothing deeper are passed at once.
_PLAIN: Final = rb'[-+.0-9A-Za-z ,:\t\r\n]++|"%b"' % _STRING
_FLAT: Final = re.compile(rb"(?>(?:%b)*)" % _PLAIN, re.DOTALL)
_NESTED: Final = re.compile(rb"(?>(?:%b|\[(?>(?:%b)*)\]|\{(?>(?:%b)*)\})*)" % (_PLAIN, _PLAIN, _PLAIN), re.DOTALL)
_CLOSING: Final = {b"{": b"}", b"[": b"]"}


class JsonScanner:
    """Finds one member of an object that comes bit by bit; `_step` reads what comes next, at `_at` in `_data`."""

    def __init__(self, field: str) -> None:
        self.values: list[bytes] = []
        self.settled = False
        self.late = False
        self._field = field
        self._folded = folded(field)
        self._check_text = codecs.getincrementaldecoder("utf-8")().decode
        self._data = b""
        self._at = 0
        self._members = 0
        self._open: list[bytes] = []  # what closes the brackets that are open in the value that is passed by
        self._wanted = False  # whether the value that comes next is the field's
        self._kept: bytearray | None = None  # of the string or number at hand, if it matters
        self._ended: Callable[[], None] = self._end_name  # what becomes of the string at hand
        self._step: Callable[[], bool] = self._opening

    def feed(self, data: bytes) -> None:
        """Look at more.

        :raises MalformedForm: this is no JSON object, or can be read in two ways.
        """
        try:
            self._check_text(data)
        except UnicodeDecodeError:
            raise MalformedForm from None
        self._data, self._at = self._data[self._at :] + data, 0
        while self._at < len(self._data) and self._step():
            pass

    def finish(self) -> None:
        """The body ended.

        :raises MalformedForm: the object isn't complete.
        """
        if self._step != self._behind:
            raise MalformedForm
        self.settled = True

    def _symbol(self) -> bytes:
        """The next byte that is no blank; nothing when it hasn't come yet."""
        found = _BLANKS.match(self._data, self._at)
        end = self._at if found is None else found.end()
        self._at = end + 1
        return self._data[end : end + 1]

    def _expect(self, steps: Mapping[bytes, Callable[[], bool]]) -> bool:
        symbol = self._symbol()
        if not symbol:
            return False
        if symbol not in steps:
            raise MalformedForm
        self._step = steps[symbol]
        if symbol == b'"':
            self._kept, self._ended = bytearray(), self._end_name
        return True

    def _opening(self) -> bool:
        return self._expect({b"{": self._first_name})

    def _first_name(self) -> bool:
        return self._expect({b"}": self._behind, b'"': self._string})

    def _next_name(self) -> bool:
        return self._expect({b'"': self._string})

    def _colon(self) -> bool:
        return self._expect({b":": self._value})

    def _comma(self) -> bool:
        return self._expect({b",": self._next_name, b"}": self._behind})

    def _behind(self) -> bool:
        return self._expect({})

    def _value(self) -> bool:
        symbol = self._symbol()
        self._kept = bytearray() if self._wanted else None
        if symbol == b'"':
            self._ended, self._step = self._end_value, self._string
        elif symbol in _CLOSING:
            if self._wanted:
                raise MalformedForm
            self._open, self._step = [_CLOSING[symbol]], self._nested
        elif symbol:
            self._at -= 1
            if not _SCALAR.fullmatch(symbol):
                raise MalformedForm
            self._step = self._scalar
        return bool(symbol)

    def _keep(self, end: int) -> None:
        if self._kept is not None:
            self._kept += self._data[self._at : end]
            if len(self._kept) > LONGEST:
                raise MalformedForm

    def _string(self) -> bool:
        """More of a string, behind its opening mark."""
        found = _STRING_END.match(self._data, self._at)
        if found is None:  # it matches nothing at the least
            raise MalformedForm
        closed = found[1] is not None
        self._keep(found.end() - closed)
        self._at = found.end()  # a backslash at the end stays, for what it escapes
        if closed:
            self._ended()
        return closed

    def _text(self) -> str:
        """The string at hand, which has ended."""
        try:
            text: str = json.loads('"' + bytes(self._kept or b"").decode() + '"')
        except ValueError:  # a control character, an unknown escape
            raise MalformedForm from None
        return text

    def _end_name(self) -> None:
        name = self._text()
        self._members += 1
        if self._members > MOST_FIELDS:
            raise MalformedForm
        self._wanted = name == self._field
        # A NUL ends a name in C, wherever it stands.
        if not self._wanted and ("\0" in name or folded(name) == self._folded):
            raise MalformedForm
        self._step = self._colon

    def _end_value(self) -> None:
        if self._wanted:
            self._found(checked(self._text().encode("utf-8", "surrogatepass")))
        self._step = self._comma

    def _found(self, value: bytes) -> None:
        if len(self.values) < 2:
            self.values.append(value)

    def _scalar(self) -> bool:
        """More of a number or a word; whatever follows it ends it."""
        found = _SCALAR.match(self._data, self._at)
        end = self._at if found is None else found.end()
        self._keep(end)
        self._at = end
        if end == len(self._data):
            return False
        if self._kept is not None:
            if not _INTEGER.fullmatch(self._kept) or abs(int(self._kept)) > LARGEST:
                raise MalformedForm
            self._found(bytes(self._kept))
        self._step = self._comma
        return True

    def _nested(self) -> bool:
        """More of a list or an object, which is passed by."""
        data, at, closing = self._data, self._at, self._open
        while closing:
            found = (_NESTED if len(closing) < DEEPEST else _FLAT).match(data, at)
            at = at if found is None else found.end()
            symbol = data[at : at + 1]
            at += 1
            if symbol in _CLOSING and len(closing) < DEEPEST:
                closing.append(_CLOSING[symbol])
            elif symbol == b'"':
                self._kept, self._ended, self._step = None, self._end_nested_string, self._string
                break
            elif not symbol:
                break
            elif symbol != closing.pop():
                raise MalformedForm
        else:
            self._step = self._comma
        self._at = at
        return bool(symbol)

    def _end_nested_string(self) -> None:
        self._step = self._nested
