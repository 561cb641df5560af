"""One request and its answer over one connection of a pool.

An exchange owns its connection from the moment it is made until `finish` or `abort`, whichever comes first; calling
either again is harmless. Its rules:

1. What it waits for is bounded by a deadline each: the answer's head by the route's tier, counted from the request's
   last byte; silence in the middle of a body by the idle timeout, in either direction.
2. An answer may come before the request's body is through. It is given on at once, while the rest is still sent.
3. A connection is reused only after both bodies ended; else it is aborted, never closed in good order, so that the
   upstream doesn't take half a request for a whole one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import aiohttp
from aiohttp.hdrs import CONTENT_LENGTH
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from aiogateway.deadlines import Credit, Deadline, Deadlines
from aiogateway.errors import Problem
from aiogateway.pipes import Impossible
from aiogateway.proxy.answer_head import SWITCHING, Interim, bad_response, check, past_interim
from aiogateway.proxy.headers import RawFields
from aiogateway.proxy.request import Rest
from aiogateway.proxy.upload import Upload
from aiogateway.splice import Patience, SourceLost, Splice
from aiogateway.upstreams.connection import UpstreamConnection
from aiogateway.upstreams.pool import Pool

SILENT: Final = "the service stopped in the middle of its answer"


class StaleConnection(Exception):
    """A kept connection was closed by the upstream before a byte of an answer came."""


class Exchange:
    """:param timeout: seconds to wait for the answer's head (the route's tier, or what is left of it).
    :param idle: seconds of silence allowed in the middle of a body.
    :param broke_off: called when the upstream breaks off, or falls silent, in the middle of its answer.
    """

    __slots__ = (
        "_broke_off",
        "_connection",
        "_deadline",
        "_deadlines",
        "_established",
        "_headed",
        "_idle",
        "_over",
        "_pool",
        "_timeout",
        "_upload",
        "hinted",
        "message",
        "payload",
    )

    message: RawResponseMessage

    def __init__(
        self,
        pool: Pool,
        connection: UpstreamConnection,
        deadlines: Deadlines,
        *,
        timeout: float,
        idle: float,
        broke_off: Callable[[], None],
    ) -> None:
        self._broke_off = broke_off
        self._pool = pool
        self._connection = connection
        self._deadlines = deadlines
        self._deadline: Deadline | None = None
        self._timeout = timeout
        self._idle = idle
        self._upload: Upload | None = None
        self._established = False
        self._headed = False
        self._over = False
        self.hinted = False
        self.payload: StreamReader = EMPTY_PAYLOAD

    async def send(
        self,
        data: bytes,
        rest: Rest | None,
        *,
        chunked: bool,
        bodiless: bool,
        interim: Interim,
        switching: bool = False,
    ) -> None:
        """Send the request and wait for the answer's head, which is in `message` then.

        :param data: the head, and the body or as much of it as was received.
        :param rest: where the rest of the body comes from.
        :param chunked: whether that rest is framed in chunks.
        :param bodiless: the answer has no body (HEAD).
        :param interim: given each 103's fields, and the values of its `Connection` fields.
        :param switching: whether the protocol may be switched (101).
        :raises StaleConnection: a reused connection was closed before anything came.
        :raises Problem: `upstream_timeout`, `upstream_bad_response`, or what the body raised.
        """
        connection = self._connection
        connection.begin(data, bodiless=bodiless)
        if rest is None:
            self._deadline = self._deadlines.after(self._timeout, self._no_head)
        else:
            self._upload = Upload(
                connection, rest, self._deadlines, chunked=chunked, idle=self._idle, on_sent=self._was_sent
            )
        try:
            message, payload = await connection.next_head()
            if not connection.take_head(message):
                raise Problem("upstream_bad_response", "the head of the service's answer is malformed")
            if message.code < 200 and not (switching and message.code == SWITCHING):

                def hint(fields: RawFields, connection_fields: Sequence[str]) -> None:
                    self.hinted = True
                    interim(fields, connection_fields)

                message, payload = await past_interim(connection, message, hint, switching=switching)
        except (aiohttp.ClientError, HttpProcessingError) as exc:
            if connection.reused and not connection.answered and not isinstance(exc, HttpProcessingError):
                raise StaleConnection from exc
            raise bad_response(exc) from exc
        finally:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
        check(message)
        self._headed = True
        self.message = message
        self.payload = connection.payload = payload

    async def splice(self, sink: int, left: int, taking: Patience, *, brief: bool) -> bytes:
        """Have the kernel move the rest of the answer's body, which is read plainly and of which nothing is at hand.

        `hold` was called. What is not moved is read as before.

        :param sink: the client's descriptor.
        :param left: bytes that are still to come.
        :param brief: stop where the client would have to be waited for.
        :returns: what was taken and has to be given to the client first.
        :raises aiohttp.ClientError: the upstream broke off.
        :raises ConnectionError: the client takes no more.
        :raises Problem: `upstream_timeout`.
        """
        connection = self._connection
        source = connection.descriptor()
        if source is None:
            raise aiohttp.ClientPayloadError("the connection is lost")
        giving = Patience(self._idle, Credit(0), lambda: Problem("upstream_timeout", SILENT))
        try:
            return await Splice(source, sink, left, self._deadlines, giving, taking, brief=brief).run()
        except Impossible:
            return b""
        except (SourceLost, Problem) as exc:
            self._blame()
            if isinstance(exc, Problem):
                raise
            raise aiohttp.ClientPayloadError("the connection was closed in the middle of the body") from exc
        finally:
            connection.moved(giving.bytes)

    def may_splice(self) -> bool:
        """Whether the kernel could move the rest of the answer's body."""
        return self._connection.descriptor() is not None

    def hold(self) -> None:
        """Take no more of the answer, until `splice`."""
        self._connection.hold()

    def _was_sent(self) -> None:
        if not self._headed and not self._over:
            self._deadline = self._deadlines.after(self._timeout, self._no_head)

    def _no_head(self) -> None:
        self._connection.fail(Problem("upstream_timeout", "the service did not answer in time"))

    def _silent(self) -> None:
        self._connection.fail(Problem("upstream_timeout", SILENT))

    @property
    def over(self) -> bool:
        """Whether it is finished or given up."""
        return self._over

    @property
    def answered(self) -> bool:
        """Whether a byte of an answer came."""
        return self._connection.answered

    @property
    def uploading(self) -> bool:
        """Whether the request's body is still on its way."""
        return self._upload is not None and not self._upload.sent and not self._over

    def bear_silence(self, seconds: float) -> None:
        """From now on, this many seconds of silence are allowed in the middle of the answer, and of the request."""
        self._idle = seconds
        if self._upload is not None:
            self._upload.idle = seconds

    def establish(self, idle: float) -> None:
        """The answer is an event stream: it leaves the pool's count of requests, and may be silent for longer.

        :param idle: seconds of silence allowed from now on.
        :raises Problem: `upstream_pool_exhausted`.
        """
        self._pool.establish(self._connection)
        self._established = True
        self.bear_silence(idle)

    @property
    def lost(self) -> bool:
        """Whether the protocol that was switched to can't begin: the upstream is gone, and left no word of it."""
        return self._connection.lost

    def hand_over(self) -> tuple[asyncio.Transport, bytes]:
        """The protocol was switched: another one takes over at once, until this exchange is given up.

        :returns: the connection's transport, which may be closing, and what came behind the answer's head.
        :raises ConnectionError: the connection is lost.
        """
        return self._connection.hand_over()

    def read_plainly(self) -> None:
        """The rest of the body is much: spare it the parser, where its length is known."""
        length = self.message.headers.get(CONTENT_LENGTH)
        if length is not None:
            self._connection.read_plainly(int(length))

    def _blame(self) -> None:
        """An established stream may end at any time, and one whose request is still arriving for its client's sake."""
        if not self._established and not self.uploading and self.message.code < 500:  # an error was counted as one
            self._broke_off()

    def interrupt(self, problem: Problem) -> None:
        """Wake whoever reads the answer's body with a problem."""
        self._connection.fail(problem)

    async def read(self) -> bytes:
        """The next bytes of the answer's body as they came; empty at its end.

        :raises aiohttp.ClientError: the upstream broke off.
        :raises Problem: `upstream_timeout`.
        """
        deadline = self._deadlines.after(self._idle, self._silent)
        try:
            return await self.payload.readany()
        except aiohttp.ClientError:
            self._blame()
            raise
        except Problem as problem:
            if problem.code == "upstream_timeout":
                self._blame()
            raise
        finally:
            deadline.cancel()

    def at_hand(self) -> bytes:
        """What has arrived of the answer's body; empty where `read` has to be asked."""
        return b"" if self.payload.exception() is not None else self.payload.read_nowait()

    def finish(self) -> None:
        """The answer is read to its end: the connection goes back to its pool, if the request went out whole too."""
        if self._over:
            return
        if (self._upload is not None and not self._upload.sent) or not self.payload.is_eof():
            self.abort()
            return
        self._over = True
        self._connection.complete(self.message)
        if self._established:
            self._pool.end_stream(self._connection)
        else:
            self._pool.release(self._connection)

    def abort(self) -> None:
        """Give up: nothing more is sent or read, and the connection is not used again."""
        if self._over:
            return
        self._over = True
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._upload is not None:
            self._upload.cancel()
        self._connection.abort()
        if self._established:
            self._pool.end_stream(self._connection)
        else:
            self._pool.discard(self._connection)
