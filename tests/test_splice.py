"""Bodies that the kernel moves from one socket to another, over real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from aiogateway.deadlines import Credit, Deadlines
from aiogateway.pipes import SPARE, Impossible, Pipes
from aiogateway.splice import Patience, SourceLost, Splice, descriptor_of
from tests.clock import Clock, eventually

BODY = bytes(range(251)) * 8000


class Slow(Exception):
    """What a side is ended with that keeps the other waiting."""


class Pairs:
    """A source and a sink, each with the end that a peer holds."""

    def __init__(self) -> None:
        self.giver, self.source = socket.socketpair()
        self.sink, self.taker = socket.socketpair()
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.giving = Patience(None, Credit(0), Slow)
        self.taking = Patience(None, Credit(0), Slow)
        self.pipes = Pipes()
        for end in self.all():
            end.setblocking(False)

    def all(self) -> tuple[socket.socket, ...]:
        return self.giver, self.source, self.sink, self.taker

    def splice(self, length: int, *, brief: bool = False) -> Splice:
        ends = self.source.fileno(), self.sink.fileno()
        return Splice(*ends, length, self.deadlines, self.giving, self.taking, brief=brief, pipes=self.pipes)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.deadlines.sweep()

    async def take(self, count: int) -> bytes:
        loop, got = asyncio.get_running_loop(), b""
        async with asyncio.timeout(30):
            while len(got) < count and (piece := await loop.sock_recv(self.taker, 1 << 20)):
                got += piece
        return got


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    before = set(os.listdir("/proc/self/fd"))
    made = Pairs()
    yield made
    for end in made.all():
        end.close()
    made.pipes.give_back(made.pipes.take(), empty=False)  # no more than one was in use at a time
    assert len(made.deadlines) == 0, "a deadline outlived its splice"
    assert len(set(os.listdir("/proc/self/fd")) - before) == 0, "a descriptor was left open"


async def test_every_byte_arrives_in_its_order_and_none_from_behind_the_body(pairs: Pairs) -> None:
    loop = asyncio.get_running_loop()
    given = asyncio.create_task(loop.sock_sendall(pairs.giver, BODY + b"behind"))
    moving = asyncio.create_task(pairs.splice(len(BODY)).run())
    assert await pairs.take(len(BODY)) == BODY
    await asyncio.wait_for(moving, 30)
    await given
    assert pairs.source.recv(100) == b"behind"
    assert pairs.giving.bytes == pairs.taking.bytes == len(BODY)


async def test_a_source_that_ends_early_is_told_and_what_came_is_given_on(pairs: Pairs) -> None:
    pairs.giver.send(b"half")
    pairs.giver.close()
    with pytest.raises(SourceLost):
        await asyncio.wait_for(pairs.splice(8).run(), 30)
    assert await pairs.take(4) == b"half"
    assert pairs.taking.bytes == 4


async def test_a_sink_that_is_gone_ends_it(pairs: Pairs) -> None:
    pairs.giver.send(b"half")
    pairs.taker.close()
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(pairs.splice(8).run(), 30)


async def test_a_source_that_says_nothing_for_too_long_ends_it(pairs: Pairs) -> None:
    pairs.giving.idle = 30.0
    moving = asyncio.create_task(pairs.splice(8).run())
    await asyncio.sleep(0)
    pairs.pass_time(29.0)
    pairs.giver.send(b"a")
    assert await pairs.take(1) == b"a"
    pairs.pass_time(29.0)
    await asyncio.sleep(0)
    assert not moving.done()
    for _ in range(10):
        pairs.pass_time(1.0)
    with pytest.raises(Slow):
        await asyncio.wait_for(moving, 30)
    assert pairs.giving.waited >= 58.0


def _has_moved(pairs: Pairs, moving: asyncio.Task[bytes], count: int) -> bool:
    return moving.done() or pairs.taking.bytes == count


async def test_a_source_that_trickles_uses_up_its_credit(pairs: Pairs) -> None:
    pairs.giving = Patience(60.0, Credit(100, grace=3.0), Slow)
    moving = asyncio.create_task(pairs.splice(1000).run())
    for count in range(1, 5):
        await asyncio.sleep(0)
        pairs.clock.advance(1.0)
        pairs.giver.send(b"a")
        await eventually(partial(_has_moved, pairs, moving, count), "the byte arrives")
    with pytest.raises(Slow):
        await asyncio.wait_for(moving, 30)


async def test_a_sink_that_takes_too_little_uses_up_its_credit(pairs: Pairs) -> None:
    pairs.taking = Patience(None, Credit(1 << 20, grace=3.0), Slow)
    given = asyncio.create_task(asyncio.get_running_loop().sock_sendall(pairs.giver, BODY))
    moving = asyncio.create_task(pairs.splice(len(BODY)).run())
    await eventually(lambda: len(pairs.deadlines) > 0 and pairs.taking.bytes > 0, "the sink is full")
    for _ in range(12):
        pairs.pass_time(1.0)
    with pytest.raises(Slow):
        await asyncio.wait_for(moving, 30)
    given.cancel()
    await asyncio.gather(given, return_exceptions=True)


async def test_giving_up_leaves_nothing_open(pairs: Pairs) -> None:
    moving = asyncio.create_task(pairs.splice(8).run())
    await asyncio.sleep(0)
    moving.cancel()
    await asyncio.gather(moving, return_exceptions=True)
    assert moving.cancelled() and Splice.running == 0


async def test_without_descriptors_it_is_impossible_and_nothing_is_lost(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(flags: int) -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pipe2", refuse)
        with pytest.raises(Impossible):
            await pairs.splice(8).run()


async def test_without_descriptors_of_its_own_it_is_impossible_too(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> int:
        raise OSError(24, "Too many open files")

    pairs.giver.send(b"12345678")
    with monkeypatch.context() as patched:
        patched.setattr(os, "dup", refuse)
        with pytest.raises(Impossible):
            await pairs.splice(8).run()
    assert pairs.source.recv(8) == b"12345678"


async def test_nothing_goes_to_who_has_the_number_of_a_closed_sink(pairs: Pairs) -> None:
    moving = asyncio.create_task(pairs.splice(8).run())
    await asyncio.sleep(0)  # it waits for its source
    stranger, other = socket.socketpair()
    number = pairs.sink.fileno()
    pairs.sink.close()
    try:
        os.dup2(stranger.fileno(), number)
        pairs.giver.send(b"12345678")
        assert await pairs.take(8) == b"12345678"
        await moving
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(8)
    finally:
        os.close(number)
        stranger.close()
        other.close()


async def test_a_brief_one_gives_back_what_a_slow_sink_does_not_take(pairs: Pairs) -> None:
    given = asyncio.create_task(asyncio.get_running_loop().sock_sendall(pairs.giver, BODY))
    left = await pairs.splice(len(BODY), brief=True).run()
    given.cancel()
    await asyncio.gather(given, return_exceptions=True)
    taken = pairs.taking.bytes
    assert 0 < taken < taken + len(left) == pairs.giving.bytes < len(BODY)
    assert await pairs.take(taken) + left == BODY[: pairs.giving.bytes]


async def test_a_brief_one_waits_for_its_source(pairs: Pairs) -> None:
    moving = asyncio.create_task(pairs.splice(8, brief=True).run())
    for piece in (b"1234", b"5678"):
        pairs.giver.send(piece)
        assert await pairs.take(4) == piece
    assert await moving == b""


def test_only_an_empty_pipe_is_used_again_and_only_some_are_kept() -> None:
    pipes = Pipes()
    taken = [pipes.take() for _ in range(SPARE + 1)]
    for pipe in taken:
        pipes.give_back(pipe, empty=True)
    again = [pipes.take() for _ in range(SPARE)]
    assert sorted(again) == sorted(taken[:SPARE])
    with pytest.raises(OSError):
        os.fstat(taken[SPARE][0])
    for pipe in again:
        pipes.give_back(pipe, empty=False)
    with pytest.raises(OSError):
        os.fstat(again[0][0])


async def test_only_a_plain_socket_has_a_descriptor(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert descriptor_of(writer.transport) is not None
        writer.close()
        assert descriptor_of(writer.transport) is None
        await writer.wait_closed()
    assert descriptor_of(None) is None
