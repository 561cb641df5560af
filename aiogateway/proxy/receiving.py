"""What comes in on a client's connection: bytes to requests and bodies.

aiohttp's protocol and parser do that; what they get wrong or lack is mended here: a deadline for a request's head,
bounds for all of a head together, the end of a body whose framing breaks, bodies that go past the parser, parsers that
must not see the next request, and a client that leaves while nobody reads.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

from aiohttp import web
from aiohttp.helpers import set_exception
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE, RequestHandler, _ErrInfo

from aiogateway.deadlines import TICK, Deadline
from aiogateway.errors import Problem
from aiogateway.proxy.parsing import MAX_ARRIVING, MAX_HEAD, TOO_LARGE, make_parser, too_many_bytes
from aiogateway.proxy.terms import Terms
from aiogateway.splice import descriptor_of
from aiogateway.streams import PlainBody

# States of a socket whose peer has closed: CLOSE and CLOSE_WAIT of Linux' <net/tcp_states.h>.
_TCP_LEFT: Final = frozenset({7, 8})
HEAD_END: Final = b"\r\n\r\n"
# Seconds by which a timer is late when the process, or its machine, stood still.
OVERSLEPT: Final = 0.5


class Receiving(RequestHandler):
    """The half of a client's connection that receives.

    `_arriving` is how much of a head has come that is not whole yet, or of trailers, or between two bytes of a body in
    chunks; at least 1 where there may be some, and 0 where there is none. `_content` is the body of the request being
    answered, `_last` the last bytes that came, `_plain` a body that goes past the parser, `_deaf` whether whatever
    comes is thrown away.
    """

    _current_request: Any  # ours, not aiohttp's

    __slots__ = (
        "_arriving",
        "_content",
        "_deaf",
        "_head_deadline",
        "_last",
        "_late",
        "_plain",
        "_stalled",
        "_terms",
        "_watch",
        "closing",
    )

    def __init__(self, server: web.Server, terms: Terms, *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(server, loop=loop, **options)
        self._terms = terms
        self._arriving = 0
        self._content: StreamReader = EMPTY_PAYLOAD
        self._deaf = False
        self._head_deadline: Deadline | None = None
        self._late = "request_timeout"
        self._last = b""
        self._plain: PlainBody | None = None
        self._stalled = False
        self._watch: Deadline | None = None
        self.closing = False

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return bool(self._request_in_progress or self._messages)

    @property
    def arriving(self) -> bool:
        """Whether a request's head is arriving."""
        return self._head_deadline is not None and not self._deaf

    def connection_lost(self, exc: BaseException | None) -> None:
        self._end_head_wait()
        super().connection_lost(exc)
        # Bodies hold this connection: a circle that would keep both until the next collection.
        self._messages.clear()
        self._content, self._plain = EMPTY_PAYLOAD, None

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if (plain := self._plain) is not None:
            if not data or self._force_close or self._close:
                return
            data = plain.feed(data)
            if plain.left:
                return
            # The parser still waits for that body: what follows is for a new one.
            self._plain = None
            self._renew_parser()
            if not data:
                return
        messages = self._messages
        waiting = len(messages)
        content = messages[-1][1] if messages else self._content
        in_body, before = content is not EMPTY_PAYLOAD and not content.is_eof(), content.total_bytes
        if self._upgraded:
            super().data_received(data)
        elif self._force_close or self._close:
            return
        else:
            self._parse(data)
        self._last = data[-4:] if len(data) >= 4 else (self._last + data)[-4:]
        if self._upgraded:
            self._stop_at_upgrade()
        elif self._arriving or self._last != HEAD_END or not 0 < len(data) <= MAX_HEAD:
            self._bound(data, waiting, content, before)
        if messages:
            if self._head_deadline is not None:
                self._end_head_wait()
            newest = messages[-1][0]
            if isinstance(newest, _ErrInfo):
                newest.exc.with_traceback(None)  # its frames hold what was received, and themselves in a circle
                self._break_body()
            elif (
                newest.upgrade
                and not self._upgraded
                and (data.find(HEAD_END) + len(HEAD_END) != len(data) or not messages[-1][1].is_eof())
            ):
                # aiohttp loses what stands behind an upgrade that it doesn't know, such as `h2c`, in the packet in
                # which that request ends.
                self.closing = True
                self._deaf = messages[-1][1].is_eof()
        elif self._head_deadline is None:
            if in_body:
                # More than the body's end came; the end of one in chunks looks like that of a head.
                begun = content.is_eof() and len(data) > content.total_bytes - before and self._last != HEAD_END
            else:
                begun = bool(data.strip(b"\r\n"))
            if begun:
                self._await_head()

    def _parse(self, data: bytes) -> None:
        """What aiohttp does with data, less what is for sockets of its own."""
        messages, parser = self._messages, self._parser
        if parser is None:
            return
        try:
            came, self._upgraded, tail = parser.feed_data(data)
        except HttpProcessingError as exc:
            messages.append((_ErrInfo(400, exc, ""), EMPTY_PAYLOAD))
        except (IndexError, ValueError) as exc:  # what yarl raises on some authorities, past aiohttp's parser
            self._refuse(exc)
            return
        else:
            messages.extend(came)
            if tail:
                self._message_tail = tail
        if messages:
            if (waiter := self._waiter) is not None and not waiter.done():
                waiter.set_result(None)
            if len(messages) >= MAX_MSG_QUEUE_SIZE and not self._buffer_paused:
                self._pause_reading_for_buffer()  # the parser gives no more; `start` goes on as it takes them

    def _bound(self, data: bytes, waiting: int, content: StreamReader, before: int) -> None:
        """Refuse heads that are too large in all, whole ones and those that are still arriving.

        :param data: what came.
        :param waiting: how many requests had come before.
        :param content: the newest of their bodies.
        :param before: how much of it had come before.
        """
        messages = self._messages
        if len(messages) > waiting:
            if self._arriving or not 0 < len(data) <= MAX_HEAD:
                for index in range(waiting, len(messages)):
                    message = messages[index][0]
                    if not isinstance(message, _ErrInfo) and too_many_bytes(message.raw_headers):
                        messages[index] = _ErrInfo(431, TOO_LARGE, ""), EMPTY_PAYLOAD
            self._arriving = self._behind(data, messages[-1][1])
        elif came := content.total_bytes - before:
            ended = content.is_eof() and self._last != HEAD_END and len(data) != came
            self._arriving = max(len(data) - came, 1) if ended else 0
        else:
            self._arriving += len(data)
            if self._arriving > MAX_ARRIVING:
                self._refuse(TOO_LARGE)

    def _behind(self, data: bytes, body: StreamReader) -> int:
        """How much of a next head stands behind the newest request; 1 where an empty line in a body hides that."""
        if self._last == HEAD_END or not body.is_eof():
            return 0
        end = data.rfind(HEAD_END)
        behind = len(data) - end - len(HEAD_END) - body.total_bytes
        return 0 if behind == 0 and data.find(HEAD_END) == end else max(behind, 1)

    def _refuse(self, exc: Exception) -> None:
        """Answer that what is arriving can't be taken, after the requests before it, and listen no more."""
        self._deaf = True
        error = _ErrInfo(400, exc, ""), EMPTY_PAYLOAD
        self._messages.append(error)
        self._break_body()
        # Once more for what is still to come: the connection lingers over it, so that the client can read its answer.
        self._messages.append(error)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _stop_at_upgrade(self) -> None:
        """Take nothing from behind a request to upgrade: nobody agreed to it, and it may be frames or a request."""
        if self._message_tail:
            self._message_tail = b""
            self._deaf = self.closing = True

    def read_plainly(self, content: StreamReader, length: int) -> None:
        """Hand the rest of the body being read on as it comes, past the parser.

        :param length: of the whole body, as announced.
        """
        left = length - content.total_bytes
        # When none are left, a parser that paused on the last of them has yet to say that the body ends.
        if left > 0 and not content.is_eof() and not self._upgraded:
            self._plain = PlainBody(content, left)

    def body_descriptor(self) -> int | None:
        """Where the rest of a body that goes past the parser comes from; None where it isn't plain to see."""
        return None if self._plain is None else descriptor_of(self.transport)

    def hold_body(self) -> None:
        """Read no more, until `body_moved`: the rest of the body goes another way."""
        if self.transport is not None:
            self.transport.pause_reading()

    def body_moved(self, count: int) -> None:
        """So many bytes of the body went another way."""
        if (plain := self._plain) is not None:
            plain.left -= count
            plain.reader.total_bytes += count
            if not plain.left:
                self._plain = None
                plain.reader.feed_eof()
                self._renew_parser()  # as when it had come this way
        if self.transport is not None and not self.transport.is_closing() and not self._reading_paused:
            self.transport.resume_reading()

    def _may_go_on(self, message: RawRequestMessage) -> bool:
        """Whether another request may follow this one.

        Behind a body in chunks only when nothing stands there yet: aiohttp's parser gives a body's trailers out as
        the first fields of the next request. A new parser knows nothing of them, but can only take over between two.
        """
        return not message.chunked or (not self._messages and self._last == HEAD_END)

    def _renew_parser(self) -> None:
        """Parse what comes from now on with a parser that knows nothing of what came before."""
        self._parser = make_parser(self, self._loop)
        self._stalled = False

    def pause_reading(self) -> None:
        self._stalled = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        # As `UpstreamProtocol`'s.
        if self._reading_paused or (self._stalled and self._plain is None):
            super().resume_reading(resume_parser)

    def _pause_transport_reading(self) -> None:
        super()._pause_transport_reading()
        if self._watch is None:
            self._watch = self._terms.deadlines.after(0, self._look_for_client)

    def _look_for_client(self) -> None:
        """Nobody reads, so nobody is told when the client leaves: ask the kernel."""
        self._watch = None
        transport = self.transport
        if transport is None or not (self._reading_paused or self._buffer_paused):
            return
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _TCP_LEFT:
            transport.abort()
        else:
            self._watch = self._terms.deadlines.after(0, self._look_for_client)

    def _await_head(self, seconds: float | None = None) -> None:
        """:param seconds: until the head must be there; left out, the header timeout."""
        self._head_deadline = self._terms.deadlines.after(seconds or self._terms.header_timeout, self._head_expired)

    def _end_head_wait(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _head_expired(self) -> None:
        self._head_deadline = None
        if self.busy:
            self._await_head()  # it began behind a request that is still being answered
        elif self.transport is not None:
            self.transport.write(self._terms.refuse(Problem(self._late)))
            self.force_close()

    def _process_keepalive(self) -> None:
        if self._head_deadline is None:
            if (now := self._loop.time()) > self._next_keepalive_close_time + OVERSLEPT:
                self._next_keepalive_close_time = now + TICK  # what came while the process stood still is read first
            super()._process_keepalive()
        else:  # a head is arriving, so the connection is not idle
            self._keepalive_handle = None

    def _break_body(self) -> None:
        """The framing of the body being read is broken: aiohttp forgets the reader, who would wait for ever."""
        if len(self._messages) > 1:
            content: StreamReader | None = self._messages[-2][1]
        else:
            content = None if self._current_request is None else self._current_request.content
        if content is not None and not content.is_eof():
            set_exception(content, Problem("bad_request", "the body's framing is malformed"))
