"""What is made of a handshake's fields, whatever stands in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from aiogateway.errors import Problem
from aiogateway.websocket.handshake import SWITCH, accept, asks, check, members, read
from tests.e2e.harness.sockets import KEY

GOOD = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": KEY}
NAMES = st.sampled_from([*GOOD, "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"])
VALUES = st.one_of(
    st.sampled_from(
        ["", "upgrade", "websocket", "13", KEY, "bearer", "bearer, a.b.c", "chat, chat", ",,", 'a; b="c,d"']
    ),
    st.text(st.characters(max_codepoint=0xFF, exclude_characters="\r\n\0"), max_size=30),
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=8)


def test_the_accept_of_the_rfcs_example() -> None:
    assert accept(KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@given(FIELDS, st.booleans(), st.booleans())
def test_a_handshake_is_read_or_refused_with_a_problem(
    fields: list[tuple[str, str]], good: bool, has_body: bool
) -> None:
    headers = CIMultiDict([*(GOOD.items() if good else ()), *fields])
    try:
        found = read(headers, has_body=has_body)
    except Problem as problem:
        assert problem.code in ("bad_request", "upgrade_required")
        return
    assert (headers["Sec-WebSocket-Key"], headers["Sec-WebSocket-Version"], has_body) == (found.key, "13", False)
    assert "bearer" not in found.protocols and found.token not in found.protocols
    lines = b"\r\n".join(found.lines())
    assert lines.startswith(SWITCH) and lines.count(b"\r\n") == 1 + bool(found.protocols)
    offered = members(headers.getall("Sec-WebSocket-Protocol", ()))
    assert [name for name in offered if name in found.protocols] == list(found.protocols)


@given(FIELDS, FIELDS)
def test_an_upstreams_answer_is_taken_or_refused_with_a_problem(
    asked: list[tuple[str, str]], answered: list[tuple[str, str]]
) -> None:
    more = [field for field in asked if field[0].startswith(("Sec-WebSocket-P", "Sec-WebSocket-E"))]
    try:
        handshake = read(CIMultiDict([*GOOD.items(), *more]), has_body=False)
    except Problem:
        return
    headers = CIMultiDict([("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Accept", accept(KEY))])
    headers.extend([field for field in answered if field[0] not in GOOD])
    try:
        lines = check(handshake, headers)
    except Problem as problem:
        assert problem.code == "upstream_bad_response"
        return
    selected = members(headers.getall("Sec-WebSocket-Protocol", ()))
    assert set(selected) <= set(handshake.protocols)
    assert (b"Sec-WebSocket-Protocol: bearer" in lines) is (handshake.bearer and not selected)


ASKS = {
    "a handshake": ("GET", (1, 1), ["websocket"], True),
    "in another case": ("GET", (1, 1), ["WebSocket"], True),
    "beside another": ("GET", (1, 1), ["h2c, websocket"], True),
    "in a second field": ("GET", (1, 1), ["h2c", "websocket"], True),
    "another protocol": ("GET", (1, 1), ["h2c"], False),
    "a version of it": ("GET", (1, 1), ["websocket/13"], False),
    "another method": ("POST", (1, 1), ["websocket"], False),
    "HTTP/1.0": ("GET", (1, 0), ["websocket"], False),
    "none": ("GET", (1, 1), [], False),
}


@pytest.mark.parametrize(("method", "version", "values", "expected"), ASKS.values(), ids=ASKS)
def test_what_asks_for_a_socket(method: str, version: tuple[int, int], values: list[str], *, expected: bool) -> None:
    assert asks(method, version, CIMultiDict([("Upgrade", value) for value in values])) is expected
