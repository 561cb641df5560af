"""`multipart/form-data` (RFC 7578, RFC 2046 section 5.1), as it comes.

Rules: only the spelling that browsers use is read; what parsers read differently is refused: blanks behind a delimiter,
bare line ends beside one, delimiters before the first part or behind the last, folded lines, escapes, encodings, names
given twice. The data of
other parts streams by, and is searched for delimiters only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from aiogateway.forms.media import TOKEN, UTF_8, check_charset, parse
from aiogateway.forms.names import LONGEST, MalformedForm, Spelling, UnsupportedForm, spelling

MAX_HEAD: Final = 8 * 1024
MAX_FIELDS: Final = 16
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_LINE: Final = re.compile(rf"({TOKEN}):[ \t]*([^\r\n\0]*)".encode())
_DISPOSITION: Final = re.compile(r"form-data", re.IGNORECASE)
_PARAMETER: Final = re.compile(rf';[ \t]*({TOKEN})=(?:"([^"\r\n]*)"|({TOKEN}))[ \t]*')
_IDENTITY: Final = frozenset({"7bit", "8bit", "binary"})
_HEAD_END: Final = b"\r\n\r\n"


def boundary_of(parameters: Mapping[str, str]) -> bytes:
    """The boundary among a media type's parameters.

    :raises MalformedForm: there is none, or not a valid one.
    """
    boundary = parameters.get("boundary", "")
    if _BOUNDARY.fullmatch(boundary) is None:
        raise MalformedForm
    return boundary.encode()


def read_head(head: bytes, field: bytes) -> tuple[bool, Spelling]:
    """Whether a part is a file, and how its name compares with the wanted one.

    :param head: without its last line end.
    :raises MalformedForm: it can be read in more than one way.
    :raises UnsupportedForm: the part is encoded.
    """
    lines = head.split(b"\r\n")
    fields: dict[str, str] = {}
    for line in lines:
        found = _LINE.fullmatch(line)
        if found is None or len(lines) > MAX_FIELDS or (name := found[1].decode().lower()) in fields:
            raise MalformedForm
        fields[name] = found[2].decode("utf-8", "surrogateescape").strip(" \t")
    name, is_file = _disposed(fields.get("content-disposition", ""))
    raw = name.encode("utf-8", "surrogateescape")
    found_as = spelling(raw, field)
    if found_as is Spelling.ALIKE or (
        found_as is Spelling.OTHER and spelling(unquote_to_bytes(raw), field) is not Spelling.OTHER
    ):
        raise MalformedForm
    kind = parse(fields["content-type"]) if fields.get("content-type") else None
    encoded = fields.get("content-transfer-encoding", "binary").lower() not in _IDENTITY
    if encoded or raw == b"_charset_" or (kind is not None and kind.type.startswith("multipart/")):
        raise UnsupportedForm
    if found_as is Spelling.EXACT:
        if is_file:
            raise MalformedForm
        if kind is not None:
            check_charset(kind, UTF_8)
    return is_file, found_as


def _disposed(value: str) -> tuple[str, bool]:
    """The name in a `Content-Disposition`, and whether a file's name stands beside it (RFC 7578 section 4.2)."""
    start = _DISPOSITION.match(value)
    if start is None:
        raise MalformedForm
    at, parameters = start.end(), dict[str, str]()
    while at < len(value):
        found = _PARAMETER.match(value, at)
        if found is None or (name := found[1].lower()) in parameters:
            raise MalformedForm
        at = found.end()
        parameters[name] = found[3] if found[2] is None else found[2]
        escaped = parameters[name].endswith("\\") or '\\"' in parameters[name]
        if escaped or ("*" in name and name != "filename*"):
            raise MalformedForm
    if "name" not in parameters or "\\" in parameters["name"]:
        raise MalformedForm
    return parameters["name"], "filename" in parameters or "filename*" in parameters


class MultipartScanner:
    """Finds one field among parts that come bit by bit; `_step` reads what comes next, at `_at` in `_data`."""

    def __init__(self, field: bytes, boundary: bytes) -> None:
        self.values: list[bytes] = []
        self.settled = False
        self.late = False
        self._field = field
        self._delimiter = b"--" + boundary
        self._data = b""
        self._at = 0
        self._value: bytearray | None = None  # of the field, while its part is being read
        self._preamble = True
        self._fresh = False  # whether nothing of the part's data was passed yet
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
            self._step = self._content
        elif len(data) < len(delimiter):
            return False
        else:
            self._at, self._step, self._preamble = len(delimiter), self._behind_delimiter, False
        return True

    def _behind_delimiter(self) -> bool:
        """What follows a delimiter: the end of its line, or of the form."""
        end = self._data[self._at : self._at + 2]
        if len(end) < 2:
            return False
        self._at += 2
        if end == b"\r\n":
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
        is_file, found = read_head(self._data[self._at : end], self._field)
        self.late = self.late or (self.settled and found is Spelling.EXACT)
        self.settled = self.settled or is_file
        self._value = bytearray() if found is Spelling.EXACT else None
        self._at, self._fresh, self._step = end + len(_HEAD_END), True, self._content
        return True

    def _content(self) -> bool:
        """A part's data, or the preamble, up to the next delimiter."""
        data, delimiter, start = self._data, self._delimiter, self._at
        at = data.find(delimiter, start)
        while at >= 0:
            before = data[max(at - 2, start) : at]
            if before == b"\r\n":
                self._pass(at - 2)
                self._end_part()
                self._at = at + len(delimiter)
                self._step, self._preamble = self._behind_delimiter, False
                return True
            if before[-1:] in (b"\r", b"\n") or self._preamble or (at == start and self._fresh):
                raise MalformedForm
            at = data.find(delimiter, at + 1)
        # What is last may be a line's end and the beginning of a delimiter.
        self._pass(max(len(data) - len(delimiter) - 1, start))
        return False

    def _pass(self, end: int) -> None:
        if self._value is not None:
            self._value += self._data[self._at : end]
            if len(self._value) > LONGEST:
                raise MalformedForm
        self._fresh = self._fresh and end == self._at
        self._at = end

    def _end_part(self) -> None:
        if self._value is not None and len(self.values) < 2:
            self.values.append(bytes(self._value))
        self._value = None

    def _closed(self) -> bool:
        """The end of the closing delimiter's line, or of everything."""
        end = self._data[self._at : self._at + 2]
        if not b"\r\n".startswith(end):
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


def without(field: bytes, boundary: bytes, body: bytes) -> bytes:
    """A complete form, known to be well-formed, without a field's parts; the others stay byte for byte."""
    delimiter = b"--" + boundary
    starts = [found.start() + 2 for found in re.finditer(re.escape(b"\r\n" + delimiter), body)]
    if body.startswith(delimiter):
        starts.insert(0, 0)
    parts = [body[start:end] for start, end in zip(starts, [*starts[1:], len(body)], strict=True)]
    return body[: starts[0]] + b"".join(part for part in parts if not _is_field(part[len(delimiter) :], field))


def _is_field(part: bytes, field: bytes) -> bool:
    """Whether a part, from behind its delimiter, is that of the field."""
    if not part.startswith(b"\r\n"):
        return False
    return read_head(part[2:].partition(_HEAD_END)[0], field)[1] is Spelling.EXACT
