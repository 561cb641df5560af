"""The lax reading of a path: what the laxest of upstreams would make of it.

Upstreams decode twice, fold case, compatible characters and slashes, and cut off what stands behind `;` and trailing
dots and spaces, each in its own way (RFC 3986 section 6.2 calls some of it normalization). A path whose lax reading
means another route than the path itself would meet that route's upstream without that route's policy: the table
refuses it. What can only be an attempt at that is refused here.
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
_LOOSE: Final = re.compile(r"[;?# ]|\.(?:/|$)|//|^/")


def decode(text: str) -> str:
    """Percent-decode once; bytes that are no UTF-8 become surrogates."""
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def lax_reading(segments: list[str]) -> list[str]:
    """What the laxest of upstreams makes of a path.

    :param segments: decoded once.
    :returns: segments, none of them empty but the last, which says that the path ends in a slash.
    :raises Problem: `bad_request`: it is encoded in a way that only hides, or, read so, has a segment `.` or `..`.
    """
    text = "/".join(segments)
    if "%" in text:
        text = _decode_on(text)
    if not text.isascii():
        if _OVERLONG.search(text) is not None:
            raise Problem("bad_request", "the path has an overlong encoding")
        # Character by character: a long run of combining ones would take quadratic time to bring into order.
        whole = [unicodedata.normalize("NFKC", character) for character in _SURROGATES.sub("", text)]
        text = "".join(whole).replace("\\", "/")
    text = fold(text)
    if _LOOSE.search(text) is None:
        return text.split("/")
    *inner, last = [lax_segment(segment) for segment in text.split("/")]
    reading = [*filter(None, inner), last]
    if not DOTS.isdisjoint([segment.replace(" ", "") for segment in reading]):
        raise Problem("bad_request", "the path has a segment . or ..")
    return reading


def fold(text: str) -> str:
    """A text without case, whichever way it is taken off: there are letters that only their capitals make equal."""
    return text.upper().casefold()


def lax_segment(text: str) -> str:
    """One segment without what an upstream may cut off. Dots alone stay what they are."""
    text = fold(_CUT.sub("", text)).strip(" ")
    return text.rstrip(". ") or text


def _decode_on(text: str) -> str:
    """Decode what was encoded more than once.

    :raises Problem: `bad_request`: that goes on too deep, or hides a control character or a backslash.
    """
    for _ in range(_DEPTH):
        if _ESCAPE.search(text) is None:
            break
        text = decode(text)
    if _ESCAPE.search(text) is not None or CONTROL.search(text) is not None:
        raise Problem("bad_request", "the path is encoded several times")
    return text
