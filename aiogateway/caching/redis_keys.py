"""What is called how in Redis. All of it has an expiry.

uri:<name>      hash: variant -> head (`heads`); what is no head there counts for nothing
body:<id>       hash: content coding -> body
tag:<digest>    sorted set: names of keys with such an answer, by when it is of no use any more
paths           sorted set: likewise every name with its path behind it
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from typing import Final

from aiogateway.caching.entry import Entry

# The number is another one when something here is stored in another way.
PREFIX: Final = b"aiogateway:cache:1:"
PATHS: Final = PREFIX + b"paths"
# A body, if it isn't larger than it may be; a body in one more coding, if there are others.
BODY: Final = "return redis.call('HSTRLEN',KEYS[1],ARGV[1])<=tonumber(ARGV[2]) and redis.call('HGET',KEYS[1],ARGV[1])"
CODED: Final = "return redis.call('HEXISTS',KEYS[1],ARGV[1])==1 and redis.call('HSET',KEYS[1],ARGV[2],ARGV[3])"

_GLOB: Final = frozenset(rb"*?[]\^-")


def literally(text: bytes) -> bytes:
    """A text as the glob that only it matches."""
    return b"".join(b"\\%c" % byte if byte in _GLOB else b"%c" % byte for byte in text)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest().encode()


def uri(name: bytes) -> bytes:
    """Where the heads of a key are."""
    return PREFIX + b"uri:" + name.hex().encode()


def body(entry: Entry) -> bytes:
    """Where the bodies of an entry are."""
    return body_of(entry.id)


def body_of(id: str) -> bytes:
    """Where the bodies of an id are."""
    return PREFIX + b"body:" + id.encode("utf-8", "surrogateescape")


def tag(text: str) -> bytes:
    """Where the names with a tag are."""
    return PREFIX + b"tag:" + _digest(text)


def variant(entry: Entry) -> bytes:
    """Under what an entry's head is among those of its key."""
    return _digest(repr((entry.vary, entry.source)))


def names_in(members: Iterable[bytes]) -> set[bytes]:
    """The names that stand in front of an index's members; others than ours are left out."""
    names = set()
    for member in members:
        with contextlib.suppress(ValueError):
            names.add(bytes.fromhex(member[:32].decode("ascii")))
    return names
