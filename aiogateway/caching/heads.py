"""Entries as bytes, for stores outside of the process.

Texts are those of fields and URIs, which may be any bytes: each is written as the characters of its bytes.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import orjson

from aiogateway.caching.entry import Entry, Freshness

_TEXTS: Final = ("id", "source", "etag", "modified")
_NAMES: Final = frozenset(field.name for field in dataclasses.fields(Entry))


def written(entry: Entry) -> bytes:
    """An entry as bytes."""
    head: dict[str, Any] = {name: getattr(entry, name) for name in _NAMES}
    head |= {name: _out(head[name]) for name in _TEXTS}
    head["lines"] = entry.lines.decode("latin-1")
    head["freshness"] = [*entry.freshness]
    head["vary"] = [[_out(name), _out(digest)] for name, digest in entry.vary]
    head["tags"] = [_out(tag) for tag in entry.tags]
    return orjson.dumps(head)


def read(raw: bytes) -> Entry | None:
    """The entry that `written` wrote; None if these bytes are none."""
    try:
        head = orjson.loads(raw)
        return _entry(head) if isinstance(head, dict) and head.keys() == _NAMES else None
    except (ValueError, TypeError):  # of what is no text, no list, or none of ours
        return None


def _entry(head: dict[str, Any]) -> Entry:
    """:raises ValueError: a value is not of its kind.
    :raises TypeError: likewise.
    """
    lifetime, age, validate, strict, revalidating, if_error = head["freshness"]
    return Entry(
        id=_in(head["id"]),
        source=_in(head["source"]),
        etag=_in(head["etag"]),
        modified=_in(head["modified"]),
        received=_seconds(head["received"]),
        until=_seconds(head["until"]),
        status=_whole(head["status"]),
        lines=_text(head["lines"]).encode("latin-1"),
        vary=tuple((_in(name), _in(digest)) for name, digest in head["vary"]),
        freshness=Freshness(
            _seconds(lifetime),
            _seconds(age),
            validate is True,
            strict is True,
            _seconds(revalidating),
            _seconds(if_error),
        ),
        encodable=head["encodable"] is True,
        size=_whole(head["size"]),
        tags=tuple(map(_in, head["tags"])),
    )


def _out(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _in(value: object) -> str:
    return _text(value).encode("latin-1").decode("utf-8", "surrogateescape")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError
    return value


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)
