"""What a body says it is: its media type with parameters, and its coding (RFC 9110 section 8.3)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from aiogateway.forms.names import UnsupportedForm

TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TYPE: Final = re.compile(rf"({TOKEN}/{TOKEN})[ \t]*")
# A `;` in quotes ends the value for those who don't know of quotes.
_PARAMETER: Final = re.compile(rf';[ \t]*(?:({TOKEN})=(?:({TOKEN})|"([^"\\;]*)")[ \t]*)?')

UTF_8: Final = frozenset({"utf-8", "utf8", "us-ascii"})


class Media(NamedTuple):
    """A media type in lower case, and its parameters by name in lower case."""

    type: str
    parameters: Mapping[str, str]


def parse(value: str) -> Media:
    """Read a `Content-Type`.

    :raises UnsupportedForm: it is malformed, or a parameter comes twice, or in the parts or charset of RFC 2231.
    """
    text = value.strip(" \t")
    start = _TYPE.match(text)
    if start is None:
        raise UnsupportedForm
    parameters: dict[str, str] = {}
    at = start.end()
    while at < len(text):
        found = _PARAMETER.match(text, at)
        if found is None:
            raise UnsupportedForm
        at = found.end()
        if found[1] is not None:
            name = found[1].lower()
            if name in parameters or "*" in name:
                raise UnsupportedForm
            parameters[name] = found[3] if found[2] is None else found[2]
    return Media(start[1].lower(), parameters)


def media_of(content_types: Sequence[str], content_encodings: Sequence[str]) -> Media:
    """What a request's body is.

    :param content_types: the values of its `Content-Type` fields.
    :param content_encodings: of its `Content-Encoding` fields.
    :raises UnsupportedForm: there isn't exactly one type, or the body is encoded.
    """
    if len(content_types) != 1 or any(value.strip().lower() not in ("identity", "") for value in content_encodings):
        raise UnsupportedForm
    return parse(content_types[0])


def check_charset(media: Media, known: Collection[str]) -> None:
    """:raises UnsupportedForm: the text is in a charset in which names could be other bytes."""
    if media.parameters.get("charset", "utf-8").lower() not in known:
        raise UnsupportedForm
