"""Where the frames of one direction begin and end (RFC 6455 section 5.2): a pure reading of bytes that go on unchanged.

Nothing is unmasked, joined or judged: that is for the two who speak to each other. Read are the heads of frames, for
the bounds that a route sets, and what a Close says. A frame's head goes on only when it is whole, and so does a Close,
so that what went on ends between two frames or in the middle of a payload, and never in between.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, NamedTuple

from aiogateway.settings.values import Rate

# Opcodes (RFC 6455 section 5.2); those with this bit are of control frames.
CONTROL: Final = 0x8
CLOSE: Final = 0x8
# Bytes that a control frame's payload may have (section 5.5).
MOST_CONTROL: Final = 125
# Frames read in one go: a read of tiny ones could hold up the event loop for many milliseconds.
AT_ONCE: Final = 4096
# What a Close without a code means (section 7.4.1); never sent itself.
NO_CODE: Final = 1005
GOING_AWAY: Final = 1001
POLICY_VIOLATION: Final = 1008
TOO_BIG: Final = 1009
# Of IANA's registry for RFC 6455: for a proxy what 502 is in HTTP.
BAD_GATEWAY: Final = 1014


class Refusal(NamedTuple):
    """Why a client's frame goes no further.

    :ivar code: what its Close says.
    :ivar reason: the same in words.
    """

    code: int
    reason: str


TOO_MANY: Final = Refusal(POLICY_VIOLATION, "too many messages")
TOO_LARGE: Final = Refusal(TOO_BIG, "the message is too large")


class Bounds:
    """What a client's messages must keep to. Fragments and compressed payloads count as they are sent.

    :param most: bytes of one message's payload.
    :param rate: of messages; all of a period may come at once. None: no bound.
    :param clock: seconds, monotonic.
    """

    __slots__ = ("_clock", "_due", "_most", "_rate", "_size")

    def __init__(self, most: int, rate: Rate | None, clock: Callable[[], float]) -> None:
        self._most = most
        self._rate = rate
        self._clock = clock
        self._due = 0.0
        self._size = 0

    def refuse(self, opcode: int, length: int) -> Refusal | None:
        """Why a frame that begins goes no further; None when it may.

        :param opcode: 0 for what counts with the message before it: a fragment that goes on.
        :param length: of its payload, in bytes.
        """
        if opcode:
            self._size = length
            if self._rate is not None and not self._admits(self._rate):
                return TOO_MANY
        else:
            self._size += length
        return TOO_LARGE if self._size > self._most else None

    def _admits(self, rate: Rate) -> bool:
        """GCRA: each message pushes the time on at which none is owed any more, which may be a period ahead."""
        now = self._clock()
        due = max(self._due, now) + rate.period / rate.limit
        # A hair more than the period, or the last of a full one could fall to rounding.
        if due - now > rate.period * (1 + 1e-9):
            return False
        self._due = due
        return True


class Frames:
    """The frames of one direction.

    :param bounds: of what a client sends; None for an upstream.
    :ivar news: whether something was found that somebody has to act on: `close`, `refusal` or `stopped`.
    :ivar close: the code of the Close that came; None before.
    :ivar close_went_on: whether that went on.
    :ivar rest: what came and is yet to be fed again, because too many frames came at once.
    :ivar refusal: why the frames go no further; None while they do.
    :ivar stopped: whether nothing goes on any more; it ended between two frames.
    """

    __slots__ = (
        "_bounds",
        "_held",
        "_left",
        "_stopping",
        "close",
        "close_went_on",
        "news",
        "refusal",
        "rest",
        "stopped",
    )

    def __init__(self, bounds: Bounds | None = None) -> None:
        self._bounds = bounds
        self._held = b""
        self._left = 0
        self._stopping = False
        self.close: int | None = None
        self.close_went_on = False
        self.news = False
        self.refusal: Refusal | None = None
        self.rest = b""
        self.stopped = False

    @property
    def between(self) -> bool:
        """Whether what went on ends between two frames."""
        return self.stopped or not self._left

    def stop(self) -> None:
        """Let nothing go on behind the frame that has begun, if one has."""
        self._stopping = True
        if not self._left:
            self.stopped = True

    def feed(self, data: bytes) -> bytes:
        """Take note of what came; answers what may go on."""
        left, size = self._left, len(data)
        if left > size:
            self._left = left - size
            return b"" if self.stopped else data
        if self._held:
            data, self._held = self._held + data, b""
            size = len(data)
        on = 0 if self.stopped else size
        at, room = left, AT_ONCE
        while at < size:
            if not room:
                self.rest, self._left = data[at:], 0
                return data[: min(on, at)]
            room -= 1
            if self._stopping and not self.stopped:
                on = self._stop(at)
            end = self._frame(data, at, size)
            if not end:
                self._held, self._left = data[at:], 0
                return data[: min(on, at)]
            if self.refusal is not None and not self.stopped:
                on = self._stop(at)
            at = end
        self._left = at - size
        if self._stopping and not self.stopped and at == size:
            self._stop(at)
        return data if on == size else data[:on]

    def _stop(self, at: int) -> int:
        self.stopped = self.news = True
        return at

    def _frame(self, data: bytes, at: int, size: int) -> int:
        """Read a frame's head; answers where the frame ends, or 0 when its head, or a Close, is not whole.

        :param at: where the frame begins.
        :param size: of the data.
        """
        body = at + 2
        if body > size:
            return 0
        first, length = data[at], data[at + 1]
        masked, length = length & 0x80, length & 0x7F
        if length > MOST_CONTROL:
            wide = 2 if length == 126 else 8
            body += wide
            if body > size:
                return 0
            length = int.from_bytes(data[at + 2 : body], "big")
        if masked:
            body += 4
        end = body + length
        if body > size:
            return 0
        control = first & CONTROL
        if not control or length > MOST_CONTROL:  # a control frame that long is none, and must not get around bounds
            if self._bounds is not None and self.refusal is None:
                self.refusal = self._bounds.refuse(0 if control else first & 0xF, length)
        elif first & 0xF == CLOSE and self.close is None:
            if end > size:
                return 0
            self.close = code_of(data[body:end], data[body - 4 : body] if masked else b"")
            self.close_went_on = not self.stopped
            self.news = True
        return end


def code_of(payload: bytes, mask: bytes) -> int:
    """The code of a Close (RFC 6455 section 5.5.1).

    :param mask: four bytes, or none.
    """
    if len(payload) < 2:
        return NO_CODE
    code = payload[:2]
    return int.from_bytes(bytes(map(int.__xor__, code, mask)) if mask else code, "big")


def close_frame(code: int, reason: str, *, masked: bool) -> bytes:
    """A Close frame.

    :param reason: in words of ASCII, 123 of them at most.
    :param masked: as a client's frames must be (RFC 6455 section 5.3).
    """
    payload = code.to_bytes(2, "big") + reason.encode("ascii")
    if not masked:
        return bytes((0x80 | CLOSE, len(payload))) + payload
    mask = os.urandom(4)
    hidden = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes((0x80 | CLOSE, 0x80 | len(payload))) + mask + hidden
