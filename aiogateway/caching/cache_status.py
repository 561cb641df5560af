"""What an answer says of the cache's part in it (RFC 9211), and what metrics and the access log call that."""

from __future__ import annotations

from typing import Final

NAME: Final = "aiogateway"

# What metrics and the access log call it.
HIT: Final = "hit"
STALE: Final = "stale"
REVALIDATED: Final = "revalidated"
COLLAPSED: Final = "collapsed"
MISS: Final = "miss"
BYPASS: Final = "bypass"
RESULTS: Final = (HIT, STALE, REVALIDATED, COLLAPSED, MISS, BYPASS)

_HIT: Final = b"Cache-Status: %b; hit; ttl=%%d\r\nAge: %%d" % NAME.encode()

# Why a request goes on (RFC 9211 section 2.2).
FWD_BYPASS: Final = "bypass"
FWD_REQUEST: Final = "request"
FWD_STALE: Final = "stale"
FWD_URI_MISS: Final = "uri-miss"
FWD_VARY_MISS: Final = "vary-miss"


def hit_lines(ttl: float, age: float) -> bytes:
    """The lines of a stored answer: what the cache did, and its age.

    :param ttl: seconds for which it is fresh yet; below 0 for a stale one.
    :param age: in seconds.
    """
    return _HIT % (ttl // 1, age)


def forward_line(
    reason: str, status: int | None = None, *, stored: bool = False, collapsed: bool = False, detail: str = ""
) -> bytes:
    """The line of an answer for which the upstream was asked.

    :param reason: a `FWD_…`.
    :param status: of the upstream's answer; None when there was none.
    :param stored: whether the store has the answer now.
    :param collapsed: whether it was asked for another client's request.
    :param detail: one word more.
    """
    parts = [NAME, f"fwd={reason}"]
    if status is not None:
        parts.append(f"fwd-status={status}")
    parts += [word for word, said in (("stored", stored), ("collapsed", collapsed)) if said]
    if detail:
        parts.append(f"detail={detail}")
    return f"Cache-Status: {'; '.join(parts)}".encode()
