"""Whatever the two ends of a WebSocket do, in whatever order: what goes on is what came, and all comes to an end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiogateway.deadlines import Deadlines
from aiogateway.websocket.frames import Bounds
from aiogateway.websocket.relay import CLOSING, Relay
from tests.clock import Clock
from tests.e2e.harness.sockets import BINARY, CLOSE, MASK, PING, TEXT, close, frame

IDLE: Final = 60.0
WAYS: Final = ("client", "upstream")
MASKS: Final = {"client": MASK, "upstream": b""}
OTHER: Final = {"client": "upstream", "upstream": "client"}


class Play:
    """A relay over real sockets, whose far ends the test holds. Its clock stands still unless the test says so.

    :ivar sent: what each end was given to send, and `came` what came to it.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.relay = Relay(Bounds(1000, None, self.clock), self.deadlines, idle=IDLE)
        self.sent = dict.fromkeys(WAYS, b"")
        self.came = dict.fromkeys(WAYS, b"")
        self.far: dict[str, socket.socket] = {}
        self.ended: set[str] = set()

    async def begin(self, head: bytes = b"") -> None:
        loop = asyncio.get_running_loop()
        transports: list[asyncio.Transport] = []
        for way in WAYS:
            near, self.far[way] = socket.socketpair()
            self.far[way].setblocking(False)
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
            transports.append(transport)
        client, upstream = transports
        self.relay.start(client, upstream, head, b"")

    async def settle(self) -> None:
        """Let everything that is on its way arrive."""
        quiet = 0
        while quiet < 3:
            await asyncio.sleep(0)
            quiet = 0 if self._read() else quiet + 1

    def _read(self) -> bool:
        got = False
        for way, sock in self.far.items():
            if sock.fileno() < 0 or way in self.ended:
                continue
            try:
                data = sock.recv(1 << 16)
            except BlockingIOError:
                continue
            except ConnectionError:
                data = b""
            got = True
            self.came[way] += data
            if not data:
                self.ended.add(way)
        return got

    def send(self, way: str, data: bytes) -> None:
        sock = self.far[way]
        if sock.fileno() >= 0:
            try:
                sock.sendall(data)
                self.sent[way] += data
            except (ConnectionError, BrokenPipeError):
                pass

    def shut(self, way: str) -> None:
        if self.far[way].fileno() >= 0 and way not in self.ended:
            self.far[way].shutdown(socket.SHUT_WR)

    def leave(self, way: str) -> None:
        self.far[way].close()

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.deadlines.sweep()

    async def end(self) -> None:
        """Whatever was done, time ends it."""
        for _ in range(12):
            self.pass_time(max(IDLE, CLOSING) / 4 + 1)
            await self.settle()
        async with asyncio.timeout(30):
            await self.relay.over
        for sock in self.far.values():
            sock.close()


def whole_frames(data: bytes) -> list[int]:
    """Where the frames in some bytes begin, and where the last one ends."""
    at, marks = 0, [0]
    while len(data) - at >= 2:
        length, head = data[at + 1] & 0x7F, 2 + (4 if data[at + 1] & 0x80 else 0)
        if length == 126:
            length, head = int.from_bytes(data[at + 2 : at + 4], "big"), head + 2
        if at + head + length > len(data):
            break
        at += head + length
        marks.append(at)
    return marks


def assert_honest(came: bytes, sent: bytes) -> None:
    """Assert that what came is the beginning of what was sent, but for a Close of the gateway's between two frames."""
    if sent.startswith(came):
        return
    same = next(at for at in range(len(came)) if sent[at : at + 1] != came[at : at + 1])
    begins = max(mark for mark in whole_frames(sent) if mark <= same)
    parting = came[begins:]
    assert parting[0] == 0x80 | CLOSE and len(parting) == whole_frames(parting)[-1], parting
    assert whole_frames(parting)[-1] == whole_frames(parting)[1], "nothing follows it"


STEPS = st.tuples(
    st.sampled_from(
        ["text", "text", "fragment", "ping", "large", "many", "half", "close", "shut", "leave", "drain", "time"]
    ),
    st.sampled_from(WAYS),
)


@given(st.lists(STEPS, max_size=12))
@settings(max_examples=100, deadline=None)
def test_nothing_is_made_up_or_swapped_and_everything_ends(steps: list[tuple[str, str]]) -> None:
    async def run() -> None:
        play = Play()
        await play.begin()
        torn: set[str] = set()
        for step, way in steps:
            mask = MASKS[way]
            data = {
                "text": frame(TEXT, b"hello", mask=mask),
                "fragment": frame(TEXT, b"hel", mask=mask, fin=False),
                "ping": frame(PING, b"x" * 20, mask=mask),
                "large": frame(BINARY, bytes(1001), mask=mask),
                "many": frame(PING, mask=mask) * 9000,
                "half": frame(BINARY, bytes(500), mask=mask)[:250],
                "close": close(1000, "bye", mask=mask),
            }
            if step in data and way not in torn:
                play.send(way, data[step])
                torn |= {way} if step == "half" else set()
            elif step == "shut":
                play.shut(way)
                torn.add(way)
            elif step == "leave":
                play.leave(way)
                torn.add(way)
            elif step == "drain":
                play.relay.close(1001, "away", "draining")
            elif step == "time":
                play.pass_time(IDLE / 3)
            await play.settle()
        await play.end()
        assert play.relay.reason
        for way in WAYS:
            assert_honest(play.came[way], play.sent[OTHER[way]])

    asyncio.run(run())


def test_a_client_that_reads_nothing_when_the_socket_begins_holds_its_upstream_up() -> None:
    """What it asked for before may stand unread, so that the head of its 101 is too much already."""

    async def run() -> None:
        play = Play()
        await play.begin(b"x" * (8 << 20))
        for _ in range(8):
            with contextlib.suppress(BlockingIOError):
                play.far["upstream"].sendall(frame(BINARY, bytes(4 << 20)))
            for _ in range(16):
                await asyncio.sleep(0)
        assert play.relay.upstream.passed == 0
        play.far["client"].close()
        await play.end()

    asyncio.run(run())


def test_an_end_that_is_read_together_with_many_frames_comes_behind_them() -> None:
    async def run() -> None:
        play = Play()
        await play.begin()
        said = frame(PING) * 9000 + close(1000, "bye")
        upstream = play.relay.upstream
        upstream.data_received(said)  # as TLS does it, which gives data and end in one go
        assert not upstream.eof_received()
        upstream.transport.close()
        await play.settle()
        await play.end()
        assert play.came["client"] == said

    asyncio.run(run())


def test_a_connection_that_is_closing_is_written_to_no_more(caplog: pytest.LogCaptureFixture) -> None:
    """With TLS it may be that for long before its end is known, and each write would be a warning in the log."""

    async def run() -> None:
        play = Play()
        await play.begin()
        play.relay.client.transport.abort()
        for _ in range(10):
            play.relay.upstream.data_received(frame(TEXT, b"hello"))
        await play.end()

    asyncio.run(run())
    assert not caplog.records


@pytest.mark.parametrize("reads", [True, False])
def test_a_slow_client_gets_all_that_came_before_a_close_and_one_that_reads_nothing_is_cut(*, reads: bool) -> None:
    async def run() -> None:
        play = Play()
        await play.begin()
        said, came = frame(BINARY, bytes(2 << 20)) + close(1000, "bye"), b""
        play.relay.upstream.data_received(said)
        for _ in range(60):
            play.pass_time(CLOSING + 1)
            for _ in range(4):
                await asyncio.sleep(0)
            if reads:
                with contextlib.suppress(BlockingIOError):
                    came += play.far["client"].recv(1 << 16)
        assert came == (said if reads else b"")
        assert play.relay.over.done()
        await play.end()

    asyncio.run(run())


def test_a_client_that_does_not_answer_a_close_is_closed_in_good_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A TLS transport counts nothing of what is encrypted already and not yet sent, and an abort would drop that."""

    async def run() -> None:
        play = Play()
        await play.begin()
        client = play.relay.client.transport
        aborted: list[bool] = []
        monkeypatch.setattr(client, "abort", lambda: aborted.append(client.is_closing()))
        play.send("upstream", close(1000, "bye"))
        await play.settle()
        play.pass_time(CLOSING + 1)
        await play.settle()
        assert not aborted
        assert play.relay.over.done()
        await play.end()

    asyncio.run(run())


def test_a_client_gets_all_that_came_before_its_upstream_died_within_a_frame() -> None:
    async def run() -> None:
        play = Play()
        await play.begin()
        said, came = b"", b""
        while play.relay.client.transport.get_write_buffer_size() < 30_000:
            play.relay.upstream.data_received(frame(BINARY, bytes(10_000)))
            said += frame(BINARY, bytes(10_000))
        play.relay.upstream.data_received(frame(TEXT, b"hello")[:4])
        said += frame(TEXT, b"hello")[:4]
        play.leave("upstream")
        for _ in range(10):
            await asyncio.sleep(0)
        while len(came) < len(said):
            await asyncio.sleep(0)
            with contextlib.suppress(BlockingIOError):
                data = play.far["client"].recv(1 << 16)
                assert data, "nothing is missing"
                came += data
        await play.end()
        assert came == said and not play.came["client"], "nothing follows it"

    asyncio.run(run())
