"""Conditions and ranges, by what is stored."""

from __future__ import annotations

import pytest

from aiogateway.caching.conditions import (
    Part,
    describes,
    has_length,
    is_not_modified,
    part_of,
    renewed,
    validators,
)

from .answers import NOW, NOW_DATE, asked, entry, headers, raw

FRESH = "Cache-Control: max-age=60"
EARLIER, LATER = "Sun, 06 Nov 1994 07:49:37 GMT", "Sun, 06 Nov 1994 09:49:37 GMT"


@pytest.mark.parametrize(
    ("etag", "lines", "same"),
    [
        ('"a"', ('If-None-Match: "a"',), True),
        ('"a"', ('If-None-Match: W/"a"',), True),
        ('W/"a"', ('If-None-Match: "a"',), True),
        ('"a"', ('If-None-Match: "x", "a"',), True),
        ('"a"', ('If-None-Match: "x"', 'If-None-Match: "a"'), True),
        ('"a"', ("If-None-Match: *",), True),
        ("", ("If-None-Match: *",), True),
        ("", ('If-None-Match: ""',), False),
        ('"a"', ('If-None-Match: "A"',), False),
        ('"a"', ("If-None-Match: a",), False),
        ('"a"', ("If-None-Match:",), False),
        ('"a"', ('If-None-Match: "x"', f"If-Modified-Since: {LATER}"), False),
        ('"a"', ('If-None-Match: "a"', f"If-Modified-Since: {EARLIER}"), True),
        ("", (f"If-Modified-Since: {LATER}",), True),
        ("", (f"If-Modified-Since: {EARLIER}",), True),
        ("", ("If-Modified-Since: Sun, 06 Nov 1994 07:49:36 GMT",), False),
        ("", ("If-Modified-Since: broken",), False),
        ("", (f"If-Modified-Since: {LATER}", f"If-Modified-Since: {LATER}"), False),
        ("", (), False),
    ],
)
def test_a_client_has_it_by_its_tag_or_else_by_its_date(etag: str, lines: tuple[str, ...], same: bool) -> None:
    stored = entry(FRESH, f"ETag: {etag}", f"Last-Modified: {EARLIER}")
    assert is_not_modified(headers(*lines), stored) is same


def test_without_a_date_of_its_own_an_answer_is_as_old_as_it_is_stored() -> None:
    stored = entry(FRESH)
    assert is_not_modified(headers(f"If-Modified-Since: {NOW_DATE}"), stored)
    assert not is_not_modified(headers(f"If-Modified-Since: {EARLIER}"), stored)


@pytest.mark.parametrize("status", [301, 404, 410, 500])
@pytest.mark.parametrize("line", ["If-None-Match: *", 'If-None-Match: "a"', f"If-Modified-Since: {LATER}"])
def test_conditions_on_what_is_no_success_are_ignored(status: int, line: str) -> None:
    stored = entry(FRESH, 'ETag: "a"', f"Last-Modified: {EARLIER}", status=status)
    assert not is_not_modified(headers(line), stored)


@pytest.mark.parametrize(
    ("asked_for", "part"),
    [
        ("bytes=0-0", Part(0, 1)),
        ("bytes=0-9", Part(0, 10)),
        ("bytes=3-", Part(3, 10)),
        ("bytes=9-99", Part(9, 10)),
        ("bytes=-3", Part(7, 10)),
        ("bytes=-99", Part(0, 10)),
        ("Bytes=0-0", Part(0, 1)),
        ("bytes=10-", Part(10, 10)),
        ("bytes=-0", Part(10, 10)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=0-0,2-2", None),
        ("bytes 0-0", None),
        ("bytes=+1-2", None),
        ("bytes=" + "9" * 5000 + "-", None),
        ("bytes=٣-٤", None),
        ("", None),
    ],
)
def test_a_range_is_a_part_or_ignored(asked_for: str, part: Part | None) -> None:
    assert part_of(headers(f"Range: {asked_for}"), entry(FRESH)) == part


@pytest.mark.parametrize(
    ("wanted", "etag", "given"),
    [
        ('"a"', '"a"', True),
        ('"b"', '"a"', False),
        ('W/"a"', 'W/"a"', False),
        ('"a"', 'W/"a"', False),
        (EARLIER, '"a"', True),
        (NOW_DATE, '"a"', False),
        (LATER, '"a"', False),
        ("broken", '"a"', False),
        ("", '"a"', False),
    ],
)
def test_if_range_takes_the_very_same(wanted: str, etag: str, given: bool) -> None:
    stored = entry(FRESH, f"ETag: {etag}", f"Last-Modified: {EARLIER}")
    assert (part_of(headers("Range: bytes=0-0", f"If-Range: {wanted}"), stored) is not None) is given


def test_a_date_too_near_to_be_strong_allows_no_part() -> None:
    stored = entry(FRESH, f"Last-Modified: {NOW_DATE}", received=NOW + 59)
    assert part_of(headers("Range: bytes=0-0", f"If-Range: {NOW_DATE}"), stored) is None


def test_what_is_stored_is_validated_by_all_it_has() -> None:
    assert validators(entry(FRESH)) == []
    assert validators(entry(FRESH, 'ETag: W/"a"', f"Last-Modified: {EARLIER}")) == [
        (b"If-None-Match", b'W/"a"'),
        (b"If-Modified-Since", EARLIER.encode()),
    ]


@pytest.mark.parametrize(
    ("stored", "said", "same"),
    [
        (('ETag: "a"',), ('ETag: "a"',), True),
        (('ETag: "a"',), ('ETag: W/"a"',), True),
        (('ETag: W/"a"',), ('ETag: W/"a"',), True),
        (('ETag: W/"a"',), ('ETag: "a"',), False),
        (('ETag: "a"',), ('ETag: "b"',), False),
        ((), ('ETag: "a"',), False),
        (('ETag: "a"',), (), True),
        ((f"Last-Modified: {EARLIER}",), (f"Last-Modified: {EARLIER}",), True),
        ((f"Last-Modified: {EARLIER}",), (f"Last-Modified: {LATER}",), False),
    ],
)
def test_an_answer_without_a_body_is_about_what_has_its_validators(
    stored: tuple[str, ...], said: tuple[str, ...], same: bool
) -> None:
    assert describes(entry(FRESH, *stored), headers(*said)) is same


def renew(*said: str) -> bytes | None:
    stored = entry(FRESH, 'ETag: "a"', "X-Old: 1", "X-Both: 1", "X-Both: 2", "Content-Type: a/b", "Date: " + EARLIER)
    found = renewed(stored, headers(*said), raw(*said), asked(at=NOW + 100), NOW + 100)
    if found is None:
        return None
    assert (found.id, found.size, found.age(NOW + 100)) == (stored.id, stored.size, 0)
    return found.lines


NEW_DATE = "Date: Sun, 06 Nov 1994 08:51:17 GMT"


def test_a_304_replaces_fields_by_name_but_not_those_of_the_body() -> None:
    said = ("X-Both: 3", "Content-Type: c/d", "Content-Length: 0", "Content-Encoding: gzip", NEW_DATE)
    assert renew(*said) == raw(FRESH, 'ETag: "a"', "X-Old: 1", "Content-Type: a/b", "X-Both: 3", NEW_DATE)


@pytest.mark.parametrize(
    "line", ['ETag: "b"', "Cache-Control: no-store", "Cache-Control: private", "Set-Cookie: a=b", "Vary: *"]
)
def test_a_304_about_something_else_or_that_forbids_it_renews_nothing(line: str) -> None:
    assert renew(NEW_DATE, line) is None


@pytest.mark.parametrize(
    ("lines", "same"), [((), True), (("Content-Length: 10",), True), (("Content-Length: 9",), False)]
)
def test_a_head_is_about_a_body_of_its_length(lines: tuple[str, ...], same: bool) -> None:
    assert has_length(entry(FRESH), headers(*lines)) is same
