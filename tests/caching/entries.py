"""Entries and keys for tests of what keeps them."""

from __future__ import annotations

from typing import Any, Final

from aiogateway.caching.entry import Entry, Freshness, Key

FRESH: Final = Freshness(60.0, 0.0, False, True, 5.0, 7.5)
NOW: Final = 1_000_000.0


def key_of(path: str = "/v2/plans", query: str = "") -> Key:
    return Key("https://api.example.org", path, query)


def entry_of(id: str = "1", *, body: bytes = b"", until: float = NOW + 100, **changes: Any) -> Entry:
    plain: dict[str, Any] = {
        "status": 200,
        "lines": b"Content-Type: text/plain\r\nX-Latin: \xe9",
        "vary": (),
        "source": "main /plans",
        "freshness": FRESH,
        "etag": '"a"',
        "modified": "",
        "encodable": True,
        "received": NOW,
        "tags": (),
    }
    return Entry(id=id, until=until, size=len(body), **(plain | changes))
