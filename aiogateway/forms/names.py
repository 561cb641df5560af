"""Whether a field's name is the wanted one, another, or one that some service takes for the wanted one."""

from __future__ import annotations

import enum
import re
from typing import Final


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
# PHP reads `a.b`, `a b` and `a-b`... as one name with `_`, and what stands in brackets as an index (its manual,
# "Variables From External Sources"); Rails and Express know the brackets too. A NUL ends names in C.
_INDEX: Final = re.compile(rb"[\[\0].*", re.DOTALL)
_AS_UNDERSCORE: Final = bytes.maketrans(b". -", b"___")


def folded(name: bytes) -> bytes:
    """What all spellings of a name have in common."""
    bare = _INDEX.sub(b"", name.strip()).strip()
    return bare.decode("utf-8", "replace").casefold().encode().translate(_AS_UNDERSCORE)


def spelling(name: bytes, wanted: bytes) -> Spelling:
    """:param name: as it stands in the form, decoded."""
    if name == wanted:
        return Spelling.EXACT
    # Most names are others at first sight: they begin with another letter, or are shorter.
    return Spelling.ALIKE if len(name) >= len(wanted) and folded(name) == folded(wanted) else Spelling.OTHER
