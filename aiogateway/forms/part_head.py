"""The head of one part of a multipart form (RFC 7578 section 4).

Rules: only the spelling that browsers use is read; what parsers read differently is refused: folded lines, controls,
escapes in a name, a name given twice or where only a hasty parser sees it, data that is to be decoded.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from aiogateway.forms.media import TOKEN, UTF_8, check_charset, parse
from aiogateway.forms.names import MalformedForm, Spelling, UnsupportedForm, Wanted

MAX_HEAD: Final = 8 * 1024
MAX_FIELDS: Final = 16
_LINE: Final = re.compile(rf"({TOKEN}):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)".encode())
_DISPOSITION: Final = re.compile(r"form-data", re.IGNORECASE)
_PARAMETER: Final = re.compile(rf';[ \t]*({TOKEN})=(?:"([^"]*)"|({TOKEN}))[ \t]*')
# Some (formidable, multiparty) search for `name=` without regard to quotes and parameters.
_NAMED: Final = re.compile(rb"name[*0-9]*\s*=(?=\s*[\"']?([^\"';,]{0,200}))", re.IGNORECASE)
# More of them than anybody means would cost time in every part.
MOST_NAMED: Final = 8
# Tomcat and ASP.NET decode what RFC 2047 section 2 calls an encoded word, wherever it stands.
ENCODED_WORD: Final = b"=?"
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
# The only codings that leave data as it is, by the field that names them; Starlette decodes nothing, aiohttp does.
_CODINGS: Final = {
    "content-transfer-encoding": frozenset({"7bit", "8bit", "binary"}),
    "content-encoding": frozenset({"identity"}),
}


class Head(NamedTuple):
    """What a part's head says.

    :ivar is_wanted: whether the part is the field.
    :ivar is_file: whether it has a file's name.
    :ivar length: bytes of data it announces; None when it doesn't.
    """

    is_wanted: bool
    is_file: bool
    length: int | None


def read_head(head: bytes, wanted: Wanted) -> Head:
    """Read a part's head.

    :param head: without its last line end.
    :raises MalformedForm: it can be read in more than one way.
    :raises UnsupportedForm: the part is encoded, has parts itself, or sets the form's charset.
    """
    fields = _fields(head)
    name, is_file = _disposed(fields.get("content-disposition", ""))
    found = wanted.spelling(name)
    places = _NAMED.findall(head)
    if len(places) > MOST_NAMED or ENCODED_WORD in name:
        raise MalformedForm
    seen = sum(wanted.spelling(place) is not Spelling.OTHER for place in places)
    if found is Spelling.ALIKE or seen != (found is Spelling.EXACT):
        raise MalformedForm
    kind = fields.get("content-type")
    if (
        name == b"_charset_"
        or any(fields[field].lower() not in known for field, known in _CODINGS.items() if field in fields)
        or (kind is not None and kind.lower().startswith("multipart/"))
    ):
        raise UnsupportedForm
    if found is Spelling.EXACT:
        if is_file:
            raise MalformedForm
        _check_plain(kind)
    return Head(found is Spelling.EXACT, is_file, _length(fields.get("content-length")))


def _fields(head: bytes) -> dict[str, str]:
    lines = head.split(b"\r\n")
    if len(lines) > MAX_FIELDS:
        raise MalformedForm
    fields: dict[str, str] = {}
    for line in lines:
        found = _LINE.fullmatch(line)
        if found is None or (name := found[1].decode().lower()) in fields:
            raise MalformedForm
        fields[name] = found[2].decode("utf-8", "surrogateescape").strip(" \t")
    return fields


def _disposed(value: str) -> tuple[bytes, bool]:
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
        text = parameters[name] = found[3] if found[2] is None else found[2]
        extended = name == "filename*"
        # A backslash before a quotation mark escapes it for some, and ends the value for others; PHP takes what stands
        # between single quotes for quoted.
        quoted = text.endswith("\\") or (found[2] is None and "'" in text and not extended)
        if quoted or ("*" in name and not extended):
            raise MalformedForm
    if "name" not in parameters or "\\" in parameters["name"]:
        raise MalformedForm
    return parameters["name"].encode("utf-8", "surrogateescape"), not parameters.keys().isdisjoint(
        {"filename", "filename*"}
    )


def _check_plain(kind: str | None) -> None:
    """:raises UnsupportedForm: a value is something else than text in UTF-8: some would decode it."""
    if kind is not None:
        media = parse(kind)
        check_charset(media, UTF_8)
        if media.type != "text/plain":
            raise UnsupportedForm


def _length(value: str | None) -> int | None:
    if value is None:
        return None
    if _LENGTH.fullmatch(value) is None:
        raise MalformedForm
    return int(value)
