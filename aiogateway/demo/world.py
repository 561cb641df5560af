"""What all stand-ins share: the signing key, chance, time, and small stores that forget.

Rules: chance and time come from outside, so that tests decide them. Every store is bounded; past its bound the oldest
entry goes. Nothing here knows HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, TypeVar

import jwt

TOKEN_SECONDS = 3600
SHELF_ENTRIES = 200

V = TypeVar("V")


class Shelf(Generic[V]):
    """A dict of at most `limit` entries. Setting one makes it the newest; the oldest makes room."""

    def __init__(self, limit: int = SHELF_ENTRIES) -> None:
        self._entries: OrderedDict[str, V] = OrderedDict()
        self._limit = limit

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[V]:
        return iter(self._entries.values())

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def get(self, key: str) -> V | None:
        return self._entries.get(key)

    def put(self, key: str, value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def take(self, key: str) -> V | None:
        """Removes the entry and gives it back; None when there is none."""
        return self._entries.pop(key, None)


@dataclass(frozen=True, slots=True)
class World:
    """Key, chance and time of one set of stand-ins.

    :param signing_key: signs the tokens (HS256).
    :param rng: makes the ids.
    :param clock: gives seconds since the epoch.
    :param sleep: takes seconds; paces streams and the slow answer.
    """

    signing_key: str = field(repr=False)
    rng: random.Random
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    def new_id(self, prefix: str) -> str:
        return f"{prefix}-{self.rng.getrandbits(48):012x}"

    def timestamp(self) -> str:
        """The clock's time as ISO 8601 in UTC, to the second."""
        return datetime.fromtimestamp(self.clock(), UTC).isoformat(timespec="seconds")

    def token(self, user_id: str, roles: tuple[str, ...] = ("user",), seconds: int = TOKEN_SECONDS) -> str:
        """A JWT for `user_id` that is good for `seconds`."""
        now = int(self.clock())
        claims = {"sub": user_id, "roles": list(roles), "iat": now, "exp": now + seconds}
        return jwt.encode(claims, self.signing_key, algorithm="HS256")


def user_id_of(email: str) -> str:
    """The user id that belongs to an e-mail address: the same in every run, so that pasted lines keep working."""
    return "user-" + hashlib.sha256(email.strip().lower().encode()).hexdigest()[:12]
