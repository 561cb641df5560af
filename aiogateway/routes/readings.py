"""The lax readings of a path: what upstreams that take no trouble would make of it.

Upstreams decode twice, fold case, compatible characters and slashes, and cut off what stands behind `;` and trailing
dots and spaces, each in its own way (RFC 3986 section 6.2 calls some of it normalization). A path of which a lax
reading means another route than the path itself would meet that route's upstream without that route's policy: the
table refuses it. What can only be an attempt at that is refused here.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import unquote_to_bytes

from aiogateway.errors import Problem

DOTS: Final = frozenset({".", ".."})
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
# Escapes within escapes that are followed; nobody has a reason for more.
_DEPTH: Final = 2
_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")
# UTF-8 that is longer than it has to be (RFC 3629 section 3): bytes that are no UTF-8 are decoded to surrogates.
_OVERLONG: Final = re.compile(
    "[\udcc0\udcc1]|\udce0[\udc80-\udc9f]|\udcf0[\udc80-\udc8f]|\udcf8[\udc80-\udc87]|\udcfc[\udc80-\udc83]"
)
_SURROGATES: Final = re.compile("[\udc80-\udcff]+")
# Where another part of a target may seem to begin, and where segments may have less to them than they show.
_CUT: Final = re.compile(r"[;?#].*", re.DOTALL)
_LOOSE: Final = re.compile(r"[;?# ]|\.(?:/|$)")


def decode(text: str) -> str:
    """Percent-decode once; bytes that are no UTF-8 become surrogates."""
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def lax_readings(segments: list[str]) -> list[list[str]]:
    """What lax upstreams make of a path, each in segments, none of them empty but the last after a slash at the end.

    :param segments: decoded once.
    :raises Problem: `bad_request`: it is encoded in a way that only hides, or, read so, has a segment `.` or `..`.
    """
    readings: list[list[str]] = []
    for decoded in _decoded_on("/".join(segments)):
        if _OVERLONG.search(decoded) is not None:
            raise Problem("bad_request", "the path has an overlong encoding")
        alike = decoded if decoded.isascii() else _compatible(decoded)
        readings += [_joined(fold(text).split("/")) for text in {decoded, alike}]
        if _LOOSE.search(alike) is not None:
            cut = [_CUT.sub("", segment) for segment in fold(alike).split("/")]
            readings += [_joined(cut), _joined([segment.strip(" ").rstrip(". ") for segment in cut])]
    if any(segment.replace(" ", "") in DOTS for reading in readings for segment in reading):
        raise Problem("bad_request", "the path has a segment . or ..")
    return readings


def _compatible(text: str) -> str:
    """A text without bytes that are no UTF-8, and with plain characters for those that only look different.

    Character by character: a long run of combining ones would take quadratic time to bring into order.
    """
    plain = [unicodedata.normalize("NFKC", character) for character in _SURROGATES.sub("", text)]
    return "".join(plain).replace("\\", "/")


def _joined(segments: list[str]) -> list[str]:
    return segments if "" not in segments[:-1] else [*filter(None, segments[:-1]), segments[-1]]


def fold(text: str) -> str:
    """A text without case, whichever way it is taken off: there are letters that only their capitals make equal."""
    return text.upper().casefold()


def _decoded_on(text: str) -> list[str]:
    """A text, and what it is when it is decoded on.

    :raises Problem: `bad_request`: that goes on too deep, or hides a control character or a backslash.
    """
    texts = [text]
    while _ESCAPE.search(text) is not None:
        text = decode(text)
        texts.append(text)
        if len(texts) > 1 + _DEPTH or CONTROL.search(text) is not None:
            raise Problem("bad_request", "the path is encoded several times")
    return texts
