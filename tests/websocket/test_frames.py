"""Where frames end, whatever pieces they come in, and what is found in them on the way."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.settings.values import Rate
from aiogateway.websocket.frames import AT_ONCE, NO_CODE, TOO_LARGE, TOO_MANY, Bounds, Frames, close_frame, code_of
from tests.clock import Clock
from tests.e2e.harness.sockets import BINARY, CLOSE, MASK, PING, TEXT, close, frame

SIZES = st.one_of(st.integers(0, 300), st.sampled_from([125, 126, 127, 65_535, 65_536]))
OPCODES = st.sampled_from([0, TEXT, BINARY, 3, PING, 10, 0xB])
ANY_FRAME = st.builds(
    lambda opcode, size, mask, fin: frame(opcode, bytes(size), mask=mask, fin=fin),
    OPCODES,
    SIZES,
    st.sampled_from([b"", MASK]),
    st.booleans(),
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data cut at these places."""
    marks = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[first:second] for first, second in pairwise(marks)]


@given(st.lists(ANY_FRAME, min_size=1, max_size=6), st.lists(st.integers(0, 1 << 20), max_size=12))
def test_everything_goes_on_in_order_and_only_the_beginning_of_a_head_waits(
    frames: list[bytes], cuts: list[int]
) -> None:
    data, reader, on, seen = b"".join(frames), Frames(), b"", 0
    ends = list(accumulate(map(len, frames), initial=0))
    for piece in pieces(data, cuts):
        on += reader.feed(piece)
        seen += len(piece)
        begun = max(end for end in ends if end <= len(on))
        assert seen - len(on) < 14, "no more than a head waits"
        assert reader.between is (len(on) == begun)
    assert on == data
    assert (reader.between, reader.close, reader.news) == (True, None, False)


@given(
    st.lists(ANY_FRAME, max_size=3),
    st.integers(0, 4999),
    st.booleans(),
    st.lists(st.integers(0, 1 << 20), max_size=8),
)
def test_a_close_is_found_in_any_pieces_and_goes_on_whole(
    before: list[bytes], code: int, masked: bool, cuts: list[int]
) -> None:
    data = b"".join(before) + close(code, "why", mask=MASK if masked else b"")
    reader, on = Frames(), b""
    for piece in pieces(data, cuts):
        assert reader.close is None
        on += reader.feed(piece)
    assert (on, reader.close, reader.close_went_on, reader.news) == (data, code, True, True)


@given(st.lists(ANY_FRAME, min_size=2, max_size=5), st.data(), st.lists(st.integers(0, 1 << 20), max_size=8))
def test_a_stop_lets_the_frame_that_began_come_to_its_end_and_nothing_more(
    frames: list[bytes], data: st.DataObject, cuts: list[int]
) -> None:
    whole = b"".join(frames)
    at = data.draw(st.integers(0, len(whole)))
    reader = Frames()
    on = reader.feed(whole[:at])
    sent = len(on)
    reader.stop()
    for piece in pieces(whole[at:], cuts):
        on += reader.feed(piece)
    ends = list(accumulate(map(len, frames), initial=0))
    assert len(on) == next(end for end in ends if end >= sent)
    assert on == whole[: len(on)] and reader.stopped


def test_a_close_behind_a_stop_is_found_but_does_not_go_on() -> None:
    reader = Frames()
    reader.stop()
    assert reader.feed(frame(TEXT, b"late", mask=MASK) + close(1001, mask=MASK)) == b""
    assert (reader.close, reader.close_went_on) == (1001, False)


def test_what_went_on_still_ends_between_two_frames_when_half_a_frame_comes_behind_a_stop() -> None:
    reader = Frames()
    reader.stop()
    assert reader.feed(frame(TEXT, b"late", mask=MASK)[:-1]) == b""
    assert reader.between


WAYS = {"in one piece": 1 << 20, "byte by byte": 1, "in threes": 3}


@pytest.mark.parametrize("step", WAYS.values(), ids=WAYS)
def test_what_stands_before_a_refused_frame_goes_on_and_nothing_of_it(step: int) -> None:
    good = frame(TEXT, bytes(10), mask=MASK, fin=False) + frame(PING, bytes(100), mask=MASK)
    bad = frame(0, bytes(11), mask=MASK)
    reader = Frames(Bounds(20, None, Clock()))
    data = good + bad + good + close(1000, mask=MASK)
    on = b"".join(reader.feed(data[at : at + step]) for at in range(0, len(data), step))
    assert on == good
    assert (reader.refusal, reader.stopped, reader.close, reader.close_went_on) == (TOO_LARGE, True, 1000, False)


@pytest.mark.parametrize("opcode", [PING, CLOSE, 0xB])
def test_a_control_frame_longer_than_one_may_be_is_bounded_like_a_message(opcode: int) -> None:
    reader = Frames(Bounds(1000, None, Clock()))
    good = frame(opcode, bytes(1000), mask=MASK)
    assert reader.feed(good + frame(opcode, bytes(1001), mask=MASK)[:8]) == good
    assert (reader.refusal, reader.close) == (TOO_LARGE, None)


def test_a_rate_admits_a_period_of_messages_at_once_and_then_one_by_one() -> None:
    clock = Clock()
    bounds = Bounds(100, Rate(4, 2), clock)
    assert [bounds.refuse(TEXT, 1) for _ in range(5)] == [None] * 4 + [TOO_MANY]
    assert bounds.refuse(0, 1) is None, "a fragment that goes on is no message"
    clock.advance(0.5)
    assert [bounds.refuse(BINARY, 1) for _ in range(2)] == [None, TOO_MANY]
    clock.advance(10)
    assert [bounds.refuse(TEXT, 1) for _ in range(5)] == [None] * 4 + [TOO_MANY]


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 1000)), min_size=1, max_size=60), st.integers(1, 9))
def test_no_period_has_more_than_twice_the_limit_and_a_slow_client_is_never_refused(
    steps: list[tuple[int, int]], limit: int
) -> None:
    clock = Clock()
    bounds = Bounds(100, Rate(limit, 60), clock)
    passed = []
    for burst, pause in steps:
        clock.advance(pause / 10)
        passed += [clock() for _ in range(burst) if bounds.refuse(TEXT, 1) is None]
    assert all(sum(then <= other < then + 60 for other in passed) <= 2 * limit for then in passed)
    slow = Bounds(100, Rate(limit, 60), clock)
    for _ in range(3 * limit):
        assert slow.refuse(TEXT, 1) is None
        clock.advance(60 / limit * 1.001)


def test_a_flood_of_tiny_frames_is_read_in_pieces() -> None:
    flood = frame(PING, mask=MASK) * (3 * AT_ONCE) + close(1000, mask=MASK)
    reader, on, turns, data = Frames(), b"", 0, flood
    while data:
        on += reader.feed(data)
        data, reader.rest, turns = reader.rest, b"", turns + 1
    assert (on, turns, reader.close) == (flood, 4, 1000)


CODES = {
    "none": (b"", b"", NO_CODE),
    "one byte": (b"\x03", b"", NO_CODE),
    "a code": (b"\x03\xe8", b"", 1000),
    "a code and words": (b"\x03\xe9bye", b"", 1001),
    "masked": (bytes((0x03 ^ 0x37, 0xE8 ^ 0xFA)), MASK, 1000),
}


@pytest.mark.parametrize(("payload", "mask", "code"), CODES.values(), ids=CODES)
def test_the_code_of_a_close(payload: bytes, mask: bytes, code: int) -> None:
    assert code_of(payload, mask) == code


@given(st.integers(1000, 4999), st.text("abc ", max_size=123), st.booleans())
def test_a_close_of_the_gateways_own_is_read_back(code: int, reason: str, masked: bool) -> None:
    made = close_frame(code, reason, masked=masked)
    assert made[0] == 0x80 | CLOSE and bool(made[1] & 0x80) is masked
    mask, payload = (made[2:6], made[6:]) if masked else (bytes(4), made[2:])
    assert bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)) == code.to_bytes(2, "big") + reason.encode()
    reader = Frames()
    assert reader.feed(made) == made and reader.close == code


def test_two_closes_to_a_server_are_masked_differently() -> None:
    assert close_frame(1000, "", masked=True)[2:6] != close_frame(1000, "", masked=True)[2:6]
