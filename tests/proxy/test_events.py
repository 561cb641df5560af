"""Where events end, whatever chunks a stream comes in."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiogateway.proxy.events import Events

STREAMS = st.text("d:\r\n", max_size=30).map(str.encode)


def ends(stream: bytes) -> list[int]:
    """Every place between two events, read in the dullest way."""
    return [
        place for place in range(len(stream) + 1) if not place or stream[:place].endswith((b"\n\n", b"\r\r", b"\n\r\n"))
    ]


def split(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[first:last] for first, last in itertools.pairwise(edges)]


@example(b":::\r\r\r", [5])
@given(STREAMS, st.lists(st.integers(0, 30), max_size=6))
def test_any_split_into_chunks_stands_between_events_at_the_same_places(stream: bytes, places: list[int]) -> None:
    events, given_on = Events(), b""
    for chunk in split(stream, places):
        expected = [end - len(given_on) for end in ends(stream) if len(given_on) < end <= len(given_on) + len(chunk)]
        assert events.end_in(chunk) == (expected[0] if expected else 0)
        events.feed(chunk)
        given_on += chunk
        assert events.between == (len(given_on) in ends(stream))


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_an_event_ends_with_a_blank_line_of_any_kind(end: bytes) -> None:
    events = Events()
    events.feed(b"data: 1")
    assert not events.between
    assert events.end_in(b"23" + end + b"data: 2") == 2 + len(end)
    events.feed(b"23" + end)
    assert events.between
