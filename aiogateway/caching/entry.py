"""A stored answer, and what a store of them has to do.

An answer is stored as its head and its body apart: which of a URI's variants may be given is decided by heads alone.
The body is stored plain, and beside that in each content coding that a client was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from aiogateway.proxy.headers import RawFields

# The name of the plain body among the codings (RFC 9110 section 12.5.3).
IDENTITY = "identity"


class Key(NamedTuple):
    """The URI of a stored answer, as clients know it.

    :ivar origin: scheme and authority, in lower case.
    :ivar path: as the client wrote it.
    :ivar query: as the client wrote it, with its `?`; empty without one.
    """

    origin: str
    path: str
    query: str


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """The head of a stored answer: one variant of what a URI means.

    :ivar id: names its bodies; random, so that no two answers ever share one.
    :ivar status: of the answer.
    :ivar fields: as clients get them, less what every answer gets anew: `Age`, `Content-Length`, framing.
    :ivar vary: names in lower case of the request's fields it was selected by, each with what the request had there.
    :ivar source: what it was asked of: the upstream, and the path there.
    :ivar requested: when the request was sent, in seconds since the epoch.
    :ivar received: when its head was there, in seconds since the epoch.
    :ivar until: when it is of no use to anybody any more, fresh or stale; in seconds since the epoch.
    :ivar size: of the plain body, in bytes.
    :ivar tags: by which it can be purged.
    """

    id: str
    status: int
    fields: RawFields
    vary: tuple[tuple[str, str], ...]
    source: str
    requested: float
    received: float
    until: float
    size: int
    tags: tuple[str, ...]


class Store(Protocol):
    """Where answers are kept. A fault of the store is a miss: none of these raises for one."""

    def mark(self) -> int:
        """A moment, for `keep`: to be taken before the upstream is asked."""
        ...

    async def find(self, key: Key) -> Sequence[Entry]:
        """Every variant of a URI, newest first."""
        ...

    def used(self, key: Key, entry: Entry) -> None:
        """Take note that an entry was given to a client."""
        ...

    async def body(self, key: Key, entry: Entry, coding: str = IDENTITY) -> bytes | None:
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

    async def purge(self, *, path: str | None = None, tag: str | None = None) -> None:
        """Forget every answer under a path (with `*` at its end: under every path that begins so), or with a tag.

        In every worker, whatever origin and query.
        """
        ...

    async def close(self) -> None:
        """Close what it holds open. A second time is harmless."""
        ...
