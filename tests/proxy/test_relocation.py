"""`Location` fields that name a destination of the upstream (`aiogateway.proxy.headers`)."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from aiogateway.proxy.headers import origin, outward_lines, relocated

PUBLIC = b"https://api.example"
DESTINATIONS = {
    b"http://auth:8001": b"",
    b"http://auth-2:8001": b"",
    b"https://chat": b"/api",
    b"http://[fd00::5]:8005": b"/v1",
}


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("http://auth:8001/v2/login/", "https://api.example/v2/login/"),
        ("http://auth-2:8001/v2/login/", "https://api.example/v2/login/"),
        ("HTTP://AUTH:8001/V2?q=A#f", "https://api.example/V2?q=A#f"),
        ("http://auth:8001", "https://api.example"),
        ("http://auth:8001?q=1", "https://api.example?q=1"),
        ("http://auth:8001/a//b/%2F", "https://api.example/a//b/%2F"),
        ("https://chat/api/x", "https://api.example/x"),
        ("https://chat:443/api/x", "https://api.example/x"),
        ("https://chat/apix", "https://api.example/apix"),
        ("https://chat/other", "https://api.example/other"),
        ("http://[fd00::5]:8005/v1/x", "https://api.example/x"),
        # Not a destination: another scheme, port, name, or none at all.
        ("https://auth:8001/x", "https://auth:8001/x"),
        ("http://auth/x", "http://auth/x"),
        ("http://auth:80010/x", "http://auth:80010/x"),
        ("http://auth:8001.evil.example/x", "http://auth:8001.evil.example/x"),
        ("http://auth:8001@evil.example/x", "http://auth:8001@evil.example/x"),
        ("http://elsewhere.example/?next=http://auth:8001/", "http://elsewhere.example/?next=http://auth:8001/"),
        ("/v2/login/", "/v2/login/"),
        ("login?next=http://auth:8001/x", "login?next=http://auth:8001/x"),
        ("", ""),
        ("://", "://"),
    ],
)
def test_a_location_is_rewritten_only_when_it_names_a_destination(location: str, told: str) -> None:
    assert relocated(location.encode(), DESTINATIONS, lambda: PUBLIC) == told.encode()


@pytest.mark.parametrize("ending", ["", "?q=1", "#f"])
def test_a_base_path_alone_is_the_root_of_the_public_origin(ending: str) -> None:
    """A destination's base is put before every path on the way in, so `/api` is our `/` or nothing, never `/api`."""
    told = relocated(b"https://chat/api" + ending.encode(), DESTINATIONS, lambda: PUBLIC).decode()
    assert told in (f"https://api.example{ending}", f"https://api.example/{ending}")


def test_a_location_without_a_scheme_names_a_destination_too() -> None:
    """A network-path reference (RFC 3986 section 4.2) has the scheme that the upstream was asked with."""
    assert b"auth" not in relocated(b"//auth:8001/v2/login/", DESTINATIONS, lambda: PUBLIC)


origins = st.sampled_from(sorted(DESTINATIONS)) | st.sampled_from([b"http://other", b"HTTPS://Chat:443", b"http:", b""])
paths = st.text(st.sampled_from("/api?#:@.\\%ev1"), max_size=12).map(str.encode)


@given(origins, paths)
@example(b"https://chat", b"/api/")
@example(b"https://chat", b"/api//evil.example")
def test_nothing_comes_out_but_the_location_itself_or_the_public_origin_and_its_path(where: bytes, path: bytes) -> None:
    told = relocated(where + path, DESTINATIONS, lambda: PUBLIC)
    if told == where + path:
        return
    assert told.startswith(PUBLIC)
    rest = told.removeprefix(PUBLIC)
    assert (where + path).endswith(rest)
    assert rest[:1] in (b"", b"/", b"?", b"#"), "what follows would be part of the host's name"


@given(st.binary())
def test_any_bytes_come_out_as_they_are_or_with_the_public_origin(location: bytes) -> None:
    told = relocated(location, DESTINATIONS, lambda: PUBLIC)
    assert told == location or told.startswith(PUBLIC)


@pytest.mark.parametrize(
    ("scheme", "authority", "spelled"),
    [
        (b"http", b"a", b"http://a"),
        (b"HTTP", b"A:80", b"http://a"),
        (b"http", b"a:443", b"http://a:443"),
        (b"https", b"a:443", b"https://a"),
        (b"https", b"a:8443", b"https://a:8443"),
        (b"http", b"a:8080", b"http://a:8080"),
        (b"http", b"[fd00::80]", b"http://[fd00::80]"),
        (b"http", b"[fd00::1]:80", b"http://[fd00::1]"),
        (b"ftp", b"a:80", b"ftp://a:80"),
    ],
)
def test_an_origin_has_one_spelling(scheme: bytes, authority: bytes, spelled: bytes) -> None:
    assert origin(scheme, authority) == spelled


@given(st.sampled_from([b"http", b"https", b"ws"]), st.text("ab:.048[]", max_size=8).map(str.encode))
def test_spelling_an_origin_anew_changes_nothing_but_a_port_that_is_there_twice(scheme: bytes, name: bytes) -> None:
    once = origin(scheme, name)
    assert once == once.lower() == origin(scheme.upper(), name.upper())
    assert once in (scheme + b"://" + name, scheme + b"://" + name.rpartition(b":")[0])


def test_both_fields_that_name_places_are_rewritten_and_stay_where_they_were_named() -> None:
    fields = [(b"location", b"http://auth:8001/a"), (b"Content-Location", b"http://auth:8001/b"), (b"Date", b"d")]
    by_name = CIMultiDict((name.decode(), value.decode()) for name, value in fields)
    lines = outward_lines(fields, by_name, [], DESTINATIONS, lambda: PUBLIC)
    assert sorted(lines) == [
        b"Content-Location: https://api.example/b",
        b"Date: d",
        b"location: https://api.example/a",
    ]


def test_the_public_origin_is_asked_for_only_when_it_is_needed() -> None:
    def never() -> bytes:
        raise AssertionError("nobody needs it")

    assert relocated(b"/a", DESTINATIONS, never) == b"/a"
    assert outward_lines([(b"Date", b"d")], {"Date": "d"}, [], DESTINATIONS, never) == [b"Date: d"]
