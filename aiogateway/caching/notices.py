"""What the workers of one machine tell each other about what they store: a ring of notices in memory that they share.

Owns the memory and its lock. Rules:

- Made before the workers fork, and passed on to them, to later ones too. A process uses it from one thread.
- A notice is written and read under the lock, and its number goes up last: nobody reads half of one, and who dies while
  writing leaves none behind. Whether there is a new one is a single read, without the lock.
- Who fell behind the ring has to forget everything. So has everybody when the lock can't be had: that is said without
  it, by a word that is another each time.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Sequence
from mmap import mmap
from typing import Final, NamedTuple

from aiogateway.caching.entry import Key
from aiogateway.stores.locks import Locks, NoLocks, Stuck

# Notices that are kept.
RING: Final = 1024
# Bytes of a path or a tag to purge by.
LONGEST: Final = 1000

_BLOCK: Final = 1024
_head: Final = struct.Struct("<BH")
_WORD: Final = 64
# What a notice is about.
DROP: Final = 0
PATH: Final = 1
TAG: Final = 2


class TooLong(ValueError):
    """A path or a tag to purge by has more than `LONGEST` bytes, or none."""


def name_of(key: Key) -> bytes:
    """What stands for a key: 16 bytes, whatever its length."""
    origin, path, query = (part.encode("utf-8", "surrogateescape") for part in key)
    lengths = b"%d %d " % (len(origin), len(path))
    return hashlib.blake2b(lengths + origin + path + query, digest_size=16).digest()


def reaches(pattern: str, path: str) -> bool:
    """Whether a pattern of a purge means a path: the same one, or with `*` at its end one that begins so."""
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


class Notice(NamedTuple):
    """What is to be forgotten.

    :ivar kind: `DROP`, `PATH` or `TAG`.
    :ivar what: a key's name, a path's pattern, a tag.
    """

    kind: int
    what: bytes

    @property
    def text(self) -> str:
        """The pattern or tag."""
        return self.what.decode("utf-8", "surrogateescape")

    def covers(self, name: bytes, path: str, tags: Sequence[str] | None) -> bool:
        """Whether it is about an answer.

        :param tags: None for those that aren't known yet: any tag may be one of them.
        """
        if self.kind == DROP:
            return name == self.what
        return reaches(self.text, path) if self.kind == PATH else tags is None or self.text in tags


class Notices:
    """The ring.

    :param size: how many notices are kept.
    :param alone: whether one process works here, and no other ever will.
    """

    def __init__(self, size: int = RING, *, alone: bool = False) -> None:
        self._size = size
        self._memory = mmap(-1, _WORD + size * _BLOCK)
        # Words that are written and read whole, unlike what `struct` writes: the number, and the alarm.
        self._bytes = memoryview(self._memory)
        self._words = self._bytes[:_WORD].cast("Q")
        self._locks = NoLocks() if alone else Locks(1)

    def close(self) -> None:
        """Give up this process's hold of the memory; a second time is harmless."""
        self._words.release()
        self._bytes.release()
        self._memory.close()
        self._locks.close()

    def mark(self) -> int:
        """A moment: another number once anything has been told since."""
        return self._words[1] << 64 | self._words[0]

    def after(self, mark: int) -> list[Notice] | None:
        """What has been told since a moment; None when that isn't known any more: it may have been anything."""
        try:
            self._locks.hold(0)
            number = self._words[0]
            new = number - (mark & (1 << 64) - 1)
            # The oldest place may be half written by one that died.
            if mark >> 64 != self._words[1] or not 0 <= new < self._size:
                return None
            return [self._read(number - new + n) for n in range(new)]
        except Stuck:
            return None
        finally:
            self._locks.let_go()

    def told(self, since: int, name: bytes, path: str, tags: Sequence[str] | None) -> bool:
        """Whether something was told since a moment that is about an answer, or may have been.

        :param tags: None for those that aren't known yet: any tag may be one of them.
        """
        if self.mark() == since:
            return False
        notices = self.after(since)
        return notices is None or any(notice.covers(name, path, tags) for notice in notices)

    def drop(self, name: bytes) -> None:
        """Tell that a key's answers are to be forgotten.

        :param name: as `name_of` gives it.
        """
        self._write(Notice(DROP, name))

    def purge(self, *, path: str | None = None, tag: str | None = None) -> None:
        """Tell that the answers under a path, or with a tag, are to be forgotten.

        :raises TooLong: it has more than `LONGEST` bytes, or none.
        """
        for kind, what in ((PATH, path), (TAG, tag)):
            if what is not None:
                self._write(Notice(kind, purgeable(what)))

    def _write(self, notice: Notice) -> None:
        try:
            self._locks.hold(0)
            number = self._words[0]
            start = self._start(number)
            _head.pack_into(self._memory, start, notice.kind, len(notice.what))
            start += _head.size
            self._bytes[start : start + len(notice.what)] = notice.what
            self._words[0] = number + 1
        except Stuck:
            self._words[1] = int.from_bytes(os.urandom(8), "little")
        finally:
            self._locks.let_go()

    def _read(self, number: int) -> Notice:
        start = self._start(number)
        kind, length = _head.unpack_from(self._memory, start)
        start += _head.size
        return Notice(kind, bytes(self._bytes[start : start + length]))

    def _start(self, number: int) -> int:
        return _WORD + number % self._size * _BLOCK


def purgeable(what: str) -> bytes:
    """A path's pattern or a tag as it is told.

    :raises TooLong: it has more than `LONGEST` bytes, or none.
    """
    told = what.encode("utf-8", "surrogateescape")
    if not 0 < len(told) <= LONGEST:
        raise TooLong(f"must have 1 to {LONGEST} bytes")
    return told
