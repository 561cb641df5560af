"""Deadlines of waits, kept in coarse slots that one periodic sweep looks at.

Owns when a wait has lasted too long. A timer of the event loop for each request costs several microseconds and is
almost always cancelled; a set insertion costs a fraction of one, and no wait here needs to end more exactly than a
tick. Nothing is awaited: expiry calls a function that wakes whoever waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger(__name__)

TICK: Final = 0.05
# Deadlines that expire at once: thousands of streams may fall silent together, and each costs some 20 microseconds.
MOST: Final = 64
# Slots below which emptied ones are not worth a look.
FEW: Final = 256


class Deadline:
    """One wait that may expire. Calling `cancel` twice, or after expiry, is harmless."""

    __slots__ = ("_bucket", "expire")

    def __init__(self, bucket: set[Deadline], expire: Callable[[], None]) -> None:
        self._bucket = bucket
        self.expire = expire

    def cancel(self) -> None:
        self._bucket.discard(self)


class Deadlines:
    """All deadlines of one worker.

    :param clock: seconds, monotonic, as the event loop's `time`.
    :param tick: seconds a slot is wide. A deadline expires at most two ticks late, never early.
    """

    def __init__(self, clock: Callable[[], float], tick: float = TICK) -> None:
        self.clock = clock
        self.tick = tick
        self._slots: dict[int, set[Deadline]] = {}
        self._room = FEW
        self._swept = int(clock() / tick)

    def after(self, seconds: float, expire: Callable[[], None]) -> Deadline:
        """Call `expire` once `seconds` have passed, unless the deadline is cancelled before."""
        slot = int((self.clock() + seconds) / self.tick) + 1
        bucket = self._slots.get(slot)
        if bucket is None:
            if len(self._slots) >= self._room:
                self._forget_emptied()
            bucket = self._slots[slot] = set()
        deadline = Deadline(bucket, expire)
        bucket.add(deadline)
        return deadline

    def sweep(self) -> int:
        """Expire what is due, `MOST` of it; answers how many. A clock that jumped ahead costs one pass over the slots.

        Who gets an answer of `MOST` calls again, after others had their turn.
        """
        now = int(self.clock() / self.tick)
        if now <= self._swept:
            return 0
        due = [slot for slot in self._slots if slot <= now] if now - self._swept > len(self._slots) else None
        expired = 0
        for slot in sorted(due) if due is not None else range(self._swept + 1, now + 1):
            bucket = self._slots.get(slot)
            while bucket:
                if expired == MOST:
                    self._swept = slot - 1
                    return expired
                try:
                    bucket.pop().expire()
                except Exception:  # one wait's trouble must not keep all others from ever ending
                    log.exception("a deadline's expiry failed")
                expired += 1
            self._slots.pop(slot, None)
        self._swept = now
        return expired

    def _forget_emptied(self) -> None:
        """Almost every deadline is cancelled long before its slot's time: what is left of them must not pile up."""
        self._slots = {slot: bucket for slot, bucket in self._slots.items() if bucket}
        self._room = max(FEW, 2 * len(self._slots))

    @property
    def slots(self) -> int:
        """How many slots there are, emptied ones among them."""
        return len(self._slots)

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))


class Credit:
    """How long a peer may still keep us waiting: a minimum rate with a grace and a bounded allowance.

    Waiting spends credit, bytes earn it at `rate`; it never grows past `most`, so that a fast start cannot pay for a
    trickle that lasts for hours (contract: `GATEWAY_UPLOAD_MIN_RATE`, `GATEWAY_DOWNLOAD_MIN_RATE`).

    :param rate: bytes a second to keep up; 0 asks for nothing.
    :param grace: seconds of waiting granted at the start.
    :param most: seconds of waiting that can be saved up.
    """

    __slots__ = ("_most", "_rate", "seconds")

    def __init__(self, rate: int, grace: float = 30.0, most: float = 60.0) -> None:
        self._rate = rate
        self._most = most
        self.seconds = grace

    def spend(self, waited: float, received: int) -> bool:
        """Book a wait of `waited` seconds that ended with `received` bytes; False when the peer is too slow."""
        if not self._rate:
            return True
        self.seconds = min(self.seconds - waited + received / self._rate, self._most)
        return self.seconds >= 0
