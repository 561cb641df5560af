"""Which fields go on, as what, and how heads are written."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from aiogateway.proxy import headers
from aiogateway.proxy.headers import (
    Fates,
    forwarded_lines,
    has_control,
    inward_lines,
    named_by_connection,
    outward_lines,
    trusted_forwarded_lines,
    via_count,
    without,
)

Fields = list[tuple[bytes, bytes]]

INWARD = {
    "goes on": b"""Accept Accept-Encoding Authorization Cache-Control Content-Encoding Content-Type Cookie Date
        If-None-Match Origin Range Referer Sec-WebSocket-Key User-Agent Via X-Api-Key X-Userid""",
    "stays": b"""Connection Keep-Alive Proxy-Authenticate Proxy-Authorization Proxy-Connection TE Trailer
        Transfer-Encoding Upgrade Host Content-Length Expect X-Request-ID Forwarded X-Real-IP X-Forwarded-For
        X-Forwarded-Proto X-Forwarded-Anything X-User-Id X-User-Roles X-User- X_User_Id X-User_Id Content_Length
        X-HTTP-Method-Override X-HTTP-Method X-Method-Override X-Original-URL X-Rewrite-URL
        HTTP-Method-Override X-Tunneled-Method X-Original-URI X-Original-Host X-Host X-Forwarded Proxy Remote-User
        X-Remote-User X-Client-IP True-Client-IP HTTP2-Settings""",
}
OUTWARD = {
    "goes on": b"""Allow Cache-Control Content-Encoding Content-Type Date ETag Retry-After Set-Cookie Vary
        WWW-Authenticate X_Under_Score X-User-Id Link""",
    "stays": b"""Connection Keep-Alive Proxy-Authenticate Proxy-Connection TE Trailer Transfer-Encoding Upgrade Server
        X-Request-ID Content-Length Access-Control-Allow-Origin Access-Control-Whatever""",
}
SPELLINGS = (bytes.lower, bytes.upper, bytes.title, bytes)


def cases(table: dict[str, bytes]) -> list[tuple[bytes, bool]]:
    return [(name, fate == "goes on") for fate, text in table.items() for name in text.split()]


def outward(fields: Fields, connection: list[str] | None = None, relocate: dict[bytes, bytes] | None = None) -> Fields:
    """What becomes of an answer's fields, taken apart again."""
    by_name = CIMultiDict((name.decode(), value.decode()) for name, value in fields)
    lines = outward_lines(fields, by_name, connection or [], relocate or {}, lambda: b"https://public")
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]


@pytest.mark.parametrize(("name", "goes_on"), cases(INWARD))
def test_a_request_s_field_goes_on_or_stays_by_its_name_however_it_is_spelled(name: bytes, goes_on: bool) -> None:
    for spelled in (spell(name) for spell in SPELLINGS):
        assert inward_lines([(spelled, b"v")], []) == ([spelled + b": v"] if goes_on else [])


@pytest.mark.parametrize(("name", "goes_on"), cases(OUTWARD))
def test_an_answer_s_field_goes_on_or_stays_by_its_name_however_it_is_spelled(name: bytes, goes_on: bool) -> None:
    for spelled in (spell(name) for spell in SPELLINGS):
        kept = [field for field in outward([(spelled, b"v"), (b"Date", b"d")]) if field != (b"Date", b"d")]
        assert kept == ([(spelled, b"v")] if goes_on else [])


def test_repeated_fields_stay_repeated_and_in_order() -> None:
    fields = [(b"Set-Cookie", b"a=1"), (b"Date", b"d"), (b"set-cookie", b"b=2"), (b"Set-Cookie", b"a=1")]
    assert outward(fields) == fields
    assert inward_lines([(b"Cookie", b"a"), (b"X-A", b""), (b"Cookie", b"b")], []) == [
        b"Cookie: a",
        b"X-A: ",
        b"Cookie: b",
    ]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ([], set()),
        (["keep-alive"], set()),
        (["Keep-Alive, Upgrade, TE, close"], set()),
        (["X-Session"], {b"x-session"}),
        (["close, X-A ,,\tX-B"], {b"x-a", b"x-b"}),
        (["X-A", "x-a, X-C"], {b"x-a", b"x-c"}),
    ],
)
def test_connection_names_fields_beside_its_options(values: list[str], named: set[bytes]) -> None:
    assert named_by_connection(values) == named


tokens = st.text(st.sampled_from("abcXYZ-1"), min_size=1, max_size=4)
lists = st.lists(st.lists(tokens | st.sampled_from(["close", "Keep-Alive", ""]), max_size=4).map(" ,\t".join))


@given(lists)
def test_every_name_that_connection_lists_is_found(values: list[str]) -> None:
    plain = re.findall(r"[^\s,]+", ",".join(values).lower())
    assert named_by_connection(values) == {name.encode() for name in plain} - {b"close", b"keep-alive"}


@given(lists, st.lists(st.tuples(tokens.map(str.encode), st.just(b"v"))))
def test_no_field_that_connection_names_goes_on_either_way(values: list[str], fields: Fields) -> None:
    named = named_by_connection(values)
    for lines in (inward_lines(fields, values), [b": ".join(field) for field in outward(fields, values)]):
        assert not {line.partition(b":")[0].lower() for line in lines} & named
    assert [field for field in fields if field[0].lower() not in named] == list(without(fields, named))


def test_an_answer_without_a_date_gets_one() -> None:
    now = dict(outward([(b"Content-Type", b"a/b")]))[b"Date"]
    assert parsedate_to_datetime(now.decode()).tzinfo is not None
    assert dict(outward([(b"Date", b"theirs")]))[b"Date"] == b"theirs"


def test_an_answer_whose_connection_field_names_its_date_has_a_date_nevertheless() -> None:
    """RFC 9110 section 6.6.1: whoever has a clock adds the field that is missing."""
    assert b"Date" in dict(outward([(b"Date", b"theirs")], ["Date"]))


def test_fates_are_remembered_and_bounded() -> None:
    asked: list[bytes] = []

    def goes_on(name: bytes) -> bool:
        asked.append(name)
        return name == b"a"

    fates = Fates(goes_on, most=2)
    assert [fates[name] for name in (b"A", b"B", b"C", b"A", b"C", b"a")] == [True, False, False, True, False, True]
    assert asked == [b"a", b"b", b"c", b"a", b"a"]
    assert not fates[b"a-name-of-more-than-sixty-four-bytes-that-somebody-made-up-to-fill-us"]
    assert len(fates) == 1


def test_a_control_character_in_a_head_is_found() -> None:
    found = {byte for byte in range(256) if has_control(b"X-A: a%cb\r\nX-B: c" % byte)}
    assert found == {*range(32), 127} - set(b"\t\r\n")


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ([], 0),
        (["1.1 nginx"], 0),
        (["1.1 aiogateway"], 1),
        (["1.0 AioGateway (a comment), HTTP/1.1 aiogateway"], 2),
        (["1.1 aiogateway,1.1 other", "1.1 aiogateway"], 2),
        (["aiogateway", "1.1 aiogateway2", ",", "1.1"], 0),
    ],
)
def test_a_passage_through_this_gateway_is_counted(values: list[str], count: int) -> None:
    assert via_count(values) == count


def test_what_the_client_claims_of_itself_is_written_by_the_gateway_alone() -> None:
    assert forwarded_lines("192.0.2.1", "https") + b"api.example" == (
        b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: api.example"
    )


def test_a_trusted_proxy_s_claims_are_kept_and_its_address_is_added() -> None:
    fields = [
        (b"x-forwarded-for", b"203.0.113.5"),
        (b"Accept", b"*/*"),
        (b"X-Forwarded-For", b""),
        (b"X-Forwarded-For", b"10.0.0.9"),
        (b"X-Forwarded-Proto", b"https"),
        (b"Forwarded", b"for=203.0.113.5"),
        (b"X-Real-IP", b"203.0.113.5"),
    ]
    assert trusted_forwarded_lines(fields, "10.0.0.1", "http", b"inner").split(b"\r\n") == [
        b"X-Forwarded-Proto: https",
        b"Forwarded: for=203.0.113.5",
        b"X-Real-IP: 203.0.113.5",
        b"X-Forwarded-For: 203.0.113.5, 10.0.0.9, 10.0.0.1",
        b"X-Forwarded-Host: inner",
    ]


def test_a_trusted_proxy_that_claims_nothing_is_the_whole_chain() -> None:
    lines = trusted_forwarded_lines([], "10.0.0.1", "http", b"a")
    assert lines == forwarded_lines("10.0.0.1", "http") + b"a"


def test_no_name_of_the_tables_is_in_capitals() -> None:
    tables = (headers.HOP_BY_HOP, headers.OVERRIDES, headers.SET_INWARD, headers.SET_OUTWARD, headers.RELOCATED)
    assert all(name == name.lower() for table in tables for name in table)
