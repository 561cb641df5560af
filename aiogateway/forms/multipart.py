"""`multipart/form-data` (RFC 7578, RFC 2046 section 5.1), as it comes.

Rules: behind a delimiter its line ends, or the form. A delimiter elsewhere than at a line's beginning, or behind the
form's end, is refused: RFC 2046 keeps it out of data, and some parsers find it there. So is a preamble that looks like
one, which who takes the first line for the delimiter would read. The data of other parts streams by, and is searched
for delimiters only; a length that a part announces must be its own, for some parsers go by it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from aiogateway.forms.media import UTF_8, Media, check_charset
from aiogateway.forms.names import LONGEST, MOST_FIELDS, MalformedForm, UnsupportedForm, Wanted, checked
from aiogateway.forms.part_head import MAX_HEAD, read_head

# RFC 2046 section 5.1.1, without the comma: Rack takes it for the boundary's end, and what follows the last
# `boundary=` for its beginning.
_BOUNDARY: Final = re.compile(r"(?!.*boundary=)[0-9A-Za-z'()+_\-./:=? ]{0,69}[0-9A-Za-z'()+_\-./:=?]", re.IGNORECASE)
_PARAMETERS: Final = frozenset({"boundary", "charset"})
_LINE_END: Final = b"\r\n"
_HEAD_END: Final = b"\r\n\r\n"


def boundary_of(media: Media) -> bytes:
    """The boundary of a form.

    :raises UnsupportedForm: another charset, or another parameter: PHP takes the first that looks like a boundary.
    :raises MalformedForm: there is no boundary, or not a valid one.
    """
    check_charset(media, UTF_8)
    if not media.parameters.keys() <= _PARAMETERS:
        raise UnsupportedForm
    boundary = media.parameters.get("boundary", "")
    if _BOUNDARY.fullmatch(boundary) is None:
        raise MalformedForm
    return boundary.encode()


class MultipartScanner:
    """Finds one field among parts that come bit by bit; `_step` reads what comes next, at `_at` in `_data`."""

    def __init__(self, field: str, boundary: bytes) -> None:
        self.values: list[bytes] = []
        self.settled = False
        self.late = False
        self._wanted = Wanted(field)
        self._delimiter = b"--" + boundary
        self._data = b""
        self._at = 0
        self._parts = 0
        self._passed = 0  # bytes of this part's data
        self._length: int | None = None  # of this part's data, as its head says
        self._value: bytearray | None = None  # of the field, while its part is being read
        self._step: Callable[[], bool] = self._opening

    def feed(self, data: bytes) -> None:
        """Look at more.

        :raises MalformedForm: the form is broken, or can be read in two ways.
        :raises UnsupportedForm: a part is encoded.
        """
        self._data, self._at = self._data[self._at :] + data, 0
        while self._step():
            pass

    def finish(self) -> None:
        """The form ended.

        :raises MalformedForm: it isn't complete.
        """
        ended = self._step == self._epilogue or (self._step == self._closed and self._at == len(self._data))
        if not ended:
            raise MalformedForm

    def _opening(self) -> bool:
        """The first delimiter, or a preamble before it."""
        data, delimiter = self._data, self._delimiter
        if not data.startswith(delimiter[: len(data)]):
            if data.startswith(b"--"):
                raise MalformedForm
            self._step = self._content
        elif len(data) < len(delimiter):
            return False
        else:
            self._at, self._step = len(delimiter), self._behind_delimiter
        return True

    def _behind_delimiter(self) -> bool:
        """What follows a delimiter: the end of its line, or of the form."""
        end = self._data[self._at : self._at + 2]
        if len(end) < 2:
            return False
        self._at += 2
        if end == _LINE_END:
            self._step = self._head
        elif end == b"--":
            self._step, self.settled = self._closed, True
        else:
            raise MalformedForm
        return True

    def _head(self) -> bool:
        end = self._data.find(_HEAD_END, self._at, self._at + MAX_HEAD)
        if end < 0:
            if len(self._data) - self._at >= MAX_HEAD:
                raise MalformedForm
            return False
        text = self._data[self._at : end]
        self._parts += 1
        if self._delimiter in text or self._parts > MOST_FIELDS:
            raise MalformedForm
        head = read_head(text, self._wanted)
        self.late = self.late or (self.settled and head.is_wanted)
        self.settled = self.settled or head.is_file
        self._value = bytearray() if head.is_wanted else None
        self._length, self._passed = head.length, 0
        self._at, self._step = end + len(_HEAD_END), self._content
        return True

    def _content(self) -> bool:
        """A part's data, or the preamble, up to the next delimiter."""
        data, delimiter, start = self._data, self._delimiter, self._at
        at = data.find(delimiter, start)
        if at < 0:
            # What is last may be a line's end and the beginning of a delimiter.
            self._pass(max(len(data) - len(delimiter) - 1, start))
            return False
        if data[max(at - 2, start) : at] != _LINE_END:
            raise MalformedForm
        self._pass(at - 2)
        self._end_part()
        self._at, self._step = at + len(delimiter), self._behind_delimiter
        return True

    def _pass(self, end: int) -> None:
        if self._value is not None:
            self._value += self._data[self._at : end]
            if len(self._value) > LONGEST:
                raise MalformedForm
        self._passed += end - self._at
        self._at = end

    def _end_part(self) -> None:
        if self._length not in (None, self._passed):
            raise MalformedForm
        if self._value is not None:
            value = checked(bytes(self._value))
            if len(self.values) < 2:
                self.values.append(value)
        self._value = None

    def _closed(self) -> bool:
        """The end of the closing delimiter's line, or of everything."""
        end = self._data[self._at : self._at + 2]
        if not _LINE_END.startswith(end):
            raise MalformedForm
        if len(end) < 2:
            return False
        self._at, self._step = self._at + 2, self._epilogue
        return True

    def _epilogue(self) -> bool:
        """What nobody reads, as long as no delimiter is in it."""
        if self._data.find(self._delimiter, self._at) >= 0:
            raise MalformedForm
        self._at = max(len(self._data) - len(self._delimiter), self._at)
        return False


def without(field: str, boundary: bytes, body: bytes) -> bytes:
    """A form known to be read in one way only, without a field's parts; the others stay byte for byte."""
    delimiter, wanted = b"--" + boundary, Wanted(field)
    starts = [found.start() + 2 for found in re.finditer(re.escape(_LINE_END + delimiter), body)]
    if body.startswith(delimiter):
        starts.insert(0, 0)
    parts = [body[start:end] for start, end in zip(starts, [*starts[1:], len(body)], strict=True)]
    return body[: starts[0]] + b"".join(part for part in parts if not _is_wanted(part[len(delimiter) :], wanted))


def _is_wanted(part: bytes, wanted: Wanted) -> bool:
    """Whether a part, from behind its delimiter, is that of the field."""
    return part.startswith(_LINE_END) and read_head(part[2:].partition(_HEAD_END)[0], wanted).is_wanted
