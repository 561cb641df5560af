"""One field of a urlencoded form or a query."""

from __future__ import annotations

import contextlib
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.forms import MalformedForm, UnsupportedForm, scanner, take_out
from aiogateway.forms.names import Spelling, Wanted
from tests.forms.fed import pieces, read

TYPE = ("application/x-www-form-urlencoded",)


def values(body: bytes, field: str = "user_id") -> list[bytes]:
    return read(scanner("form", field, TYPE, ()), [body]).values


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", []),
        (b"a=1", []),
        (b"user_id=u1", [b"u1"]),
        (b"user_id=", [b""]),
        (b"user_id", [b""]),
        (b"a=1&user_id=u1&b=2", [b"u1"]),
        (b"&&user_id=u1&&", [b"u1"]),
        (b"%75ser_id=u1", [b"u1"]),
        (b"user%5Fid=u%31", [b"u1"]),
        (b"user_id=a+b%2B%26", [b"a b+&"]),
        (b"user_id=a=b", [b"a=b"]),
        (b"user_id=u1&user_id=u2", [b"u1", b"u2"]),
        (b"user_id=u1&%75ser_id=u2", [b"u1", b"u2"]),
        (b"user_id=1&user_id=2&user_id=3", [b"1", b"2"]),
        (b"user_identity=x&my_user_id=y&user_id=u1", [b"u1"]),
        (b"a=1;b=2&user_id=u1", [b"u1"]),
        (b"=x&&user_id=u1&", [b"u1"]),
        (b"a=%zz&b=\xff&user_id=u1", [b"u1"]),
        (b"userid=x&user=y&users[id]=z&id=w&user_id=u1", [b"u1"]),
        (b"user_id=%C3%A9", [b"\xc3\xa9"]),
    ],
)
def test_a_field_is_found_however_it_is_written(body: bytes, found: list[bytes]) -> None:
    assert values(body) == found


@pytest.mark.parametrize(
    "body",
    [
        b"user_id=u1;x=2",
        b"x=1;user_id=u2",
        b"user_id=u1&x=1;user_id=u2",
        b"user_id=u1&x=1;%75ser_id=u2&y=3",
        b"user_id=u1&user_id[]=u2",
        b"user_id%5B0%5D=u2",
        b"User_Id=u2",
        b"user_id=u1&USER_ID=u2",
        b"user.id=u2",
        b"user+id=u2",
        b"user-id=u2",
        b"+user_id=u2",
        b"user_id+=u2",
        b"user_id%00=u2",
        b"user_id%00x=u2",
        b"user_id=%zz",
        b"?user_id=u2&user_id=u1",
        b"%EF%BB%BFuser_id=u2",
        b"user_id=%4",
        b"user[id=u2",
        b"user[id]=u2",
        b"[user_id]=u2",
        b"]user_id=u2",
        b"user_id.name=u2",
        b"'user_id'=u2",
        b"user%FF_id=u2",
        b"user_%C4%B1d=u2",
        b"user_%C4%B0d=u2",
        b"u%C5%BFer_id=u2",
        b"%2575ser_id=u2",
        b"%u0075ser_id=u2",
        b"%00=u2",
        b"user_id=\xc3\xa9",
        b"user_id=%FF",
        b"user_id=u1%00",
        b"user_id=u1;",
        b";user_id=u1",
    ],
)
def test_what_some_service_reads_in_another_way_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedForm):
        values(body)


def test_a_long_value_of_another_field_streams_by() -> None:
    found = scanner("form", "user_id", TYPE, ())
    found.feed(b"user_id=u1&text=")
    for _ in range(50):
        found.feed(b"x" * 65536)
        assert found._passing and not found._value  # type: ignore[attr-defined]
    found.feed(b"&user_id=u2")
    found.finish()
    assert found.values == [b"u1", b"u2"]


@pytest.mark.parametrize("body", [b"user_id=" + b"x" * 70000, b"x" * 70000, b"x" * 70000 + b"&a=1"])
def test_a_name_or_a_wanted_value_has_its_bounds(body: bytes) -> None:
    for parts in ([body], [body[:66000], body[66000:]]):
        with pytest.raises(MalformedForm):
            read(scanner("form", "user_id", TYPE, ()), parts)


@pytest.mark.parametrize(
    ("types", "encodings"),
    [
        ((), ()),
        (("text/plain",), ()),
        (("application/json",), ()),
        ((*TYPE, *TYPE), ()),
        (TYPE, ("gzip",)),
        (("application/x-www-form-urlencoded; charset=utf-16",), ()),
        (("application/x-www-form-urlencoded; charset=utf-8; charset=utf-7",), ()),
        (("application/x-www-form-urlencoded charset",), ()),
        (("",), ()),
    ],
)
def test_a_body_of_another_kind_is_not_read(types: tuple[str, ...], encodings: tuple[str, ...]) -> None:
    with pytest.raises(UnsupportedForm):
        scanner("form", "user_id", types, encodings)


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded; charset=UTF-8", "Application/X-WWW-Form-URLencoded ;", *TYPE]
)
def test_a_media_type_is_read_in_any_case(kind: str) -> None:
    assert read(scanner("form", "a", (kind,), ("identity",)), [b"a=1"]).values == [b"1"]


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (b"a=1&t=x&b=2", b"a=1&b=2"),
        (b"t=x&a=1", b"a=1"),
        (b"a=1&t=x", b"a=1"),
        (b"t=x", b""),
        (b"a=%41&&%74=x+y&b", b"a=%41&&b"),
        (b"a=1", b"a=1"),
    ],
)
def test_a_field_is_taken_out_and_the_rest_stays(body: bytes, left: bytes) -> None:
    assert take_out("t", TYPE, (), body) == left


@pytest.mark.parametrize("separator", [b"&", b";"])
def test_a_form_has_no_more_fields_than_services_read(separator: bytes) -> None:
    assert read(scanner("form", "user_id", TYPE, ()), [b"a" + separator] * 1999).values == []
    with pytest.raises(MalformedForm):
        read(scanner("form", "user_id", TYPE, ()), [b"a" + separator] * 2000)


# What Starlette reads with python-multipart 0.0.34, as tried, and what others are known to read.
@pytest.mark.parametrize(
    ("body", "service"),
    [
        (b"user_id=u1;user_id=u2", "Starlette: u1;user_id=u2"),
        (b"user_id=u1&%75ser_id=u2", "Starlette: the last"),
        (b"user_id=u1&user_id", "Starlette: the last, which is empty"),
        (b"user_id=u1\xe9", "Starlette: the byte as Latin-1"),
        (b"user_id=u1%E9", "Starlette: a replacement character"),
        (b"user_id=u1&user[id=u2", "PHP: u2"),
        (b"user_id=u1&+user.id=u2", "PHP: u2"),
        (b"user_id=u1&[user_id]=u2", "Rack 2: u2"),
        (b"user_id=u1&user_id[]=u2", "PHP, Rack, Express: a list"),
        (b"user_id=u1&x=1;user_id=u2", "Python before 3.9.2, python-multipart (CVE-2026-53538): u2"),
    ],
)
def test_a_value_is_never_the_only_one_if_a_service_reads_another(body: bytes, service: str) -> None:
    with contextlib.suppress(MalformedForm):
        assert len(values(body)) > 1, service


NAMES = st.sampled_from(["user_id", "a", "User_Id", "user_id[]", "x", "user", ""]) | st.text(max_size=4)


@given(st.lists(st.tuples(NAMES, st.text(max_size=6)), max_size=6), st.data())
def test_the_standard_library_sees_the_same_values(pairs: list[tuple[str, str]], data: st.DataObject) -> None:
    body = urlencode(pairs).encode()
    try:
        found = read(scanner("form", "user_id", TYPE, ()), pieces(body, data))
    except MalformedForm:
        wanted = Wanted("user_id")
        odd = any(wanted.spelling(name.encode()) is Spelling.ALIKE for name, _ in pairs)
        assert odd or any(name == "user_id" and "\0" in value for name, value in pairs)
        return
    told = [value for name, value in parse_qsl(body.decode(), keep_blank_values=True) if name == "user_id"]
    assert [value.decode() for value in found.values] == told[:2]


@given(st.binary(max_size=60), st.data())
def test_any_bytes_are_read_or_refused_in_the_same_way_however_they_come(body: bytes, data: st.DataObject) -> None:
    def told(parts: list[bytes]) -> list[bytes] | None:
        try:
            return read(scanner("form", "a", TYPE, ()), parts).values
        except MalformedForm:
            return None

    assert told([body]) == told(pieces(body, data)) == told([bytes([byte]) for byte in body])
