"""Temporary."""

from __future__ import annotations

from collections.abc import Sequence

from aiogateway.caching.entry import Entry, Key
from aiogateway.compression import IDENTITY


class MemoryStore:
    def __init__(self) -> None:
        self.entries: dict[Key, list[Entry]] = {}
        self.bodies: dict[tuple[str, str], bytes] = {}

    def mark(self) -> int:
        return 0

    async def find(self, key: Key) -> Sequence[Entry]:
        return self.entries.get(key, ())

    def used(self, key: Key, entry: Entry) -> None:
        pass

    async def body(self, key: Key, entry: Entry, coding: str = IDENTITY) -> bytes | None:
        return self.bodies.get((entry.id, coding))

    async def keep(self, key: Key, entry: Entry, body: bytes, since: int) -> bool:
        rest = [e for e in self.entries.get(key, []) if (e.vary, e.source) != (entry.vary, entry.source)]
        self.entries[key] = [entry, *rest]
        self.bodies[entry.id, IDENTITY] = body
        return True

    async def keep_coded(self, key: Key, entry: Entry, coding: str, body: bytes) -> None:
        self.bodies[entry.id, coding] = body

    async def renew(self, key: Key, entry: Entry, renewed: Entry) -> None:
        self.entries[key] = [renewed, *(e for e in self.entries.get(key, []) if e.id != entry.id)]

    async def remove(self, key: Key, entry: Entry) -> None:
        self.entries[key] = [e for e in self.entries.get(key, []) if e.id != entry.id]

    async def drop(self, key: Key) -> None:
        self.entries.pop(key, None)

    async def purge(self, *, path: str | None = None, tag: str | None = None) -> None:
        self.entries.clear()

    async def close(self) -> None:
        pass
