"""What may be kept of an answer, by what is said of it."""

from __future__ import annotations

import pytest

from aiogateway.caching.storing import entry_of, matches

from .answers import NOW, asked, entry, headers, raw

FRESH = "Cache-Control: max-age=60"
DIRECTIVES = [
    ("max-age=60", True),
    ("public, max-age=60", True),
    ("max-age=60, unknown, other=1", True),
    ("max-age=60, no-store", False),
    ("max-age=60, No-Store", False),
    ('max-age=60, no-store="x"', False),
    ("max-age=60, private", False),
    ('max-age=60, private="x-a"', True),
    ('max-age=60, private="x-a", private', False),
    ("max-age=60, must-understand, no-store", True),
    ("max-age=0", False),
    ("max-age=-1", False),
    ("max-age=60, s-maxage=0", False),
    ("", False),
]


@pytest.mark.parametrize("directive", ["no-cache", "private"])
def test_a_tag_that_is_kept_out_of_shared_caches_validates_nothing(directive: str) -> None:
    kept = f'Cache-Control: max-age=60, {directive}="ETag, Last-Modified"'
    made = entry_of(
        200,
        headers(kept, 'ETag: "a"', "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"),
        raw(kept),
        asked(),
        NOW,
        size=1,
        encodable=False,
    )
    assert made is not None and (made.etag, made.modified) == ("", "")


@pytest.mark.parametrize(("value", "kept"), DIRECTIVES)
def test_directives_say_whether_an_answer_is_kept(value: str, kept: bool) -> None:
    lines = (f"Cache-Control: {value}",)
    made = entry_of(200, headers(*lines), raw(*lines), asked(), NOW, size=1, encodable=False)
    assert (made is not None) is kept


@pytest.mark.parametrize(
    ("status", "value", "kept"),
    [
        (206, "max-age=60", False),
        (304, "max-age=60", False),
        (404, "max-age=60", True),
        (500, "max-age=60", True),
        (299, "max-age=60", True),
        (299, "max-age=60, must-understand", False),
        (404, "max-age=60, no-store, must-understand", True),
    ],
)
def test_parts_and_what_is_not_understood_are_not_kept(status: int, value: str, kept: bool) -> None:
    lines = (f"Cache-Control: {value}",)
    made = entry_of(status, headers(*lines), raw(*lines), asked(), NOW, size=1, encodable=False)
    assert (made is not None) is kept


@pytest.mark.parametrize(
    ("value", "kept"),
    [("", False), (", public", True), (", s-maxage=60", True), (", must-revalidate", True), (", immutable", False)],
)
def test_an_answer_to_authorization_is_kept_only_if_it_says_so(value: str, kept: bool) -> None:
    lines = (FRESH + value,)
    made = entry_of(200, headers(*lines), raw(*lines), asked(authorized=True), NOW, size=1, encodable=False)
    assert (made is not None) is kept
    routed = asked(authorized=True, by_route=60)
    assert entry_of(200, headers(), raw(), routed, NOW, size=1, encodable=False) is None


@pytest.mark.parametrize("line", ["Set-Cookie: a=b", "Vary: *", "Vary: accept, *", "Vary: X-Request-Id, *"])
def test_what_is_one_clients_own_is_not_kept(line: str) -> None:
    lines = (FRESH, line)
    assert entry_of(200, headers(*lines), raw(*lines), asked(), NOW, size=1, encodable=False) is None


def test_fields_for_one_client_or_one_connection_are_left_out() -> None:
    lines = (
        'Cache-Control: max-age=60, private="x-a, X-B", no-cache="x-c"',
        *("X-A: 1", "x-b: 1", "X-C: 1", "X-D: 1", "Age: 1", "Content-Length: 10", "Proxy-Authenticate: Basic"),
    )
    assert entry(*lines).lines == raw(lines[0], "X-D: 1")


def test_an_answer_is_for_requests_with_the_same_values_of_what_it_varies_by() -> None:
    stored = entry(FRESH, "Vary: Accept, X-A", "Vary: accept", to=asked("Accept: a/b", "X-A: 1", "X-A: 2"))
    assert stored.named == ("accept", "x-a")
    for lines, same in (
        (("X-A: 1, 2", "Accept: a/b"), True),
        (("X-A: 2, 1", "Accept: a/b"), False),
        (("X-A: 1", "Accept: a/b"), False),
        (("Accept: a/b",), False),
        ((), False),
    ):
        assert matches(stored, stored.source, asked(*lines).selecting) is same
    assert not matches(stored, "other /", asked("Accept: a/b", "X-A: 1, 2").selecting)


def test_nothing_is_not_the_same_as_an_empty_value() -> None:
    stored = entry(FRESH, "Vary: X-A")
    assert not matches(stored, stored.source, asked("X-A:").selecting)


def test_tags_are_taken_from_both_fields_and_too_many_are_not_kept() -> None:
    assert entry(FRESH, "Cache-Tag: a,b , c", "Surrogate-Key: c  d").tags == ("a", "b", "c", "d")
    many = "Cache-Tag: " + ",".join(map(str, range(65)))
    for line in (many, "Surrogate-Key: " + "x" * 129):
        assert entry_of(200, headers(FRESH, line), raw(FRESH, line), asked(), NOW, size=1, encodable=False) is None


@pytest.mark.parametrize("tag", ["v", 'w/"v"', '"v', "*", '"a", "b"'])
def test_a_malformed_tag_validates_nothing(tag: str) -> None:
    assert entry(FRESH, f"ETag: {tag}").etag == ""
