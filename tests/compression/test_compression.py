"""Encoders of bodies that flow: they leave others their turn, hold little back, and there are not too many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from aiogateway.compression import Compression, Piecewise
from aiogateway.compression.compression import LARGE, MOST, ON_LOOP
from aiogateway.compression.encoders import ENCODERS, Encoder
from aiogateway.linux import Buffer
from aiogateway.metrics import Metrics, families
from aiogateway.settings import read
from tests.compression.test_encoders import CODING, DECODERS

TEXT = b"".join(b'{"number": %d}' % number for number in range(60_000))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def compression(metrics: Metrics) -> Iterator[Compression]:
    found = Compression(read({"GATEWAY_AUTH_MODE": "off"}), metrics)
    yield found
    found.close()


class Weighed:
    """An encoder that takes note of how much it may have had to encode at a time."""

    def __init__(self, inner: Encoder) -> None:
        self._inner = inner
        self._held = self.most = 0

    def feed(self, chunk: Buffer) -> bytes:
        self._held += len(chunk)
        self.most = max(self.most, self._held)
        return self._inner.feed(chunk)

    def flush(self) -> bytes:
        self._held = 0
        return self._inner.flush()

    def finish(self) -> bytes:
        return self._inner.finish()


async def never(work: Callable[[bytes], bytes], data: bytes) -> bytes:
    raise AssertionError("a thread was used")


@CODING
@pytest.mark.parametrize(
    ("size", "late"), [(1000, False), (ON_LOOP // 2 + 1, False), (ON_LOOP, False), (ON_LOOP + 1, True), (LARGE, False)]
)
async def test_no_more_than_a_piece_is_ever_held(coding: str, size: int, late: bool) -> None:
    weighed, decoder = Weighed(ENCODERS[coding].encoder()), DECODERS[coding]()
    encoder = Piecewise(weighed, never, lambda: None)
    body = TEXT[: 3 * LARGE // 2]
    encoded = [await encoder.feed(body[at : at + size], late=late) for at in range(0, len(body), size)]
    assert b"".join(map(decoder.feed, (*encoded, encoder.finish()))) == body
    assert weighed.most <= ON_LOOP


@CODING
async def test_others_have_their_turn_between_pieces(coding: str) -> None:
    encoder, turns = Piecewise(ENCODERS[coding].encoder(), never, lambda: None), 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await encoder.feed(TEXT[: 3 * ON_LOOP], late=True)
    task.cancel()
    assert turns >= 2


@CODING
async def test_a_large_chunk_is_flushed_in_a_thread(coding: str) -> None:
    sizes = []

    async def elsewhere(work: Callable[[bytes], bytes], data: bytes) -> bytes:
        sizes.append(len(data))
        return work(data)

    encoder, decoder = Piecewise(ENCODERS[coding].encoder(), elsewhere, lambda: None), DECODERS[coding]()
    chunk = TEXT[: LARGE + 1]
    assert decoder.feed(await encoder.feed(chunk, late=False)) == chunk
    assert sizes == [len(chunk)]


@CODING
async def test_a_body_is_the_same_after_threads_and_loop_took_turns(coding: str, compression: Compression) -> None:
    encoder, decoder = compression.piecewise(coding), DECODERS[coding]()
    assert encoder is not None
    read, at = b"", 0
    for size, late in ((1, True), (ON_LOOP, False), (5, True), (LARGE + 1, False), (ON_LOOP + 1, True), (7, False)):
        read += decoder.feed(await encoder.feed(TEXT[at : at + size], late=late))
        at += size
        assert read == TEXT[:at] or not late
    read += decoder.feed(encoder.finish())
    encoder.close()
    assert read == TEXT[:at]


async def test_encoders_are_bounded_and_a_closed_one_makes_room(compression: Compression, metrics: Metrics) -> None:
    first = compression.piecewise("gzip")
    assert first is not None
    alive = [compression.piecewise("gzip") for _ in range(MOST - 1)]
    skipped = metrics.count(families.ENCODERS_FULL)
    assert all(alive)
    assert (compression.piecewise("gzip"), skipped.events) == (None, 1)
    first.close()
    first.close()
    assert compression.piecewise("gzip") is not None
    assert (compression.piecewise("gzip"), skipped.events) == (None, 2)
