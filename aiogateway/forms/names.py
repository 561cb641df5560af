"""Whether a field's name is the wanted one, another, or one that some service takes for the wanted one."""

from __future__ import annotations

import enum
import re
from typing import Final
from urllib.parse import unquote_to_bytes


class UnsupportedForm(Exception):
    """The body is in a form, or a coding, that isn't read here."""


class MalformedForm(Exception):
    """The body is broken, or can be read in more than one way."""


class Spelling(enum.Enum):
    """How a name compares with the wanted one."""

    EXACT = enum.auto()
    ALIKE = enum.auto()
    OTHER = enum.auto()


# Bytes that a name, or the value of the wanted field, may have.
LONGEST: Final = 64 * 1024
# Fields that a form or an object may have, for each costs some microseconds. Of a form's, Starlette reads 1000 beside
# 1000 files, and others fewer.
MOST_FIELDS: Final = 2000

# What some drop of a name: controls, halves of pairs, and the dot that is left of a Turkish capital I in lower case.
# A byte order mark is dropped by whoever decodes with one in mind.
_DROPPED: Final = re.compile("[\0-\x1f\x7f\u0307\ufeff\ud800-\udfff]")
# Rack 2 drops brackets before a name and behind it, PHP reads single quotes as quotes, e-mail parsers drop `<>`,
# JavaScript's URLSearchParams a question mark.
_AROUND: Final = " []'\"<>?"
# Where an index begins in PHP, Rails and Express, or a member in Spring and ASP.NET.
_INDEX: Final = re.compile(r"[\[\].]")
# PHP reads `a.b`, `a b` and `a[b` as `a_b` (its manual, "Variables From External Sources").
_AS_UNDERSCORE: Final = str.maketrans({".": "_", " ": "_", "-": "_", "[": "_", "]": None})


def folded(name: str) -> str:
    """What spellings of a name that differ in case, or in what can't be seen, have in common.

    Upper case comes first, as in Java's `equalsIgnoreCase`, for which a dotless i is an i.
    """
    return _DROPPED.sub("", name.upper().casefold()).strip()


def checked(value: bytes) -> bytes:
    """The field's value, as it is.

    :raises MalformedForm: it is no UTF-8, or has a NUL: some drop such bytes, or what follows them.
    """
    try:
        value.decode()
    except UnicodeDecodeError:
        raise MalformedForm from None
    if b"\0" in value:
        raise MalformedForm
    return value


class Wanted:
    """The name of the field that is looked for in a form."""

    __slots__ = ("_folded", "name")

    def __init__(self, name: str) -> None:
        self.name = name.encode()
        self._folded = folded(name).translate(_AS_UNDERSCORE)

    def spelling(self, name: bytes) -> Spelling:
        """:param name: as it stands in the form, decoded once; some decode twice, and drop what is no UTF-8."""
        if name == self.name:
            return Spelling.EXACT
        text = folded(unquote_to_bytes(name).decode("utf-8", "ignore")).strip(_AROUND)
        readings = (text, _INDEX.split(text, maxsplit=1)[0].rstrip())
        alike = any(reading.translate(_AS_UNDERSCORE) == self._folded for reading in readings)
        # A NUL ends a name in C, wherever it stands.
        return Spelling.ALIKE if alike or b"\0" in name else Spelling.OTHER
