"""A stored answer, and what a store of them has to do.

An answer is stored as its head and its body apart: which of a URI's variants may be given is decided by heads alone.
The body is stored plain, and beside that in each content coding that a client was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from aiogateway.compression import IDENTITY
from aiogateway.linux import Buffer


class Key(NamedTuple):
    """The URI of a stored answer, as clients know it.

    :ivar origin: scheme and authority, in lower case.
    :ivar path: as the client wrote it.
    :ivar query: as the client wrote it, with its `?`; empty without one.
    """

    origin: str
    path: str
    query: str


class Freshness(NamedTuple):
    """How long an answer may be given, as its fields say it; seconds (RFC 9111 sections 4.2 and 5.2, RFC 5861).

    :ivar lifetime: for which it is fresh.
    :ivar age: that it had when it was received.
    :ivar validate: whether it may never be given without having been validated.
    :ivar strict: whether it may never be given stale.
    :ivar while_revalidating: for which it may be given stale while it is validated.
    :ivar if_error: for which it may be given stale when that fails.
    """

    lifetime: float
    age: float
    validate: bool
    strict: bool
    while_revalidating: float
    if_error: float


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """The head of a stored answer: one variant of what a URI means.

    :ivar id: names its bodies; random, so that no two answers ever share one.
    :ivar status: of the answer.
    :ivar lines: its fields as clients get them, less what every answer gets anew: `Age`, `Content-Length`, framing; as
        in a head, without the last line end.
    :ivar vary: names in lower case of the request's fields it was selected by, each with a digest of what stood there.
    :ivar source: what it was asked of: the upstream, and the path there.
    :ivar freshness: how long it may be given.
    :ivar etag: its entity tag as written; empty without one.
    :ivar modified: its `Last-Modified` as written; empty without one.
    :ivar encodable: whether its body may be given in another coding.
    :ivar received: when its head was there, in seconds since the epoch.
    :ivar until: when it is of no use to anybody any more, fresh or stale; in seconds since the epoch.
    :ivar size: of the plain body, in bytes.
    :ivar tags: by which it can be purged.
    """

    id: str
    status: int
    lines: bytes
    vary: tuple[tuple[str, str], ...]
    source: str
    freshness: Freshness
    etag: str
    modified: str
    encodable: bool
    received: float
    until: float
    size: int
    tags: tuple[str, ...]

    def age(self, now: float) -> float:
        """How old it is now, in seconds (RFC 9111 section 4.2.3).

        :param now: seconds since the epoch.
        """
        return self.freshness.age + max(now - self.received, 0.0)

    def ttl(self, now: float) -> float:
        """For how many seconds it is fresh yet; below 0 for how long it is stale.

        :param now: seconds since the epoch.
        """
        return self.freshness.lifetime - self.age(now)

    @property
    def named(self) -> tuple[str, ...]:
        """Names of the request's fields it was selected by."""
        return tuple(name for name, _ in self.vary)

    def of(self, id: str) -> Entry:
        """The same head for the bodies of another."""
        return replace(self, id=id)

    def saying(self, lines: bytes) -> Entry:
        """The same answer with other fields."""
        return replace(self, lines=lines)

    def sized(self, size: int) -> Entry:
        """The same head, for a body of this size."""
        return replace(self, size=size)


class Store(Protocol):
    """Where answers are kept. A fault of the store is a miss: none of these raises for one."""

    def mark(self) -> int:
        """A moment, for `keep`: to be taken before the upstream is asked."""
        ...

    def dropped(self, key: Key, since: int) -> bool:
        """Whether answers of a URI have been dropped or purged since a `mark`, or may have been."""
        ...

    async def find(self, key: Key) -> Sequence[Entry]:
        """Every variant of a URI, newest first."""
        ...

    def used(self, key: Key, entry: Entry) -> None:
        """Take note that an entry was given to a client."""
        ...

    async def body(self, key: Key, entry: Entry, coding: str = IDENTITY) -> Buffer | None:
        """A stored body; None when it is not there, or not in this coding."""
        ...

    async def keep(self, key: Key, entry: Entry, body: bytes, since: int) -> bool:
        """Store an answer in place of those of the same variant (same `vary` and `source`).

        :param since: the `mark` from before the upstream was asked: what was dropped or purged after that is not kept.
        :return: whether it was stored.
        """
        ...

    async def keep_coded(self, key: Key, entry: Entry, coding: str, body: bytes) -> None:
        """Store the body of an entry in one more coding, if the entry is still there."""
        ...

    async def renew(self, key: Key, entry: Entry, renewed: Entry) -> None:
        """Store another head for an entry's bodies, if the entry is still there; both have the same `id`."""
        ...

    async def remove(self, key: Key, entry: Entry) -> None:
        """Forget one variant."""
        ...

    async def drop(self, key: Key) -> None:
        """Forget every variant of a URI, in every worker: it was changed (RFC 9111 section 4.4)."""
        ...

    async def purge(self, *, path: str | None = None, tag: str | None = None) -> bool:
        """Forget every answer under a path (with `*` at its end: under every path that begins so), or with a tag.

        In every worker, whatever origin and query.

        :return: whether it was done; a store that doesn't answer keeps what it has.
        :raises TooLong: it has more bytes than workers tell each other, or none.
        """
        ...

    async def close(self) -> None:
        """Close what it holds open. A second time is harmless."""
        ...
