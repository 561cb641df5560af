"""Counters of all processes of one machine, in memory that they share.

Owns the memory, its locks and what is counted in it. Rules:

- Made before the workers fork, and passed on to them, to later ones too. A process uses it from one thread.
- A segment's lock covers its counters. Locks are taken in ascending order, the one of shared counters last, and the
  time is read once all are held.
- A counter with events in its window is never given up. A new one that finds no place shares one counter with all
  others of its policy's scope. While that one holds events, new counters begin as its copies, so that none is ever
  forgotten by moving out.
- Fingerprints are keyed with a secret of this instance, so that nobody can aim at another's counter.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from mmap import mmap
from typing import Final

from aiogateway.stores.checks import Checks
from aiogateway.stores.locks import Locks, NoLocks, Stuck
from aiogateway.stores.slots import NONE, Place, Slots
from aiogateway.stores.windows import EMPTY, WEIGH, Policy, Verdict, Weighed, uncounted

# Scopes whose new counters can share one at the same time.
SHARED: Final = 4096
KEY_BYTES: Final = 32
# Nanoseconds to beats, the unit of expiries: 2**30 are one, and 31 bits of them are 73 years.
_BEAT: Final = 30

_until: Final = struct.Struct("<I")


class _Full(Exception):
    """A new counter has no place, and there is none for one that it could share."""


class SharedCounters:
    """The counters of every limit.

    :param capacity: how many counters have a place of their own.
    :param clock: nanoseconds, above 0 and below 2**61, the same in all processes, never going back.
    :param alone: whether one process counts here, and no other ever will.
    """

    def __init__(
        self, capacity: int = 1_000_000, clock: Callable[[], int] = time.monotonic_ns, *, alone: bool = False
    ) -> None:
        self._clock = clock
        key = os.urandom(KEY_BYTES)
        self._own = Slots(0, capacity, key)
        self._shared = Slots(self._own.end, SHARED, key)
        # Behind all slots: the beats in which the last shared counter, and the last rare one, come free.
        self._rare = self._shared.end + _until.size
        self._memory = mmap(-1, self._rare + _until.size)
        self._own.lie_in(self._memory)
        self._shared.lie_in(self._memory)
        self._locks = NoLocks() if alone else Locks(self._own.segments + 1)

    def close(self) -> None:
        """Give up this process's hold of the memory; a second time is harmless."""
        self._locks.close()
        self._memory.close()

    def take(self, checks: Checks) -> list[Verdict]:
        """Count one event, in all of some counters or, when a policy refuses, in none.

        A counter that several checks name is counted in once, and each has its say.
        """
        if len(checks) != 1:
            return self._take_all(checks)
        ((policy, who),) = checks
        try:
            return [self._take_one(policy, who)]
        except Stuck:
            return [_refused(policy)]
        finally:
            self._locks.let_go()

    def _take_one(self, policy: Policy, who: str) -> Verdict:
        """As `take`, in one counter.

        :raises Stuck: a lock can't be had.
        """
        own = self._own
        place = own.place(policy.label, who)
        self._locks.hold(place[0])
        now = self._clock()
        slot = own.find(place, now >> _BEAT)
        if slot == NONE:
            try:
                slot = self._new(policy, place, now >> _BEAT)
            except _Full:
                return _refused(policy)
            now = self._clock()  # another lock may have been waited for
        verdict, start, change = WEIGH[policy.logged](policy, self._memory, slot, now)
        if verdict[0]:
            if policy.rare or slot >= own.end:
                self._write(policy, slot, start, change, now)
            else:
                own.write(slot, start, change, (now + policy.lasts >> _BEAT) + 1)
        return verdict

    def record(self, checks: Checks) -> None:
        """Count an event that was decided elsewhere, in each counter whose limit isn't reached."""
        try:
            now, slots, weighed = self._weigh(checks)
            for (policy, _), slot, (verdict, start, change) in zip(checks, slots, weighed, strict=True):
                if verdict.admitted:
                    self._write(policy, slot, start, change, now)
        except (_Full, Stuck):
            return
        finally:
            self._locks.let_go()

    def peek(self, policy: Policy, who: str) -> Verdict:
        """What a policy would say now. Nothing is counted, and without a counter nothing is locked either."""
        own = self._own
        beat = self._clock() >> _BEAT
        place = own.place(policy.label, who)
        if own.find(place, beat) == NONE and not self._is_shared(beat):
            return Verdict(True, policy.limit, 0.0)
        try:
            self._locks.hold(place[0])
            slot = own.find(place, beat)
            state = self._beginning(policy, beat) if slot == NONE else own.state(slot)
            return uncounted(policy, WEIGH[policy.logged](policy, state, 0, self._clock())[0])
        except Stuck:
            return _refused(policy)
        finally:
            self._locks.let_go()

    def no_rare(self) -> bool:
        """Whether no rare counter holds an event, whoever it might be of."""
        until: int = _until.unpack_from(self._memory, self._rare)[0]
        return until <= self._clock() >> _BEAT

    def _take_all(self, checks: Checks) -> list[Verdict]:
        try:
            now, slots, weighed = self._weigh(checks)
            verdicts = [verdict for verdict, _, _ in weighed]
            if not all([verdict.admitted for verdict in verdicts]):
                return [uncounted(policy, verdict) for (policy, _), verdict in zip(checks, verdicts, strict=True)]
            for (policy, _), slot, (_, start, change) in zip(checks, slots, weighed, strict=True):
                self._write(policy, slot, start, change, now)
            return verdicts
        except (_Full, Stuck):
            return [_refused(policy) for policy, _ in checks]
        finally:
            self._locks.let_go()

    def _weigh(self, checks: Checks) -> tuple[int, list[int], list[Weighed]]:
        """Now, and each check's slot and what its policy says. Locks stay held.

        :raises _Full: a new counter has no place.
        """
        places = [self._own.place(policy.label, who) for policy, who in checks]
        for segment in sorted({place[0] for place in places}):
            self._locks.hold(segment)
        beat = self._clock() >> _BEAT
        slots = []
        for (policy, _), place in zip(checks, places, strict=True):
            slot = self._own.find(place, beat)
            slots.append(self._new(policy, place, beat) if slot == NONE else slot)
        now = self._clock()
        weighed = [
            WEIGH[policy.logged](policy, self._memory, slot, now)
            for (policy, _), slot in zip(checks, slots, strict=True)
        ]
        return now, slots, weighed

    def _new(self, policy: Policy, place: Place, beat: int) -> int:
        """A slot for a counter that has none.

        :raises _Full: there is none, not even one to share.
        """
        own = self._own
        slot = own.free(place, beat)
        if slot == NONE:
            return self._shared_slot(policy, beat)
        state = self._beginning(policy, beat) if self._is_shared(beat) else EMPTY
        own.claim(slot, place, state, beat + 1)
        return slot

    def _shared_slot(self, policy: Policy, beat: int) -> int:
        """The slot of the counter that those without a place share.

        :raises _Full: there is no place for it.
        """
        self._locks.hold(self._own.segments)
        shared = self._shared
        place = shared.place(policy.label, "")
        slot = shared.find(place, beat)
        if slot == NONE:
            slot = shared.free(place, beat)
            if slot == NONE:
                raise _Full
            shared.claim(slot, place, EMPTY, beat + 1)
        return slot

    def _beginning(self, policy: Policy, beat: int) -> bytes:
        """The state of a new counter: a copy of the shared one, if there is one."""
        self._locks.hold(self._own.segments)
        slot = self._shared.find(self._shared.place(policy.label, ""), beat)
        return EMPTY if slot == NONE else self._shared.state(slot)

    def _is_shared(self, beat: int) -> bool:
        """Whether any shared counter holds events."""
        until: int = _until.unpack_from(self._memory, self._shared.end)[0]
        return until > beat

    def _rare_until(self) -> int:
        until: int = _until.unpack_from(self._memory, self._rare)[0]
        return until

    def _write(self, policy: Policy, slot: int, start: int, change: bytes, now: int) -> None:
        expiry = (now + policy.lasts >> _BEAT) + 1
        own = self._own
        if slot >= own.end and not self._is_shared(expiry - 1):
            _until.pack_into(self._memory, self._shared.end, expiry)
        if policy.rare and self._rare_until() < expiry:
            self._locks.hold(self._own.segments)  # it is of all segments, and never goes back
            _until.pack_into(self._memory, self._rare, max(expiry, self._rare_until()))
        own.write(slot, start, change, expiry)


def _refused(policy: Policy) -> Verdict:
    return Verdict(False, 0, float(policy.period))
