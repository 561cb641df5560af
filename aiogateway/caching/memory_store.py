"""Answers in a worker's own memory, bounded in bytes.

Owns the answers, by key and variant. Rules:

- What is given up when room is needed is one variant with all its bodies (`eviction`).
- A variant weighs what the C library sets aside for its bodies, its head and its key, and `OVERHEAD` for the objects
  around them.
- What was dropped, by other workers too, is forgotten before anything is found (`notices`), what was purged is found no
  more (`purges`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Final

from aiogateway import linux
from aiogateway.caching.entry import Entry, Key
from aiogateway.caching.eviction import Item, Queues
from aiogateway.caching.notices import DROP, Notices, name_of
from aiogateway.caching.purges import Purges
from aiogateway.compression import IDENTITY
from aiogateway.linux import Buffer

# Variants of one key: the oldest goes for a new one.
MOST_VARIANTS: Final = 32
# Bytes of a variant's objects, its places in dicts and queues, and its ghost: measured (`benchmarks.cache_memory`).
OVERHEAD: Final = 1600
# Bytes up to which Python sets memory aside itself, and those the C library adds to what it does.
_SMALL: Final = 512
_OF_MALLOC: Final = 8
_GRAIN: Final = 16


def set_aside(thing: object) -> int:
    """Bytes that are taken from the system for an object without what it refers to."""
    if isinstance(thing, memoryview):  # of pages mapped for it
        return -(-thing.nbytes // linux.PAGE) * linux.PAGE
    size = sys.getsizeof(thing)
    return -(-(size if size <= _SMALL else size + _OF_MALLOC) // _GRAIN) * _GRAIN


class _Uri:
    """What is kept of a key: its variants, newest first."""

    __slots__ = ("key", "name", "variants")

    def __init__(self, key: Key, name: bytes) -> None:
        self.key = key
        self.name = name
        self.variants: list[_Variant] = []


class _Variant(Item):
    """An entry and its bodies, by content coding.

    :ivar purges: how many purges the store knew of when it was last held against them.
    """

    __slots__ = ("bodies", "entry", "purges", "uri")

    def __init__(self, uri: _Uri, entry: Entry, bodies: dict[str, Buffer], purges: int) -> None:
        self.uri = uri
        self.purges = purges
        self.entry = entry
        self.bodies = bodies
        super().__init__(hash((uri.name, entry.vary, entry.source)), self.weight_with(entry, bodies), entry.until)

    def weight_with(self, entry: Entry, bodies: dict[str, Buffer]) -> int:
        """Bytes it would weigh."""
        weight = OVERHEAD + set_aside(self.uri.key)
        for text in (*self.uri.key, entry.id, entry.lines, entry.source, entry.etag, entry.modified, *entry.tags):
            weight += set_aside(text)
        for name, digest in entry.vary:
            weight += set_aside((name, digest)) + set_aside(name) + set_aside(digest)
        return weight + sum(map(set_aside, bodies.values()))


class MemoryStore:
    """A `Store` of one process.

    :param max_bytes: that everything in it may weigh.
    :param max_object: bytes of one body.
    :param clock: seconds since the epoch.
    :param notices: of this machine; whoever made them closes them.
    """

    def __init__(self, max_bytes: int, max_object: int, clock: Callable[[], float], notices: Notices) -> None:
        self._max_object = max_object
        self._clock = clock
        self._notices = notices
        self._seen = notices.mark()
        self._uris: dict[Key, _Uri] = {}
        self._by_name: dict[bytes, _Uri] = {}
        self._queues: Queues[_Variant] = Queues(max_bytes)
        self._purges = Purges(lambda: list(self._uris.values()), self._hold_against_purges)

    @property
    def weight(self) -> int:
        """Bytes that everything in it weighs."""
        return self._queues.weight

    def __len__(self) -> int:
        """How many variants there are."""
        return len(self._queues)

    def mark(self) -> int:
        """See `Store`."""
        return self._notices.mark()

    def dropped(self, key: Key, since: int) -> bool:
        """See `Store`."""
        return self._notices.mark() != since and self._notices.told(since, name_of(key), key.path, None)

    async def find(self, key: Key) -> Sequence[Entry]:
        """See `Store`."""
        if self._notices.mark() != self._seen:
            self._heed()
        uri = self._swept(key)
        if uri is None:
            return ()
        now, found, past = self._clock(), [], []
        for variant in uri.variants:
            if variant.until > now:
                found.append(variant.entry)
            else:
                past.append(variant)
        for variant in past:
            self._remove(variant)
        return found

    def used(self, key: Key, entry: Entry) -> None:
        """See `Store`."""
        variant = self._variant(key, entry)
        if variant is not None:
            self._queues.used(variant)

    async def body(self, key: Key, entry: Entry, coding: str = IDENTITY) -> Buffer | None:
        """See `Store`."""
        variant = self._variant(key, entry)
        return None if variant is None else variant.bodies.get(coding)

    async def keep(self, key: Key, entry: Entry, body: bytes, since: int) -> bool:
        """See `Store`."""
        now = self._clock()
        name = name_of(key)
        if len(body) > self._max_object or entry.until <= now:
            return False
        if self._notices.told(since, name, key.path, entry.tags):
            return False
        uri = self._uris.get(key) or _Uri(key, name)
        variant = _Variant(uri, entry, {IDENTITY: linux.apart(body)}, self._purges.heard)
        if variant.weight > self._queues.room:
            return False
        before = self._take_out(uri, entry)
        self._give_up(self._queues.add(variant, now, before))
        # The last that was given up may have been this key's last.
        self._uris[key] = self._by_name[name] = uri
        uri.variants.insert(0, variant)
        for old in uri.variants[MOST_VARIANTS:]:
            self._remove(old)
        return True

    async def keep_coded(self, key: Key, entry: Entry, coding: str, body: bytes) -> None:
        """See `Store`."""
        variant = self._variant(key, entry)
        if variant is not None and len(body) <= self._max_object:
            self._change(variant, variant.entry, {**variant.bodies, coding: linux.apart(body)})

    async def renew(self, key: Key, entry: Entry, renewed: Entry) -> None:
        """See `Store`."""
        variant = self._variant(key, entry)
        if variant is None:
            return
        uri = variant.uri
        uri.variants.remove(variant)
        other = self._take_out(uri, renewed)
        if other is not None:
            self._queues.remove(other)
        uri.variants.insert(0, variant)
        self._change(variant, renewed, variant.bodies)

    async def remove(self, key: Key, entry: Entry) -> None:
        """See `Store`."""
        variant = self._variant(key, entry)
        if variant is not None:
            self._remove(variant)

    async def drop(self, key: Key) -> None:
        """See `Store`."""
        self._notices.drop(name_of(key))
        self._heed()

    async def purge(self, *, path: str | None = None, tag: str | None = None) -> bool:
        """See `Store`."""
        self._notices.purge(path=path, tag=tag)
        self._heed()
        return True

    async def close(self) -> None:
        """Forget everything."""
        self._forget_all()

    def _variant(self, key: Key, entry: Entry) -> _Variant | None:
        uri = self._swept(key)
        if uri is not None:
            for variant in uri.variants:
                if variant.entry.id == entry.id:
                    return variant
        return None

    def _take_out(self, uri: _Uri, entry: Entry) -> _Variant | None:
        """Take the same variant as an entry's out of a key's, but not out of the queues."""
        for variant in uri.variants:
            if variant.entry.source == entry.source and variant.entry.vary == entry.vary:
                uri.variants.remove(variant)
                return variant
        return None

    def _change(self, variant: _Variant, entry: Entry, bodies: dict[str, Buffer]) -> None:
        """Have a variant hold something else; what is too heavy for the store is held no longer, or not at all."""
        weight = variant.weight_with(entry, bodies)
        if weight > self._queues.room:
            if entry is not variant.entry:
                self._remove(variant)
            return
        variant.entry, variant.bodies, variant.until = entry, bodies, entry.until
        self._give_up(self._queues.weigh(variant, weight, self._clock()))

    def _remove(self, variant: _Variant) -> None:
        self._queues.remove(variant)
        self._give_up([variant])

    def _give_up(self, variants: Sequence[_Variant]) -> None:
        """Forget what is out of the queues."""
        for variant in variants:
            uri = variant.uri
            uri.variants.remove(variant)
            if not uri.variants:
                del self._uris[uri.key], self._by_name[uri.name]

    def _heed(self) -> None:
        """Forget what was told since the last look."""
        mark = self._notices.mark()
        notices = self._notices.after(self._seen)
        self._seen = mark
        if notices is None:
            self._forget_all()
            return
        for notice in notices:
            if notice.kind == DROP and (uri := self._by_name.get(notice.what)) is not None:
                for variant in list(uri.variants):
                    self._remove(variant)
        self._purges.hear([notice for notice in notices if notice.kind != DROP])

    def _swept(self, key: Key) -> _Uri | None:
        """What is kept of a key, without what was purged."""
        uri = self._uris.get(key)
        if uri is not None and self._purges:
            self._hold_against_purges(uri)
        return uri

    def _hold_against_purges(self, uri: _Uri) -> int:
        looks, heard = 0, self._purges.heard
        for variant in list(uri.variants):
            purges = self._purges.since(variant.purges)
            looks += max(len(purges), 1)
            if any(notice.covers(uri.name, uri.key.path, variant.entry.tags) for notice in purges):
                self._remove(variant)
            else:
                variant.purges = heard
        return looks

    def _forget_all(self) -> None:
        self._uris.clear()
        self._by_name.clear()
        self._queues = Queues(self._queues.room)
        self._purges.forget()
