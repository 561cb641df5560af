"""Open WebSockets: what one end says comes to the other as it was, and how they end (RFC 6455)."""

from __future__ import annotations

import concurrent.futures
import contextlib
import socket
from collections.abc import Iterator
from functools import partial

import pytest

from .harness import Backend, Gateway, eventually, running, write_table
from .harness.guards import samples
from .harness.sockets import BINARY, CLOSE, MASK, PING, PONG, TEXT, close, frame, opened, switching

ROUTES = """
auth = "public"
rate_limit = "off"
upstream = "main"
websocket = true
cors = "public"
[[route]]
path = "/ws/{rest:path}"
[[route]]
path = "/small/{rest:path}"
ws_max_message = "1 KiB"
[[route]]
path = "/seldom/{rest:path}"
ws_rate = "5/minute"
[[route]]
path = "/kept/{rest:path}"
cache = 60
compress = true
"""
CLOSES = "gateway_websocket_closes_total"
LARGE = bytes(range(256)) * 1024


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> Iterator[Gateway]:
    upstreams = f'main = {{ url = "{backend.url}" }}'
    config = write_table(tmp_path_factory.mktemp("websockets") / "config", upstreams, ROUTES)
    with running(config) as gateway:
        yield gateway


def counted(gateway: Gateway, reason: str, before: dict[tuple[str, ...], float]) -> None:
    """Assert that one more socket ended for this reason."""
    eventually(partial(has_grown, gateway, reason, before), f"a socket that ended by {reason} is counted")


def has_grown(gateway: Gateway, reason: str, before: dict[tuple[str, ...], float]) -> bool:
    return samples(gateway, CLOSES).get((reason,), 0.0) == before.get((reason,), 0.0) + 1


FRAMES = {
    "a text": (TEXT, b"Hello", True),
    "nothing": (TEXT, b"", True),
    "a binary of 125 bytes": (BINARY, bytes(125), True),
    "one of 126": (BINARY, bytes(126), True),
    "one of 65,535": (BINARY, LARGE[:65535], True),
    "one of 65,536": (BINARY, LARGE[:65536], True),
    "one of 256 KiB": (BINARY, LARGE, True),
    "a fragment": (TEXT, b"Hel", False),
    "the last fragment": (0, b"lo", True),
    "a ping with data": (PING, b"are you there?", True),
    "a pong nobody asked for": (PONG, b"I am", True),
    "a compressed text": (TEXT | 0x40, b"\xf2\x48\xcd\xc9\xc9\x07\x00", True),
    "a reserved opcode": (0x3, b"what?", True),
    "a reserved control frame": (0xB, b"what?", True),
    "text that is no UTF-8": (TEXT, b"\xff\xfe", True),
    "a ping that is too long": (PING, bytes(126), True),
    "a Close that is too long": (CLOSE, bytes(126), True),
}


def test_frames_pass_in_both_directions_as_they_are(gateway: Gateway, backend: Backend) -> None:
    with opened(gateway, backend) as pair:
        for opcode, payload, fin in FRAMES.values():
            pair.pass_on(frame(opcode, payload, mask=MASK, fin=fin), to_client=False)
            pair.pass_on(frame(opcode, payload, fin=fin), to_client=True)


def test_all_frames_pass_however_they_are_cut_into_packets(gateway: Gateway, backend: Backend) -> None:
    short = [each for each in FRAMES.values() if len(each[1]) < 200]
    up = b"".join(frame(opcode, payload, mask=MASK, fin=fin) for opcode, payload, fin in short)
    down = b"".join(frame(opcode, payload, fin=fin) for opcode, payload, fin in short)
    with opened(gateway, backend) as pair:
        pair.client.wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair.upstream.wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for step in (1, 3, 1000):
            for at in range(0, max(len(up), len(down)), step):
                pair.client.send(up[at : at + step])
                pair.upstream.send(down[at : at + step])
            assert pair.upstream.take(len(up)) == up
            assert pair.client.take(len(down)) == down


def test_what_the_upstream_says_in_the_packet_of_its_101_comes_too(gateway: Gateway, backend: Backend) -> None:
    early = frame(TEXT, b"welcome")
    with opened(gateway, backend, agreed=switching() + early) as pair:
        assert pair.client.take(len(early)) == early


CODES = [(1000, ""), (1001, "bye"), (1011, "we failed"), (3000, "ours"), (4999, "y" * 123)]


@pytest.mark.parametrize(("code", "reason"), CODES)
@pytest.mark.parametrize("by_client", [True, False], ids=["by the client", "by the upstream"])
def test_a_close_passes_with_code_and_reason_and_both_ends_close(
    gateway: Gateway, backend: Backend, code: int, reason: str, *, by_client: bool
) -> None:
    before = samples(gateway, CLOSES)
    with opened(gateway, backend) as pair:
        first, second = (pair.client, pair.upstream) if by_client else (pair.upstream, pair.client)
        first.send(close(code, reason, mask=MASK if first.masks else b""))
        assert second.take_close() == (code, reason)
        second.send(close(code, mask=MASK if second.masks else b""))
        assert first.take_close() == (code, "")
        assert first.ended() and second.ended()
        first.leave()
        second.leave()
    counted(gateway, "client_closed" if by_client else "upstream_closed", before)


def test_a_close_without_a_code_passes(gateway: Gateway, backend: Backend) -> None:
    with opened(gateway, backend) as pair:
        pair.pass_on(frame(CLOSE, mask=MASK), to_client=False)
        pair.pass_on(frame(CLOSE), to_client=True)
        assert pair.client.ended() and pair.upstream.ended()


def test_a_close_is_answered_though_its_sender_shut_down_at_once(gateway: Gateway, backend: Backend) -> None:
    with opened(gateway, backend) as pair:
        pair.client.send(close(1000, mask=MASK))
        pair.client.wire.sock.shutdown(socket.SHUT_WR)
        assert pair.upstream.take_close() == (1000, "")
        pair.upstream.say(TEXT, b"one more")
        pair.upstream.send(close(1000))
        assert pair.client.rest() == frame(TEXT, b"one more") + close(1000)


def test_an_upstream_that_closes_behind_its_close_is_passed_on(gateway: Gateway, backend: Backend) -> None:
    with opened(gateway, backend) as pair:
        pair.upstream.send(close(1001, "restart"))
        pair.upstream.leave()
        assert pair.client.take_close() == (1001, "restart")
        pair.client.send(close(1001, mask=MASK))
        assert pair.client.ended()


def test_a_client_that_says_nothing_to_an_upstreams_close_sees_its_end_too(gateway: Gateway, backend: Backend) -> None:
    with opened(gateway, backend) as pair:
        pair.client.send(frame(CLOSE, bytes(126), mask=MASK))
        pair.upstream.send(close(1002))
        pair.upstream.leave()
        assert pair.client.rest() == close(1002)


def test_a_client_that_leaves_without_a_close_frees_the_upstream(gateway: Gateway, backend: Backend) -> None:
    before = samples(gateway, CLOSES)
    with opened(gateway, backend) as pair:
        pair.client.say(TEXT, b"last words")
        pair.client.leave()
        assert pair.upstream.rest() == frame(TEXT, b"last words", mask=MASK)
    counted(gateway, "client_lost", before)
    eventually(lambda: samples(gateway, "gateway_websocket_active")[()] == 0, "no socket is open")


def test_a_client_is_told_that_its_upstream_died_between_two_frames(gateway: Gateway, backend: Backend) -> None:
    before = samples(gateway, CLOSES)
    with opened(gateway, backend) as pair:
        said = pair.upstream.say(TEXT, b"last words")
        pair.upstream.leave()
        assert pair.client.take(len(said)) == said
        assert pair.client.take_close() == (1014, "the service broke off")
        pair.client.send(close(1014, mask=MASK))
        assert pair.client.ended()
    counted(gateway, "upstream_lost", before)


@pytest.mark.parametrize("cut", [1, 3, 20])
def test_a_frame_that_its_upstream_did_not_end_is_cut_and_never_followed(
    gateway: Gateway, backend: Backend, cut: int
) -> None:
    """But the beginning of a head is no frame yet, and isn't given on."""
    data = frame(BINARY, bytes(1000))[:cut]
    with opened(gateway, backend) as pair:
        pair.upstream.send(data)
        pair.upstream.leave()
        rest = pair.client.rest() if cut > 3 else b""
        assert rest == (data if cut > 3 else b"")
        if cut <= 3:
            assert pair.client.take_close()[0] == 1014


def test_a_message_over_the_bound_ends_the_socket_with_1009(gateway: Gateway, backend: Backend) -> None:
    before = samples(gateway, CLOSES)
    with opened(gateway, backend, under="/small") as pair:
        pair.pass_on(frame(BINARY, bytes(1024), mask=MASK), to_client=False)
        pair.pass_on(frame(BINARY, bytes(1025)), to_client=True)
        pair.client.say(BINARY, bytes(1025))
        assert pair.client.take_close()[0] == 1009
        assert pair.upstream.take_close()[0] == 1009
        pair.client.send(close(1009, mask=MASK))
        pair.upstream.send(close(1009))
        assert pair.client.ended() and pair.upstream.ended()
    counted(gateway, "message_too_large", before)


def test_fragments_count_together_and_control_frames_between_them_do_not(gateway: Gateway, backend: Backend) -> None:
    with opened(gateway, backend, under="/small") as pair:
        for _ in range(3):
            pair.pass_on(frame(TEXT, bytes(500), mask=MASK, fin=False), to_client=False)
            pair.pass_on(frame(PING, bytes(125), mask=MASK), to_client=False)
            pair.pass_on(frame(0, bytes(524), mask=MASK), to_client=False)
        pair.pass_on(frame(TEXT, bytes(500), mask=MASK, fin=False), to_client=False)
        pair.client.say(0, bytes(525))
        assert pair.upstream.take_close()[0] == 1009
        assert pair.client.take_close()[0] == 1009


def test_a_head_that_claims_more_than_ever_comes_is_refused_at_once(gateway: Gateway, backend: Backend) -> None:
    with opened(gateway, backend) as pair:
        pair.client.send(bytes((0x82, 0xFF)) + (1 << 62).to_bytes(8, "big") + MASK)
        assert pair.client.take_close()[0] == 1009
        assert pair.upstream.take_close()[0] == 1009


def test_more_messages_than_the_rate_end_the_socket_with_1008(gateway: Gateway, backend: Backend) -> None:
    before = samples(gateway, CLOSES)
    with opened(gateway, backend, under="/seldom") as pair:
        for _ in range(5):
            pair.pass_on(frame(TEXT, b"a", mask=MASK, fin=False), to_client=False)
            pair.pass_on(frame(0, b"b", mask=MASK), to_client=False)
            pair.pass_on(frame(PING, mask=MASK), to_client=False)
            pair.pass_on(frame(TEXT, b"free"), to_client=True)
        pair.client.send(frame(TEXT, b"too many", mask=MASK) + frame(TEXT, b"behind it", mask=MASK))
        assert pair.client.take_close() == (1008, "too many messages")
        assert pair.upstream.take_close() == (1008, "too many messages")
        pair.client.send(close(1008, mask=MASK))
        assert pair.client.ended()
        pair.upstream.leave()
    counted(gateway, "rate_limited", before)


@pytest.mark.parametrize("by_client", [True, False], ids=["the client", "the upstream"])
def test_an_end_is_not_read_faster_than_the_other_takes_it(
    gateway: Gateway, backend: Backend, *, by_client: bool
) -> None:
    """What one sends while the other doesn't read fills the kernel's buffers and a small one of ours, and waits."""
    most = 64 << 20
    with opened(gateway, backend) as pair:
        source, target = (pair.client, pair.upstream) if by_client else (pair.upstream, pair.client)
        piece = frame(BINARY, LARGE, mask=MASK if source.masks else b"")
        sent = pour(source.wire.sock, piece, most)
        assert sent < most, "nobody holds it back"
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            sending = pool.submit(source.send, piece[sent % len(piece) :])
            assert all(target.take(len(piece)) == piece for _ in range(sent // len(piece) + 1))
            sending.result()


@pytest.mark.parametrize("to_client", [False, True], ids=["to the upstream", "to the client"])
def test_a_flood_of_tiny_frames_passes_in_order(gateway: Gateway, backend: Backend, *, to_client: bool) -> None:
    mask = b"" if to_client else MASK
    flood = b"".join(frame(PING, b"%d" % number, mask=mask) for number in range(40_000))
    with opened(gateway, backend) as pair:
        source, target = (pair.upstream, pair.client) if to_client else (pair.client, pair.upstream)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            sending = pool.submit(source.send, flood)
            assert target.take(len(flood)) == flood
            sending.result()


def pour(sock: socket.socket, piece: bytes, most: int) -> int:
    """Send copies of a piece until the peer has taken nothing for a second; how many bytes went."""
    patience = sock.gettimeout()
    sock.settimeout(1.0)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < most:
            sent += sock.send(memoryview(piece)[sent % len(piece) :])
    sock.settimeout(patience)
    return sent


def test_an_answer_of_a_cached_and_compressed_route_may_be_a_socket(gateway: Gateway, backend: Backend) -> None:
    for _ in range(2):
        with opened(gateway, backend, under="/kept") as pair:
            pair.pass_on(frame(TEXT, b"hi", mask=MASK), to_client=False)
