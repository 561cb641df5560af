"""Answers and requests for the tests of what decides about them."""

from __future__ import annotations

from multidict import CIMultiDict, CIMultiDictProxy

from aiogateway.caching.entry import Entry
from aiogateway.caching.storing import Asked, entry_of

# Seconds since the epoch, and the same as a date.
NOW = 784111777.0
NOW_DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


def headers(*lines: str) -> CIMultiDictProxy[str]:
    """Fields of whole lines."""
    found: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, _, value = line.partition(":")
        found.add(name, value.strip())
    return CIMultiDictProxy(found)


def raw(*lines: str) -> bytes:
    """A head's lines."""
    return "\r\n".join(lines).encode()


def asked(
    *lines: str, authorized: bool = False, by_route: float | None = None, at: float = NOW, source: str = "main /"
) -> Asked:
    """What an answer is given to."""
    fields = headers(*lines)
    return Asked(source, lambda name: ", ".join(fields.getall(name, ["\0"])), authorized, by_route, at)


def entry(*lines: str, status: int = 200, size: int = 10, to: Asked | None = None, received: float = NOW) -> Entry:
    """What is stored of an answer that may be."""
    made = entry_of(status, headers(*lines), raw(*lines), to or asked(), received, size=size, encodable=False)
    assert made is not None
    return made
