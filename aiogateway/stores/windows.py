"""When a rate limit admits one more event: pure decisions over a counter's state.

Rules, wherever the state is kept:

- No window of a period's length, both ends included, ever admits more than the limit.
- A counter whose limits are all small is a log of times, and an event counts for its period exactly.
- Any other cuts the period into ten sub-windows and keeps the counts of the current one and of the ten before. The
  oldest counts whole until it has passed entirely, so room comes free at most a tenth of the period late.
- A state is `STATE_BYTES` bytes, and any bytes are one: a process may be killed while it writes. What it leaves half
  written lacks its own event at most, or lets counts leave too late, never too early.

Times are integer nanoseconds of a clock that never goes back, and are above 0.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from mmap import mmap
from typing import Final, NamedTuple

LOGGED_UP_TO: Final = 10
SUB_WINDOWS: Final = 10
MAX_LIMIT: Final = 10**9
MAX_PERIOD: Final = 86_400
SECOND: Final = 10**9

# The times of events in no order; 0: none.
_log: Final = struct.Struct(f"<{LOGGED_UP_TO}Q")
_time: Final = struct.Struct("<Q")
STATE_BYTES: Final = _log.size
# The sub-window that was current at the last event, then the counts: that of sub-window n has place n % 11.
_RING: Final = SUB_WINDOWS + 1
# Bytes of a count, of all, and of what stands before them.
_COUNT: Final = 4
_COUNTS: Final = _RING * _COUNT
_INDEX: Final = 8
_ring: Final = struct.Struct(f"<Q{_RING}I")
_index: Final = struct.Struct("<Q")
_counts: Final = struct.Struct(f"<{_RING}I")
_count: Final = struct.Struct("<I")
# The counts when there is one event alone, by its place.
_FIRSTS: Final = [bytes(4 * place) + _count.pack(1) + bytes(4 * (_RING - 1 - place)) for place in range(_RING)]

EMPTY: Final = bytes(STATE_BYTES)

# Half the time of the class's own constructor.
_verdict: Final = tuple.__new__


@dataclass(frozen=True, slots=True)
class Policy:
    """One limit on one kind of counter.

    :param name: as the RateLimit fields and the metrics show it.
    :param limit: how many events are admitted, 1 to `MAX_LIMIT`.
    :param period: in how many seconds, 1 to `MAX_PERIOD`.
    :param scope: tells its counters from others'. Policies of one scope share counters, though their limits may differ.
    :param logged: whether a counter is a log of times: every limit of the scope is then at most `LOGGED_UP_TO`.
    :param rare: whether hardly anybody has a counter; one look tells, for all, that nobody has.
    :ivar label: what precedes the client in a counter's digest. Kind and period are in it: counters whose kind or
        period changed are new ones.
    :ivar span: the period in nanoseconds.
    :ivar width: nanoseconds of a sub-window.
    :ivar lasts: nanoseconds after which an event has passed, whatever the kind of counter.
    :raises ValueError: a number is out of its range.
    """

    name: str
    limit: int
    period: int
    scope: str
    logged: bool
    rare: bool = False
    label: bytes = field(init=False, repr=False, compare=False)
    span: int = field(init=False, repr=False, compare=False)
    width: int = field(init=False, repr=False, compare=False)
    lasts: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= (LOGGED_UP_TO if self.logged else MAX_LIMIT) or not 1 <= self.period <= MAX_PERIOD:
            raise ValueError("a policy's limit or period is out of its range")
        scope = self.scope.encode("utf-8", "surrogatepass")
        width = self.period * SECOND // SUB_WINDOWS
        object.__setattr__(self, "label", b"%d %d %d %b " % (self.logged, self.period, len(scope), scope))
        object.__setattr__(self, "span", width * SUB_WINDOWS)
        object.__setattr__(self, "width", width)
        object.__setattr__(self, "lasts", width * _RING)


class Verdict(NamedTuple):
    """What one policy says.

    :ivar admitted: whether this policy admits the event.
    :ivar remaining: how many more it would admit after this decision.
    :ivar reset: seconds. When refused: until one event would be admitted; when admitted: until the oldest event that
        counts leaves, 0 when none does.
    """

    admitted: bool
    remaining: int
    reset: float


# A verdict, and what counts the event: where in the state, and the bytes to be put there.
Weighed = tuple[Verdict, int, bytes]


def uncounted(policy: Policy, verdict: Verdict) -> Verdict:
    """What was said, as it stands when the event is not counted after all."""
    if not verdict.admitted:
        return verdict
    remaining = verdict.remaining + 1
    return Verdict(True, remaining, verdict.reset if remaining < policy.limit else 0.0)


def _weigh_log(policy: Policy, memory: mmap | bytes, start: int, now: int) -> Weighed:
    limit = policy.limit
    times = _log.unpack_from(memory, start)
    ordered = sorted(times)
    # An event of exactly a period ago counts; 0 is no event.
    leaving = now - policy.span
    first = bisect_left(ordered, leaving if leaving > 0 else 1)
    room = limit - LOGGED_UP_TO + first
    if room <= 0:
        return _verdict(Verdict, (False, 0, (min(ordered[-limit], now) - leaving + 1) / SECOND)), 0, b""
    # A time ahead of the clock can only be rubbish; it counts as now.
    oldest = min(ordered[first], now) if first < LOGGED_UP_TO else now
    # The oldest time is written over, and no other moves.
    place = times.index(ordered[0]) * _time.size
    return _verdict(Verdict, (True, room - 1, (oldest - leaving + 1) / SECOND)), place, _time.pack(now)


def _weigh_sub_windows(policy: Policy, memory: mmap | bytes, start: int, now: int) -> Weighed:
    width = policy.width
    current = now // width
    newest = current % _RING
    (last,) = _index.unpack_from(memory, start)
    if current == last:
        return _weigh_again(policy, memory, start + _INDEX, now, current)
    counts = list(_counts.unpack_from(memory, start + _INDEX))
    if current - last > SUB_WINDOWS:
        reset = ((current + _RING) * width - now) / SECOND
        return _verdict(Verdict, (True, policy.limit - 1, reset)), 0, _index.pack(current) + _FIRSTS[newest]
    for entered in range(last + 1, current + 1):
        counts[entered % _RING] = 0
    sums = list(accumulate(counts[newest + 1 :] + counts[: newest + 1]))
    room = policy.limit - sums[-1]
    # So many must leave; which sub-window they leave with, the oldest being 0. It does at the start of the next one.
    step = bisect_left(sums, 1 if room > 0 else 1 - room, 0, SUB_WINDOWS)
    reset = ((current + step + 1) * width - now) / SECOND
    if room <= 0:
        return _verdict(Verdict, (False, 0, reset)), 0, b""
    counts[newest] += 1
    return _verdict(Verdict, (True, room - 1, reset)), 0, _ring.pack(current, *counts)


def _weigh_again(policy: Policy, memory: mmap | bytes, first: int, now: int, current: int) -> Weighed:
    """As `_weigh_sub_windows`, in the sub-window of the last event: nothing has passed since.

    :param first: where the counts are.
    """
    counts = _counts.unpack_from(memory, first)
    newest = current % _RING
    room = policy.limit - sum(counts)
    after = first + (newest + 1) * _COUNT
    ring = memory[after : first + _COUNTS] + memory[first:after]
    if room > 0:
        # Zeros before the oldest count that is none, and fewer of its own than it has bytes.
        step = min((_COUNTS - len(ring.lstrip(b"\0"))) // _COUNT, SUB_WINDOWS)
        reset = ((current + step + 1) * policy.width - now) / SECOND
        place = _INDEX + newest * _COUNT
        return _verdict(Verdict, (True, room - 1, reset)), place, _count.pack(counts[newest] + 1)
    step = bisect_left(list(accumulate(_counts.unpack(ring))), 1 - room, 0, SUB_WINDOWS)
    return _verdict(Verdict, (False, 0, ((current + step + 1) * policy.width - now) / SECOND)), 0, b""


# What a policy says to one more event, by whether it is logged.
#
# :param memory: where the counter's state is, only read.
# :param start: where in it.
# :param now: nanoseconds.
WEIGH: Final[Mapping[bool, Callable[[Policy, mmap | bytes, int, int], Weighed]]] = {
    True: _weigh_log,
    False: _weigh_sub_windows,
}
