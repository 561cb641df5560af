"""How the head of a stored answer is written down for other machines: JSON, whose strings hold bytes as latin-1."""

from __future__ import annotations

import math

import orjson

from aiogateway.caching.entry import Entry, Freshness
from aiogateway.proxy.headers import has_control


def written(entry: Entry) -> bytes:
    """An entry as it is kept."""
    return orjson.dumps(
        [
            entry.id,
            entry.status,
            entry.lines.decode("latin-1"),
            [(_told(name), digest) for name, digest in entry.vary],
            _told(entry.source),
            [*entry.freshness],
            _told(entry.etag),
            _told(entry.modified),
            entry.encodable,
            entry.received,
            entry.until,
            entry.size,
            [_told(tag) for tag in entry.tags],
        ]
    )


def read(data: bytes) -> Entry | None:
    """The entry that was written; None when this is none."""
    try:
        name, status, lines, vary, source, terms, etag, modified, encodable, received, until, size, tags = orjson.loads(
            data
        )
        lifetime, age, validate, strict, while_revalidating, if_error = terms
        entry = Entry(
            id=bytes.fromhex(name).hex(),
            status=int(status),
            lines=lines.encode("latin-1"),
            vary=tuple((_read(field), str(digest)) for field, digest in vary),
            source=_read(source),
            freshness=Freshness(
                float(lifetime),
                float(age),
                bool(validate),
                bool(strict),
                float(while_revalidating),
                float(if_error),
            ),
            etag=_read(etag),
            modified=_read(modified),
            encodable=bool(encodable),
            received=float(received),
            until=float(until),
            size=int(size),
            tags=tuple(map(_read, tags)),
        )
    except (ValueError, TypeError, AttributeError):
        return None
    moments = (entry.received, entry.until, *entry.freshness)
    right = 200 <= entry.status <= 599 and entry.size >= 0 and all(map(math.isfinite, moments))
    return entry if right and not has_control(entry.lines) else None


def _told(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _read(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "surrogateescape")
