"""Where a counter's state is in shared memory: a hash table of fixed size, without pointers.

Owns the layout; locks and decisions are its user's. Rules:

- A bucket holds `SLOTS` fingerprints, then as many expiries, then as many states. A counter is in its home bucket or,
  where that was full, in its spare one, of which there are few. Both are of one segment, so one lock covers them.
- A slot is free once its expiry has come, and nothing takes it before. Expiries count beats, of about a second.
- A slot is claimed by writing fingerprint, state and expiry, in this order: who dies in between leaves a free slot.

A page is touched when a counter is looked for that may be in it, not before.
"""

from __future__ import annotations

import hashlib
import struct
from mmap import mmap
from typing import Final

from aiogateway.stores.windows import STATE_BYTES

SLOTS: Final = 22
# Counters to a home bucket, and home buckets to a spare one, when all there must be room for are there: about one of
# fifteen is then in a spare bucket, and the first without a place would come some percent later.
_AT_HOME: Final = 19
_HOMES: Final = 7
# Counters a segment has at least, so that segments are evenly full; more locks than processes are of no use.
_SEGMENT: Final = 4000
_MOST_SEGMENTS: Final = 64
# Labels whose hash is kept ready. There are more only when routes were changed again and again.
KEPT_HASHES: Final = 10_000
# Places that are kept, because hashing costs a fifth of a check, and how long a name may be in them. When there are so
# many, all are forgotten: to find out which came last would slow down those that don't come again.
KEPT_PLACES: Final = 1024
KEPT_LENGTH: Final = 100

_FINGERPRINT: Final = 8
_EXPIRY: Final = 4
_EXPIRIES: Final = SLOTS * _FINGERPRINT
# Whether a home bucket was ever full: until then, nobody has to look into a spare one.
_SPILLED: Final = _EXPIRIES + SLOTS * _EXPIRY
_STATES: Final = _SPILLED + 8
# Half a page, so that no bucket lies in two.
_BUCKET: Final = 2048
# From an offset among fingerprints to that among expiries or states, and from states to expiries.
_PER_EXPIRY: Final = _FINGERPRINT // _EXPIRY
_PER_STATE: Final = STATE_BYTES // _FINGERPRINT
_STATE_PER_EXPIRY: Final = STATE_BYTES // _EXPIRY

_expiry: Final = struct.Struct("<I")
_digest: Final = struct.Struct(f"<{_FINGERPRINT}sII")
# A bucket's expiries are compared at once, as lanes of one number whose top bits are kept free for the outcome.
_LANE: Final = 8 * _EXPIRY
_ONES: Final = sum(1 << _LANE * slot for slot in range(SLOTS))
_TOPS: Final = _ONES << (_LANE - 1)

NONE: Final = -1

# Where a counter may be: segment, fingerprint, where its home bucket begins, and what its spare one follows from.
Place = tuple[int, bytes, int, int]


class Slots:
    """One region of buckets, first all homes, then all spares. A slot is named by where its state begins.

    :param start: where the region begins, a multiple of `_BUCKET`.
    :param capacity: how many counters must find a place.
    :param key: what nobody outside knows, so that nobody can aim at another's counter.
    :ivar segments: how many there are.
    :ivar end: where the region ends, a multiple of `_BUCKET` too.
    """

    __slots__ = (
        "_hashes",
        "_homes",
        "_kept",
        "_key",
        "_memory",
        "_of_segment",
        "_spare",
        "_spares",
        "_start",
        "end",
        "segments",
    )

    def __init__(self, start: int, capacity: int, key: bytes) -> None:
        self.segments = min(max(capacity // _SEGMENT, 1), _MOST_SEGMENTS)
        self._of_segment = capacity // (_AT_HOME * self.segments) + 1
        self._spares = self._of_segment // _HOMES + 1
        self._homes = self.segments * self._of_segment
        self._start = start
        self._spare = start + self._homes * _BUCKET
        self.end = self._spare + self.segments * self._spares * _BUCKET
        self._key = key
        self._hashes: dict[bytes, hashlib.blake2b] = {}
        self._memory: mmap
        self._kept: dict[tuple[bytes, str], Place] = {}

    def lie_in(self, memory: mmap) -> None:
        """Use this memory, which all processes share and which was zeros at first."""
        self._memory = memory

    def place(self, label: bytes, who: str) -> Place:
        """Where a policy's counter for somebody may be."""
        return self._kept.get((label, who)) or self._place(label, who)

    def find(self, place: Place, beat: int) -> int:
        """The slot that a counter has, or `NONE`."""
        _, fingerprint, bucket, _ = place
        memory = self._memory
        offset = memory.find(fingerprint, bucket, bucket + _EXPIRIES) - bucket
        if (  # at once, as nearly always
            offset >= 0
            and not offset % _FINGERPRINT
            and _expiry.unpack_from(memory, bucket + _EXPIRIES + offset // _PER_EXPIRY)[0] > beat
        ):
            return bucket + _STATES + offset * _PER_STATE
        return self._search(place, beat)

    def _search(self, place: Place, beat: int) -> int:
        """As `find`, in all places where the counter may be."""
        _, fingerprint, bucket, _ = place
        memory = self._memory
        while True:
            end = bucket + _EXPIRIES
            found = memory.find(fingerprint, bucket, end)
            while found >= 0:
                offset = found - bucket
                # What ends one fingerprint and begins the next is none, and a free slot's is of nobody any more.
                if not offset % _FINGERPRINT and _expiry.unpack_from(memory, end + offset // _PER_EXPIRY)[0] > beat:
                    return bucket + _STATES + offset * _PER_STATE
                found = memory.find(fingerprint, found + 1, end)
            if bucket >= self._spare or not memory[bucket + _SPILLED]:
                return NONE
            bucket = self._spare_of(place)

    def free(self, place: Place, beat: int) -> int:
        """A free slot for a counter, or `NONE`."""
        bucket = place[2]
        free = self._free(bucket, beat)
        if not free:
            bucket = self._spare_of(place)
            free = self._free(bucket, beat)
            if not free:
                return NONE
        # The lowest bit that is set is the top of its slot's lane.
        return bucket + _STATES + ((free & -free).bit_length() // _LANE - 1) * STATE_BYTES

    def claim(self, slot: int, place: Place, state: bytes, expiry: int) -> None:
        """Give a free slot to a counter."""
        memory = self._memory
        if slot >= self._spare:
            memory[place[2] + _SPILLED] = 1
        offset = slot % _BUCKET
        fingerprint = slot - offset + (offset - _STATES) // _PER_STATE
        memory[fingerprint : fingerprint + _FINGERPRINT] = place[1]
        memory[slot : slot + STATE_BYTES] = state
        _expiry.pack_into(memory, slot - offset + _EXPIRIES + (offset - _STATES) // _STATE_PER_EXPIRY, expiry)

    def write(self, slot: int, start: int, change: bytes, expiry: int) -> None:
        """Change the state in a slot from `start` on, and the beat in which the slot comes free."""
        memory = self._memory
        start += slot
        memory[start : start + len(change)] = change
        offset = slot % _BUCKET
        _expiry.pack_into(memory, slot - offset + _EXPIRIES + (offset - _STATES) // _STATE_PER_EXPIRY, expiry)

    def state(self, slot: int) -> bytes:
        """The whole state in a slot."""
        return self._memory[slot : slot + STATE_BYTES]

    def _place(self, label: bytes, who: str) -> Place:
        digest = (self._hashes.get(label) or self._hash(label)).copy()
        digest.update(who.encode("utf-8", "surrogatepass"))
        fingerprint, home, spare = _digest.unpack(digest.digest())
        home %= self._homes
        place = home // self._of_segment, fingerprint, self._start + home * _BUCKET, spare
        if len(who) <= KEPT_LENGTH:
            if len(self._kept) >= KEPT_PLACES:
                self._kept.clear()
            self._kept[label, who] = place
        return place

    def _spare_of(self, place: Place) -> int:
        segment, _, _, spare = place
        return self._spare + (segment * self._spares + spare % self._spares) * _BUCKET

    def _free(self, bucket: int, beat: int) -> int:
        """A bucket's free slots: the top bits of their lanes."""
        expiries = int.from_bytes(self._memory[bucket + _EXPIRIES : bucket + _SPILLED], "little")
        # Only an expiry of at most this beat has to borrow the top bit of its lane.
        return (expiries | _TOPS) - (beat + 1) * _ONES & _TOPS ^ _TOPS

    def _hash(self, label: bytes) -> hashlib.blake2b:
        """The keyed hash of a policy's counters, before anybody's name."""
        if len(self._hashes) >= KEPT_HASHES:
            self._hashes.clear()
        made = self._hashes[label] = hashlib.blake2b(label, digest_size=_digest.size, key=self._key)
        return made
