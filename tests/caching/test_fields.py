"""What is read of a field, and that nothing a client or a service writes there does harm."""

from __future__ import annotations

from time import gmtime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiogateway.caching import fields

from .answers import NOW


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([], {}),
        (["max-age=5"], {"max-age": ["5"]}),
        (['max-age="5"'], {"max-age": ["5"]}),
        (["MAX-AGE=5, No-Store"], {"max-age": ["5"], "no-store": [None]}),
        (["max-age=5", "max-age=6"], {"max-age": ["5", "6"]}),
        ([",, ,no-store,,"], {"no-store": [None]}),
        (['no-cache="a, no-store", private'], {"no-cache": ["a, no-store"], "private": [None]}),
        ([r'ext="a\", no-store", public'], {"ext": ['a", no-store'], "public": [None]}),
        (["community=UCI"], {"community": ["UCI"]}),
        (["max-age="], {"max-age": [None]}),
        (["max-age =5"], {"max-age": [""]}),
        (["max-age=5; no-store"], {"max-age": [""]}),
        (['private="a" b'], {"private": [""]}),
        (["max-age=5 \t, public\t"], {"max-age": ["5"], "public": [None]}),
        (['max-age=5, x="y, no-store'], {"max-age": ["5"], "x": [""], "no-store": [None]}),
        (['max-age=5, "private, public"'], {"max-age": ["5"], "no-store": [None]}),
        (["=5, no-store"], {"no-store": [None]}),
    ],
)
def test_directives_are_told_apart_and_quoted_arguments_mean_what_plain_ones_do(
    values: list[str], found: dict[str, list[str | None]]
) -> None:
    assert fields.directives(values) == found


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (None, None),
        (["0"], 0),
        (["60"], 60),
        (["060"], 60),
        (["60", "60"], 60),
        (["60", "70"], 0),
        (["-1"], 0),
        (["+1"], 0),
        (["1.5"], 0),
        (["1e3"], 0),
        (["٣"], 0),
        ([""], 0),
        ([None], 0),
        (["9" * 5000], 2**31),
        ([str(2**31 + 1)], 2**31),
    ],
)
def test_seconds_that_are_none_or_differ_are_0(values: list[str | None] | None, found: float | None) -> None:
    assert fields.seconds(values) == found


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([], 0),
        (["7"], 7),
        (["7", "9"], 7),
        (["7, 9"], 7),
        (["-7"], 0),
        (["7.5"], 0),
        (["x"], 0),
        ([""], 0),
        (["9" * 5000], 2**31),
    ],
)
def test_an_age_is_the_first_of_several_and_0_if_broken(values: list[str], found: float) -> None:
    assert fields.age(values) == found


@pytest.mark.parametrize(
    "value",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_a_date_is_read_in_all_three_forms(value: str) -> None:
    assert fields.http_date(value) == NOW


@pytest.mark.parametrize("ahead", [0, 49, 50, 51, 99])
def test_a_year_of_two_digits_is_at_most_50_years_ahead(ahead: int) -> None:
    year = gmtime().tm_year + ahead
    short = fields.http_date(f"Sunday, 06-Nov-{year % 100:02d} 08:49:37 GMT")
    full = fields.http_date(f"Sun, 06 Nov {year if ahead <= 50 else year - 100} 08:49:37 GMT")
    assert short == full is not None


@pytest.mark.parametrize(
    "value",
    [
        *("", "0", "-1", "never", "784111777", "1994-11-06T08:49:37Z"),
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 29 Feb 1900 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun Nov  6 08:49:37 0000",
        "Sun, ٣6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        "x" * 8192,
    ],
)
def test_what_is_no_date_is_none(value: str) -> None:
    assert fields.http_date(value) is None


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["*"], ["*"]),
        (['"a"'], ['"a"']),
        (['W/"a", "b"', '"c"'], ['W/"a"', '"b"', '"c"']),
        ([',"a",, "b",'], ['"a"', '"b"']),
        (['"a,b"'], ['"a,b"']),
        (['""'], ['""']),
        (["a"], None),
        (['w/"a"'], None),
        (['"a" "b"'], None),
        (['"a"b'], None),
        (['*, "a"'], None),
        (['"a'], None),
        ([""], None),
        ([",,"], None),
    ],
)
def test_tags_are_a_list_or_a_star_or_malformed(values: list[str], found: list[str] | None) -> None:
    assert fields.entity_tags(values) == found


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["max-age=60"], {"max-age": ["60"]}),
        (["no-store"], {"no-store": [None]}),
        (["no-store=?0, max-age=1"], {"max-age": ["1"]}),
        (["max-age=60;x=1"], {"max-age": ["60"]}),
        (["max-age=1, max-age=2"], {"max-age": ["2"]}),
        (['max-age="60"'], {"max-age": [""]}),
        (["max-age=1.5"], {"max-age": [""]}),
        (["max-age=-1"], {"max-age": ["-1"]}),
        (["Max-Age=60"], None),
        (["max-age=60,"], None),
        (["max-age=60 no-store"], None),
        ([""], None),
        (["é"], None),
    ],
)
def test_a_targeted_field_is_a_dictionary_or_says_nothing(
    values: list[str], found: dict[str, list[str | None]] | None
) -> None:
    assert fields.targeted(values) == found


PIECES = st.sampled_from(
    ['"', "\\", ",", "=", ";", " ", "\t", "max-age", "no-cache", "W/", "*", ":", "?", "(", "60", "-", "GMT", "é"]
)
VALUES = st.one_of(
    st.text(max_size=60),
    st.lists(PIECES, max_size=40).map("".join),
    st.tuples(st.lists(PIECES, min_size=1, max_size=4).map("".join), st.integers(1, 2048)).map(
        lambda drawn: (drawn[0] * drawn[1])[:8192]
    ),
)


@settings(deadline=1000, max_examples=150)
@given(st.lists(VALUES, max_size=3))
def test_no_value_makes_a_reader_raise_or_take_long(values: list[str]) -> None:
    found = fields.directives(values)
    fields.targeted(values)
    fields.age(values)
    fields.entity_tags(values)
    fields.names(values)
    for arguments in found.values():
        assert 0 <= (fields.seconds(arguments) or 0) <= fields.MOST_SECONDS
    for value in values:
        fields.http_date(value)
