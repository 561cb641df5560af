"""A body for many readers, in any order of events."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiogateway.caching.stream import Reader, Stream
from aiogateway.errors import Problem

BROKEN = Problem("upstream_bad_response", "broke off")


async def read(reader: Reader, pauses: list[bool], leaves_after: int | None) -> bytes | Problem:
    """What a reader gets that now and then lets others go first, and may leave early."""
    found, count = b"", 0
    try:
        while count != leaves_after and (chunk := await reader.next()):
            found += chunk
            for _ in range(3 * pauses[count % len(pauses)]):
                await asyncio.sleep(0)
            count += 1
    except Problem as exc:
        return exc
    finally:
        reader.close()
    return found


READERS = st.lists(
    st.tuples(st.integers(0, 6), st.lists(st.booleans(), min_size=1, max_size=4), st.none() | st.integers(0, 4)),
    min_size=1,
    max_size=4,
)


@settings(deadline=1000, max_examples=80)
@given(st.lists(st.binary(min_size=1, max_size=5), max_size=8), st.integers(0, 12), READERS, st.booleans())
def test_all_get_every_chunk_in_order_within_the_bound(
    chunks: list[bytes], bound: int, drawn: list[tuple[int, list[bool], int | None]], fails: bool
) -> None:
    async def play() -> None:
        stream = Stream(bound, lambda: 0)
        tasks: list[tuple[asyncio.Task[bytes | Problem], int | None]] = []

        def join(put: int) -> None:
            for at, pauses, leaves in drawn:
                if at == put and stream.whole:
                    tasks.append((asyncio.create_task(read(stream.join(), pauses, leaves)), leaves))

        for number, chunk in enumerate(chunks):
            join(number)
            await stream.put(chunk)
            assert stream._held <= max(bound, len(chunk))
        if fails:
            stream.fail(BROKEN)
        else:
            stream.end()
        assert stream.whole is (sum(map(len, chunks)) <= bound)
        if stream.whole:
            join(len(chunks))
            assert stream.body() == b"".join(chunks)
        for task, leaves in tasks:
            early = leaves is not None and leaves <= len(chunks)
            expected = b"".join(chunks[:leaves]) if early else BROKEN if fails else b"".join(chunks)
            assert await task == expected

    asyncio.run(play())


async def test_beyond_its_bound_the_writer_waits_for_the_slowest_and_for_who_is_yet_to_join() -> None:
    awaited = 1
    stream = Stream(4, lambda: awaited)
    quick = stream.join()
    await stream.put(b"1234")
    writing = asyncio.create_task(stream.put(b"56"))
    assert [await quick.next(), await quick.next()] == [b"1234", b"56"]
    await asyncio.sleep(0)
    assert not writing.done()
    awaited, slow = 0, stream.join()
    await asyncio.sleep(0)
    assert not writing.done()
    assert await slow.next() == b"1234"
    await writing
    stream.end()
    assert [await slow.next(), await slow.next(), await quick.next()] == [b"56", b"", b""]


async def test_the_writer_goes_on_when_the_slowest_leaves() -> None:
    stream = Stream(4, lambda: 0)
    slow, quick = stream.join(), stream.join()
    writing = asyncio.create_task(stream.put(b"123456"))
    assert await quick.next() == b"123456"
    await asyncio.sleep(0)
    assert not writing.done()
    slow.close()
    slow.close()
    await writing


async def test_a_failure_comes_after_what_was_there() -> None:
    stream = Stream(10, lambda: 0)
    await stream.put(b"1")
    stream.fail(BROKEN)
    reader = stream.join()
    assert await reader.next() == b"1"
    for _ in range(2):
        with pytest.raises(Problem):
            await reader.next()


class Awaiting:
    """Something that holds a stream and is asked by it."""

    def __init__(self) -> None:
        self.stream = Stream(10, self.count)

    def count(self) -> int:
        return 1


def test_a_stream_that_ended_holds_nobody_who_holds_it() -> None:
    gc.disable()
    try:
        awaiting = Awaiting()
        held = weakref.ref(awaiting)
        awaiting.stream.end()
        del awaiting
        assert held() is None
    finally:
        gc.enable()
