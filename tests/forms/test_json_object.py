"""One member of a JSON object."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.forms import MalformedForm, UnsupportedForm, scanner
from aiogateway.forms.names import folded
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
        ('{"user_id":"\u00e9\\ud83d\\ude00"}'.encode(), ["\u00e9\U0001f600".encode()]),
        (b'{"user_id":9007199254740991}', [b"9007199254740991"]),
        (b'{"user_id":-9007199254740991}', [b"-9007199254740991"]),
        (b'{"user_id":0}', [b"0"]),
        (b'{"a":[[[{"b":[]}]],{}],"c":{"d":{"e":[1,"]"]}},"user_id":"u1"}', [b"u1"]),
        (b'{"a":"\'/* // #","b":["\'/*"],"user_id":"u1"}', [b"u1"]),
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
        b'{"user_id":-0}',
        b'{"user_id":9007199254740992}',
        b'{"user_id":-9007199254740992}',
        b'{"user_id":' + b"7" * 5000 + b"}",
        b'{"user_id":' + b"7" * 70000 + b"}",
        b'{"user_id":"\\ud800"}',
        b'{"user_id":"u1\\u0000"}',
        b'{"User_Id":"u1"}',
        b'{" user_id":"u1"}',
        b'{"user_id\\r":"u1"}',
        b'{"user_\\u0000id":"u1"}',
        b'{"user_id\\u0000x":"u1"}',
        b'{"user_id\\ud800":"u1"}',
        '{"user_\u0131d":"u1"}'.encode(),
        '{"u\u017fer_id":"u1"}'.encode(),
        b'{"a":[/* " */],"user_id":"u2","b":[/* " */],"user_id":"u1"}',
        b'{"a":[\'"\'],"user_id":"u2","b":[\'"\'],"user_id":"u1"}',
        b'{"a":{b\'c:1},"user_id":"u1"}',
        b'{"a":[1,#"\n"],"user_id":"u1"}',
        b'{"a":[},"user_id":"u1"}',
        b'{"a":{"b":[1}],"user_id":"u1"}',
        b'{"a":' + b"[" * 1001 + b"]" * 1001 + b"}",
        b'{"a":"\xe0","user_id":"u1"}',
        b'{"a":["\xed\xa0\x80"],"user_id":"u1"}',
        b'{"a":"\xc0\xa2","user_id":"u1"}',
        b'{"user_id":"u1"}\0',
        b'{"' + b"x" * 70000 + b'":1}',
        b'{"user_id":"' + b"x" * 70000 + b'"}',
        b'{"a":1 2}',
        b"{" + b'"a":1,' * 2000 + b'"user_id":"u1"}',
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
    found.feed(b'","deep":' + b"[" * 1000 + b"]" * 1000 + b',"number":')
    for _ in range(40):
        found.feed(b"7" * 20000)
        assert len(found._data) - found._at <= 1  # type: ignore[attr-defined]
    found.feed(b',"user_id":"u2"}')
    found.finish()
    assert found.values == [b"u1", b"u2"]


@pytest.mark.parametrize(
    "kind",
    [
        "application/json; charset=utf-16",
        'application/json; x="; charset=utf-16"',
        "text/json",
        "application/x-www-form-urlencoded",
    ],
)
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


def is_utf_8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


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
        unlike = isinstance(wanted, str) and re.search("[\0\ud800-\udfff]", wanted)
        large = isinstance(wanted, int) and abs(wanted) > 2**53 - 1
        named = any("\0" in name or folded(name) == "user_id" for name in held)
        assert odd or unlike or large or named or not is_utf_8(body)
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


@pytest.mark.parametrize(("depth", "is_read"), [(1000, True), (1001, False), (50_000, False)])
@pytest.mark.parametrize("size", [1, 7, 10**6])
def test_how_deep_a_value_may_be_is_the_same_however_it_comes(depth: int, is_read: bool, size: int) -> None:
    body = b'{"a":' + b"[" * depth + b"]" * depth + b',"user_id":"u1"}'
    try:
        assert values(body, [body[at : at + size] for at in range(0, len(body), size)]) == [b"u1"]
    except MalformedForm:
        assert not is_read
    else:
        assert is_read


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
