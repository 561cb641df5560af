"""One worker's part in encoding answers: what it decides by the settings, and the threads it works in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from aiogateway.compression.encoders import ENCODERS, Encoder
from aiogateway.compression.negotiation import IDENTITY, Choice
from aiogateway.compression.policy import Headers, fitting, may_encode
from aiogateway.linux import Buffer
from aiogateway.metrics import Metrics, families
from aiogateway.settings import Settings

# Bytes that are encoded at once on the loop: less than a millisecond in any coding. Of what is encoded once for many,
# which takes longer, fewer.
ON_LOOP: Final = 128 * 1024
ON_LOOP_THOROUGH: Final = 4 * 1024
# Bytes from which a chunk is worth the way to a thread: that costs more than encoding the little that there is.
LARGE: Final = 384 * 1024
# Encoders alive at once; each holds up to 366 KiB.
MOST: Final = 256
THREADS: Final = 2

T = TypeVar("T", bytes, Buffer)


class Compression:
    """:param settings: `GATEWAY_COMPRESS_MIN_SIZE` and `GATEWAY_COMPRESS_TYPES`.
    :param metrics: counts what had to stay plain.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.least = settings.compress_min_size
        self._fits = fitting(settings.compress_types)
        self._skipped = metrics.count(families.ENCODERS_FULL)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="encoding")
        self._alive = 0

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def may_encode(self, status: int, headers: Headers) -> bool:
        """Whether an answer may be encoded, whatever its size and whoever asked."""
        return may_encode(status, headers, self._fits)

    def coding(self, choice: Choice, size: int | None) -> str:
        """The coding of an answer that may be encoded.

        :param size: of its body in bytes; None when that isn't known.
        """
        return IDENTITY if size is not None and size < self.least and not choice.refused else choice.coding

    def encode_now(self, coding: str, body: bytes) -> bytes:
        """A whole body in a coding; for one of no more than `ON_LOOP` bytes."""
        return ENCODERS[coding].whole(body)

    async def encode(self, coding: str, body: Buffer) -> bytes:
        """A whole body in a coding, once for many."""
        work = ENCODERS[coding].thorough
        return work(body) if len(body) <= ON_LOOP_THOROUGH else await self._in_thread(work, body)

    def piecewise(self, coding: str) -> Piecewise | None:
        """An encoder for a body that flows, which whoever gets it closes; None when there are too many."""
        if self._alive >= MOST:
            self._skipped.events += 1
            return None
        self._alive += 1
        return Piecewise(ENCODERS[coding].encoder(), self._in_thread, self._gone)

    def _gone(self) -> None:
        self._alive -= 1

    async def _in_thread(self, work: Callable[[T], bytes], data: T) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, data)


class Piecewise:
    """Encodes a body as it flows."""

    def __init__(
        self,
        encoder: Encoder,
        in_thread: Callable[[Callable[[bytes], bytes], bytes], Awaitable[bytes]],
        gone: Callable[[], None],
    ) -> None:
        self._encoder = encoder
        self._in_thread = in_thread
        self._gone = gone
        self._closed = False
        # Bytes that may still have to be encoded: zstd gathers 128 KiB before it does anything. No more than `ON_LOOP`,
        # so that neither a flush nor the end holds the loop for longer than a piece does.
        self._held = 0

    async def feed(self, chunk: bytes, *, late: bool) -> bytes:
        """What can be sent after a chunk.

        :param late: whether nothing more is at hand: then the client can read all of it.
        """
        if len(chunk) > LARGE:
            self._held = 0
            return await self._in_thread(self._feed_and_flush, chunk)
        encoder, pieces = self._encoder, []
        whole = memoryview(chunk)
        for at in range(0, len(whole), ON_LOOP):
            piece = whole[at : at + ON_LOOP]
            if self._held + len(piece) > ON_LOOP:
                pieces.append(encoder.flush())
                self._held = 0
                await asyncio.sleep(0)  # others have their turn
            pieces.append(encoder.feed(piece))
            self._held += len(piece)
        if late:
            pieces.append(encoder.flush())
            self._held = 0
        return b"".join(pieces)

    def _feed_and_flush(self, chunk: bytes) -> bytes:
        return self._encoder.feed(chunk) + self._encoder.flush()

    def finish(self) -> bytes:
        """The end of the body."""
        return self._encoder.finish()

    def close(self) -> None:
        """Let go of it. A second time is harmless."""
        if not self._closed:
            self._closed = True
            self._gone()
