"""Two ends of a WebSocket and the bytes between them: what comes in at one goes out at the other, as it came.

Rules:

1. Neither end is read faster than the other takes it.
2. A Close of the gateway's own goes out between two frames, or not at all. Nothing of the peer's follows it.
3. Once a Close went anywhere, all is over within `CLOSING`, but for a client that still reads what was said before it.
   An end that was told and has answered is closed, at first for writing only: a close with bytes unread could lose what
   was said last on its way.
4. A connection that ends without a Close is passed on as such to the upstream. A client is told that its upstream is
   gone, where a frame is not cut in two by that.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiogateway.deadlines import Deadline, Deadlines
from aiogateway.websocket.closes import CLIENT_CLOSED, CLIENT_LOST, IDLE, REFUSED, UPSTREAM_CLOSED, UPSTREAM_LOST
from aiogateway.websocket.frames import BAD_GATEWAY, GOING_AWAY, Bounds, Frames, close_frame

# Seconds for what is left once a Close went out (RFC 6455 section 7.1.1).
CLOSING: Final = 10.0
# Looks at an idle socket in the time that it may be silent.
LOOKS: Final = 4


class End(asyncio.Protocol):
    """One end of a relay.

    :param frames: those that come in here.
    :param masked: whether what goes out here must be masked.
    :ivar open: whether what comes in at the other end goes out here.
    :ivar full: whether the peer here reads slower than the other sends.
    :ivar told: whether a Close went out here.
    :ivar passed: bytes that came in here and went on.
    """

    __slots__ = (
        "_ended",
        "_ending",
        "_finished",
        "_parting",
        "_shut",
        "frames",
        "full",
        "lost",
        "masked",
        "open",
        "other",
        "passed",
        "relay",
        "told",
        "transport",
    )
    transport: asyncio.Transport
    other: End

    def __init__(self, relay: Relay, frames: Frames, *, masked: bool) -> None:
        self.relay = relay
        self.frames = frames
        self.masked = masked
        self.open = True
        self.full = False
        self.told = False
        self.lost = False
        self.passed = 0
        self._ended = False
        self._ending = False
        self._finished = False
        self._shut = False
        self._parting = b""

    def data_received(self, data: bytes) -> None:
        if self._finished:
            return
        frames, other = self.frames, self.other
        self.relay.moved = True
        data = frames.feed(data)
        if data and other.open and not other.transport.is_closing():
            other.transport.write(data)
            self.passed += len(data)
        if frames.news:
            frames.news = False
            self.relay.notice(self)
        if frames.rest:
            if not self.transport.is_closing():
                self.transport.pause_reading()
            self.relay.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        """Read on once there is room at the other end, what came already before anything else."""
        if self.other.full or self._finished:
            return
        if self.frames.rest:
            data, self.frames.rest = self.frames.rest, b""
            self.data_received(data)
        if self.frames.rest or self.other.full:
            return
        if self._ending:
            self._end()
        elif not self.transport.is_closing():
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        self.full = True
        if not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.full = False
        self.other._read_on()

    def eof_received(self) -> bool:
        """Whether it is kept open for what the other end has still to say."""
        waits = self.frames.close is not None and not self.told and self.transport.can_write_eof()
        self._end()
        return waits and not self._finished

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost, self.open = True, False
        self._end()
        self.relay.check_over()

    def _end(self) -> None:
        """The peer is gone: act on that once all that came before is read. TLS gives both in one go."""
        self._ending = True
        if self.frames.rest:
            return
        if not self._ended:
            self._ended = True
            self.open = self.open and self.frames.close is not None
            self.relay.ended(self)
        if self.lost and self.other.told:
            self.other.finish()  # nobody is left for what it may still say

    def part(self, parting: bytes) -> None:
        """Say a Close of the gateway's own, as soon as what goes out here ends between two frames."""
        if self.open and not self.told and not self._parting:
            self._parting = parting
            self.other.frames.stop()
            self.say()

    def say(self) -> None:
        """Say what is to be said, if it is time for that."""
        if self._parting and self.other.frames.stopped and self.open and not self.transport.is_closing():
            self.transport.write(self._parting)
            self.told, self.open = True, False
            self.close_if_answered()

    def close_if_answered(self) -> None:
        """Close once it said a Close and was told one."""
        if self.told and self.frames.close is not None:
            self.finish()

    def finish(self) -> None:
        """Nothing more goes out here; close once the peer has read what did, and said so by its own close."""
        self.open = False
        if self._finished or self.lost or self.transport.is_closing():
            return
        self._finished = True
        self.frames.rest = b""
        if self._ended or not self.transport.can_write_eof():
            self.transport.close()
        else:
            self.shut()
            self.transport.resume_reading()  # for its end; whatever comes before that goes nowhere

    def shut(self) -> None:
        """Nothing more goes out here, and the peer is told so where it can still answer."""
        self.open = False
        if not self._shut and not self.transport.is_closing() and self.transport.can_write_eof():
            self._shut = True
            self.transport.write_eof()


class Relay:
    """:param bounds: of what the client sends.
    :param idle: seconds in which something must come from either end.
    :ivar over: done once both ends are closed.
    :ivar reason: why it ended; empty before.
    :ivar moved: whether anything came since somebody looked.
    """

    def __init__(self, bounds: Bounds, deadlines: Deadlines, *, idle: float) -> None:
        self.client = End(self, Frames(bounds), masked=False)
        self.upstream = End(self, Frames(), masked=True)
        self.client.other, self.upstream.other = self.upstream, self.client
        self.loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self.loop.create_future()
        self.reason = ""
        self.moved = False
        self._deadlines = deadlines
        self._idle = idle
        self._quiet = 0
        self._unsent = 0
        self._closing = False

    def start(self, client: asyncio.Transport, upstream: asyncio.Transport, head: bytes, early: bytes) -> None:
        """Begin, over connections whose protocols the ends are from now on.

        :param head: of the answer that lets the client begin; whether that is too much for now is the ends' business.
        :param early: what came of the upstream before.
        """
        self._deadline: Deadline = self._deadlines.after(self._idle / LOOKS, self._look)
        self.client.transport, self.upstream.transport = client, upstream
        gone = upstream.is_closing()  # with TLS an end may come in one go with what was said before it
        for end in (self.client,) if gone else (self.client, self.upstream):
            end.transport.set_protocol(end)
            end.transport.resume_reading()
        client.write(head)
        if early:
            self.upstream.data_received(early)
        if gone:
            self.upstream.connection_lost(None)

    def _look(self) -> None:
        """See whether anything came of late: a deadline for every message would cost more than the message."""
        self._quiet = 0 if self.moved else self._quiet + 1
        self.moved = False
        if self._quiet >= LOOKS:
            self.close(GOING_AWAY, "nothing was said for too long", IDLE)
        else:
            self._deadline = self._deadlines.after(self._idle / LOOKS, self._look)

    def close(self, code: int, words: str, reason: str) -> None:
        """Close both ends, with a Close of the gateway's own where none went yet.

        :param words: for the peers.
        :param reason: for metrics.
        """
        self._begin_closing(reason)
        for end in (self.client, self.upstream):
            end.part(close_frame(code, words, masked=end.masked))

    def _begin_closing(self, reason: str) -> None:
        self.reason = self.reason or reason
        if not self._closing:
            self._closing = True
            self._deadline.cancel()
            self._quiet = 0
            self._deadline = self._deadlines.after(CLOSING, self._see_off)

    def notice(self, end: End) -> None:
        """Act on what came in at an end: a Close, a frame that is refused, or the end of the last one that goes on."""
        frames = end.frames
        if frames.close is not None:
            self._begin_closing(CLIENT_CLOSED if end is self.client else UPSTREAM_CLOSED)
            end.other.told = end.other.told or frames.close_went_on
        if frames.refusal is not None:
            self.close(*frames.refusal, REFUSED[frames.refusal])
        end.other.say()
        for each in (self.client, self.upstream):
            each.close_if_answered()

    def ended(self, end: End) -> None:
        """An end was closed by its peer, in good order or not."""
        other = end.other
        if end.told or end.frames.close is not None:
            if other.frames.close is not None:
                other.finish()  # it has said its Close, and nobody is left to answer
            elif other.told:
                other.shut()
            return
        self._begin_closing(CLIENT_LOST if end is self.client else UPSTREAM_LOST)
        if other is self.upstream:
            other.transport.close()
        elif end.frames.between:
            other.part(close_frame(BAD_GATEWAY, "the service broke off", masked=other.masked))
        else:
            other.finish()  # a frame is not whole, and nothing can follow that

    def check_over(self) -> None:
        """See whether both ends are closed."""
        if self.client.lost and self.upstream.lost:
            self._deadline.cancel()
            if not self.over.done():
                self.over.set_result(None)

    def _see_off(self) -> None:
        """End it, unless the client is still reading; one that reads nothing is silent, and may be for as long."""
        client = self.client
        unsent = 0 if client.lost else client.transport.get_write_buffer_size()
        self._quiet = 0 if unsent < self._unsent else self._quiet + 1
        self._unsent = unsent
        if client.lost or self._quiet * CLOSING >= self._idle:
            self.cut()
            return
        self.upstream.transport.abort()
        if unsent:
            self._deadline = self._deadlines.after(CLOSING, self._see_off)
        else:
            self._deadline = self._deadlines.after(self._idle, self.cut)
            client.transport.close()  # with TLS more may be on its way, and has the time that such a close has

    def cut(self) -> None:
        """End it here and now."""
        for end in (self.client, self.upstream):
            end.transport.abort()
