"""One member of a JSON object (RFC 8259), as the object comes.

Rules: the object is UTF-8 and nothing stands around it but blanks. Members at its top count, the others are passed by
without being kept. A value is a string or a whole number; names that differ in case only can be read in two ways, for
some services take either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Final

from aiogateway.forms.names import LONGEST, MalformedForm

_SYMBOL: Final = re.compile(rb"[ \t\r\n]*+([^ \t\r\n])?", re.DOTALL)
_STRUCTURE: Final = re.compile(rb'["{}\[\]]')
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_STRING_END: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+(")?', re.DOTALL)
_SCALAR: Final = re.compile(rb"[-+.0-9A-Za-z]+")
_INTEGER: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)")


class JsonScanner:
    """Finds one member of an object that comes bit by bit; `_step` reads what comes next, at `_at` in `_data`."""

    def __init__(self, field: str) -> None:
        self.values: list[bytes] = []
        self.settled = False
        self.late = False
        self._field = field
        self._data = b""
        self._at = 0
        self._depth = 0
        self._wanted = False  # whether the value that comes next is the field's
        self._step: Callable[[], bool] = self._opening

    def feed(self, data: bytes) -> None:
        """Look at more.

        :raises MalformedForm: this is no JSON object, or can be read in two ways.
        """
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
        """The next byte that is no blank; nothing when it hasn't come yet. A quotation mark is not taken."""
        found = _SYMBOL.match(self._data, self._at)
        if found is None or found[1] is None:
            self._at = len(self._data)
            return b""
        self._at = found.start(1) if found[1] == b'"' else found.end()
        return found[1]

    def _expect(self, steps: Mapping[bytes, Callable[[], bool]]) -> bool:
        symbol = self._symbol()
        if symbol and symbol not in steps:
            raise MalformedForm
        self._step = steps.get(symbol, self._step)
        return bool(symbol)

    def _opening(self) -> bool:
        return self._expect({b"{": self._first_name})

    def _first_name(self) -> bool:
        return self._expect({b"}": self._behind, b'"': self._name})

    def _next_name(self) -> bool:
        return self._expect({b'"': self._name})

    def _colon(self) -> bool:
        return self._expect({b":": self._value})

    def _comma(self) -> bool:
        return self._expect({b",": self._next_name, b"}": self._behind})

    def _behind(self) -> bool:
        if self._symbol():
            raise MalformedForm
        return False

    def _name(self) -> bool:
        name = self._string()
        if name is None:
            return False
        self._wanted = name == self._field
        if not self._wanted and name.casefold().strip() == self._field.casefold():
            raise MalformedForm
        self._step = self._colon
        return True

    def _string(self) -> str | None:
        """A whole string, or None while its end hasn't come."""
        found = _STRING.match(self._data, self._at)
        if found is None:
            if len(self._data) - self._at > LONGEST:
                raise MalformedForm
            return None
        self._at = found.end()
        if len(found[0]) > LONGEST:
            raise MalformedForm
        try:
            text: str = json.loads(found[0])
        except ValueError:  # not UTF-8, a control character, an unknown escape
            raise MalformedForm from None
        return text

    def _value(self) -> bool:
        symbol = self._symbol()
        if symbol == b'"':
            if self._wanted:
                self._step = self._wanted_string
            else:
                self._at += 1
                self._step = self._passing_string
        elif symbol in (b"{", b"["):
            if self._wanted:
                raise MalformedForm
            self._depth, self._step = 1, self._passing
        elif symbol:
            self._at -= 1
            self._step = self._scalar
        return bool(symbol)

    def _wanted_string(self) -> bool:
        text = self._string()
        if text is None:
            return False
        self._found(text.encode("utf-8", "surrogatepass"))
        return True

    def _found(self, value: bytes) -> None:
        if len(self.values) < 2:
            self.values.append(value)
        self._step = self._comma

    def _scalar(self) -> bool:
        """A number or a word; whatever follows it ends it."""
        found = _SCALAR.match(self._data, self._at)
        text = found[0] if found else b""
        if not text or len(text) > LONGEST:
            raise MalformedForm
        if self._at + len(text) == len(self._data):
            return False
        self._at += len(text)
        self._step = self._comma
        if self._wanted:
            if _INTEGER.fullmatch(text) is None:
                raise MalformedForm
            self._found(text)
        return True

    def _passing_string(self) -> bool:
        """Pass a string by, of whatever length."""
        found = _STRING_END.match(self._data, self._at)
        if found is None:
            raise MalformedForm
        self._at = found.end()  # a backslash at the end stays, for what it escapes
        if found[1] is None:
            return False
        self._step = self._passing if self._depth else self._comma
        return True

    def _passing(self) -> bool:
        """Pass a nested value by."""
        found = _STRUCTURE.search(self._data, self._at)
        if found is None:
            self._at = len(self._data)
            return False
        self._at = found.end()
        if found[0] == b'"':
            self._step = self._passing_string
            return True
        self._depth += 1 if found[0] in (b"{", b"[") else -1
        if not self._depth:
            self._step = self._comma
        return True
