"""One request to an upstream whose answer may be for many clients.

It runs in a task of its own, so that it goes on when the client leaves for which it began. Rules:

1. Who joins it waits for the answer's head, which says whether the answer is for many (`Outcome`).
2. An answer that is goes to all that joined as it arrives, and is stored when it is complete.
3. One that is not belongs to the client that asked first; the others ask for themselves. So they do when it fails.
4. When nobody waits for it any more it ends, unless it is to renew what is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from aiogateway.caching.entry import Entry, Key
from aiogateway.caching.inquiry import Inquiry
from aiogateway.caching.storing import Asked, Selecting, matches
from aiogateway.caching.stream import Reader, Stream
from aiogateway.errors import Problem
from aiogateway.proxy.response import Response


class Stored(NamedTuple):
    """An answer that is complete.

    :ivar body: None for the one that is stored.
    :ivar status: of the answer to what was sent.
    :ivar kept: whether the store has it.
    :ivar first: for the client that asked first: with what the answer keeps from all others.
    """

    entry: Entry
    body: bytes | None
    status: int
    kept: bool
    first: Entry


class Shared(NamedTuple):
    """An answer on its way, for all that joined.

    :ivar entry: what is to be stored of it.
    :ivar lines: as they go to the client that asked first; all others get those of `entry`.
    :ivar sized: whether the size in `entry` is known.
    :ivar status: of the answer to what was sent.
    :ivar kept: whether the store has it.
    """

    entry: Entry
    lines: bytes
    stream: Stream
    sized: bool
    status: int
    kept: bool = False


class Alone(NamedTuple):
    """An answer for the client that asked first.

    :ivar code: what went wrong, where it tells of that.
    """

    response: Response
    code: str


class Failed(NamedTuple):
    """No answer."""

    problem: Problem


Outcome = Stored | Shared | Alone | Failed


class Flight:
    """:param inquiry: what is sent.
    :param asked: what decides how the answer may be kept.
    :param stale: what is stored already, and validated by this.
    :param since: the store's mark before it was sent.
    :param background: whether it goes on though nobody waits.
    :ivar coded: its answer on its way in other codings.
    """

    def __init__(
        self, key: Key, inquiry: Inquiry, asked: Asked, stale: Entry | None, since: int, *, background: bool = False
    ) -> None:
        self.key = key
        self.inquiry = inquiry
        self.asked = asked
        self.stale = stale
        self.since = since
        self._background = background
        self._waiting = 0
        self._reading = 0
        self._let_go: list[Callable[[], None]] = []
        self.coded: dict[str, Stream] = {}
        self._outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    def begin(self, task: asyncio.Task[None]) -> None:
        """:param task: which settles it; whoever made it awaits it or cancels it."""
        self._task = task
        task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._end_unless_wanted()
        if self._outcome.done():
            return
        if task.cancelled():
            self._outcome.cancel()
        elif (exc := task.exception()) is not None:
            self._outcome.set_exception(exc)
            self._outcome.exception()  # nobody may be waiting for it

    def settle(self, outcome: Outcome) -> None:
        """Say what becomes of it."""
        self._outcome.set_result(outcome)

    def suits(self, source: str, selecting: Selecting, alike: tuple[str, ...], now: float) -> bool:
        """Whether its answer may be one for such a request, as far as that is known.

        Who comes after its head gets it as if it was stored: while it is fresh, unless it must be validated each time.

        :param alike: names of fields that answers of this URI were selected by.
        :param now: seconds since the epoch.
        """
        if source != self.asked.source or (self._task is not None and self._task.cancelling()):
            return False
        if not self._outcome.done():
            return all(selecting(name) == self.asked.selecting(name) for name in alike)
        outcome = self._known()
        if not isinstance(outcome, Shared) or not outcome.stream.whole:
            return False
        entry = outcome.entry
        return not entry.freshness.validate and entry.ttl(now) > 0 and matches(entry, source, selecting)

    def _known(self) -> Outcome | None:
        """What became of it, if that is known and something did."""
        outcome = self._outcome
        if not outcome.done() or outcome.cancelled() or outcome.exception() is not None:
            return None
        return outcome.result()

    @property
    def waiting(self) -> int:
        """How many have yet to hear what becomes of it, or to begin to read."""
        return self._waiting

    def join(self) -> None:
        """Take part in it; whoever joins leaves, or reads."""
        self._waiting += 1

    def leave(self) -> None:
        """Take no part in it any more."""
        self._waiting -= 1
        if isinstance(outcome := self._known(), Shared):
            outcome.stream.was_read()  # who doesn't begin to read needn't be waited for
        self._end_unless_wanted()

    def read(self, stream: Stream) -> Reader:
        """Instead of leaving: read its answer from the beginning; whoever reads calls `done`."""
        self._reading += 1
        reader = stream.join()
        self._waiting -= 1
        return reader

    def done(self, reader: Reader) -> None:
        """Read no more."""
        reader.close()
        self._reading -= 1
        self._end_unless_wanted()

    def _end_unless_wanted(self) -> None:
        if self._waiting or self._reading or self._task is None:
            return
        if not self._task.done():
            if not self._background:
                self._task.cancel()
        else:
            while self._let_go:
                self._let_go.pop()()

    def hold(self, let_go: Callable[[], None]) -> None:
        """:param let_go: called when its answer was read by all, or given up."""
        self._let_go.append(let_go)

    def abandon(self) -> None:
        """The client left for which it began."""
        self.inquiry.heard = None
        if isinstance(outcome := self._known(), Alone):
            outcome.response.abandon()

    def complete(self) -> None:
        """All of its answer is here: it goes on to its end, though nobody may be waiting any more."""
        self._background = True

    async def landed(self) -> None:
        """Wait until its answer is stored, or given up."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def outcome(self) -> Outcome:
        """What becomes of it, for whoever joined.

        :raises asyncio.CancelledError: whoever asks was cancelled, or the flight was.
        """
        return await asyncio.shield(self._outcome)
