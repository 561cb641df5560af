"""One member of a JSON object."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.forms import MalformedForm, UnsupportedForm, scanner
from tests.forms.fed import pieces, read

TYPE = ("application/json",)


def values(body: bytes, parts: list[bytes] | None = None) -> list[bytes]:
    return read(scanner("json", "user_id", TYPE, ()), [body] if parts is None else parts).values


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"{}", []),
        (b' \r\n\t{ "user_id" : "u1" } \n', [b"u1"]),
        (b'{"user_id":7}', [b"7"]),
        (b'{"user_id":-12,"a":1}', [b"-12"]),
        (b'{"user\\u005fid":"u\\u0031"}', [b"u1"]),
        (b'{"user_id":"u1","user_id":"u2"}', [b"u1", b"u2"]),
        (b'{"user_id":"u1","user\\u005fid":"u2"}', [b"u1", b"u2"]),
        (b'{"a":{"user_id":"x"},"b":["user_id",{"user_id":[]}],"user_id":"u1"}', [b"u1"]),
        (b'{"a":"}\\"{\\\\","user_id":"u1"}', [b"u1"]),
        (b'{"a":null,"b":true,"c":-1.5e+9,"user_id":"u1"}', [b"u1"]),
        (b'{"user_id":""}', [b""]),
        ('{"user_id":"\u00e9\\ud800"}'.encode(), [b"\xc3\xa9\xed\xa0\x80"]),
        (b'{"user-id":"x"}', []),
    ],
)
def test_a_member_is_found_at_the_objects_top(body: bytes, found: list[bytes]) -> None:
    assert values(body) == found
    assert values(body, [bytes([byte]) for byte in body]) == found


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"user_id"',
        b'["user_id","u1"]',
        b'{"user_id":"u1"',
        b'{"user_id":"u1"}x',
        b'{"user_id":"u1"}{"user_id":"u2"}',
        b'\xef\xbb\xbf{"user_id":"u1"}',
        '{"user_id":"u1"}'.encode("utf-16"),
        '{"user_id":"u1"}'.encode("utf-16-le"),
        '{"user_id":"u1"}'.encode("utf-32-be"),
        b"{'user_id':'u1'}",
        b'{user_id:"u1"}',
        b'{/**/"user_id":"u1"}',
        b'{"user_id":"u1",}',
        b'{"user_id" "u1"}',
        b'{"user_id":}',
        b'{"user_id":["u1"]}',
        b'{"user_id":{"a":1}}',
        b'{"user_id":null}',
        b'{"user_id":true}',
        b'{"user_id":1.0}',
        b'{"user_id":1e3}',
        b'{"user_id":01}',
        b'{"user_id":"a\nb"}',
        b'{"user_id":"\\x"}',
        b'{"user_id":"\xff"}',
        b'{"User_Id":"u1"}',
        b'{" user_id":"u1"}',
        b'{"' + b"x" * 70000 + b'":1}',
        b'{"user_id":"' + b"x" * 70000 + b'"}',
        b'{"a":1 2}',
    ],
)
def test_what_is_no_object_or_can_be_read_in_two_ways_is_refused(body: bytes) -> None:
    for parts in ([body], [body[n : n + 60001] for n in range(0, len(body), 60001)]):
        with pytest.raises(MalformedForm):
            values(body, parts)


def test_long_values_of_other_members_stream_by() -> None:
    found = scanner("json", "user_id", TYPE, ())
    found.feed(b'{"user_id":"u1","text":"')
    for _ in range(40):
        found.feed(b'x\\"' * 20000)
        assert len(found._data) - found._at <= 1  # type: ignore[attr-defined]
    found.feed(b'","deep":' + b"[" * 100_000 + b"]" * 100_000 + b',"user_id":"u2"}')
    found.finish()
    assert found.values == [b"u1", b"u2"]


@pytest.mark.parametrize("kind", ["application/json; charset=utf-16", "text/json", "application/x-www-form-urlencoded"])
def test_a_body_of_another_kind_is_not_read(kind: str) -> None:
    with pytest.raises(UnsupportedForm):
        scanner("json", "user_id", (kind,), ())


def test_a_media_type_with_the_suffix_is_json() -> None:
    assert read(scanner("json", "a", ("application/merge-patch+json",), ()), [b'{"a":1}']).values == [b"1"]


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(["a", "user_id", "x{", 'q"', "\\"]) | st.text(max_size=4), JSON, max_size=5),
    st.booleans(),
    st.sampled_from([None, 1]),
    st.data(),
)
def test_the_standard_library_sees_the_same_value(
    held: dict[str, Any], escaped: bool, indent: int | None, data: st.DataObject
) -> None:
    body = json.dumps(held, ensure_ascii=escaped, indent=indent).encode("utf-8", "surrogatepass")
    try:
        found = values(body, pieces(body, data))
    except MalformedForm:
        wanted = held.get("user_id", "")
        odd = not isinstance(wanted, str | int) or isinstance(wanted, bool)
        assert odd or b"\xed" in body or any(name.casefold().strip() == "user_id" for name in held)
        return
    told = [held["user_id"]] if "user_id" in held else []
    assert [value.decode("utf-8", "surrogatepass") for value in found] == [str(value) for value in told]


@given(
    st.lists(st.sampled_from(["{", "}", "[", "]", ",", ":", '"', "\\", "user_id", "a", "1", " ", "null"]), max_size=14),
    st.data(),
)
def test_any_bytes_are_read_or_refused_in_the_same_way_however_they_come(
    several: list[str], data: st.DataObject
) -> None:
    body = "".join(several).encode()

    def told(parts: list[bytes]) -> object:
        try:
            return values(body, parts)
        except MalformedForm:
            return None

    assert told([body]) == told(pieces(body, data)) == told([bytes([byte]) for byte in body])


@given(st.text(alphabet='{}[]:,"\\ua1 user_id', max_size=30))
def test_whatever_the_standard_library_reads_is_not_read_otherwise(text: str) -> None:
    body = ('{"user_id":"u1",' + text).encode()
    try:
        pairs = json.loads(body, object_pairs_hook=lambda pairs: pairs)
    except ValueError:
        return
    try:
        found = values(body)
    except MalformedForm:
        return
    assert len(found) == sum(name == "user_id" for name, _ in pairs) or len(found) == 2
