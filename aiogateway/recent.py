"""What was worked out of late, kept for who asks for the same again."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A bounded memory: what was used lately stays, the rest goes, a generation at a time.

    To find out which entry was used last would cost every hit; two generations cost a hit nothing.

    :param most: entries of one generation; there are two.
    :ivar get: finds in the younger generation, where most is found; None: ask `find`.
    """

    __slots__ = ("_most", "_old", "_young", "get")

    def __init__(self, most: int) -> None:
        self._most = most
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self.get = self._young.get

    def find(self, key: K) -> V | None:
        """What is kept under a key, from then on as something used of late."""
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self.keep(key, found)
        return found

    def keep(self, key: K, value: V) -> None:
        """Keep something; when there is too much, what nobody asked for lately is forgotten."""
        if len(self._young) >= self._most:
            self._old = self._young
            self._young = {}
            self.get = self._young.get
        self._young[key] = value
