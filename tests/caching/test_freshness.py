"""How long an answer may be given, by what it and the request say."""

from __future__ import annotations

import math

import pytest

from aiogateway.caching.entry import Freshness
from aiogateway.caching.freshness import Use, Wish, freshness_of, may_stand_in, use, wish_of

from .answers import NOW, NOW_DATE, headers

EXPIRES_IN_90 = "Expires: Sun, 06 Nov 1994 08:51:07 GMT"


@pytest.mark.parametrize(
    ("lines", "by_route", "lifetime"),
    [
        ((), None, 0),
        ((), 30, 30),
        ((EXPIRES_IN_90,), 30, 90),
        ((EXPIRES_IN_90, f"Date: {NOW_DATE}"), None, 90),
        ((EXPIRES_IN_90, "Date: broken"), None, 90),
        ((EXPIRES_IN_90, "Date: Sun, 06 Nov 1994 08:49:27 GMT"), None, 100),
        (("Expires: 0",), 30, 0),
        (("Expires: -1",), 30, 0),
        ((f"Expires: {NOW_DATE}", EXPIRES_IN_90), 30, 0),
        (("Cache-Control: max-age=60", EXPIRES_IN_90), 30, 60),
        (("Cache-Control: max-age=60, s-maxage=70", EXPIRES_IN_90), 30, 70),
        (("Cache-Control: max-age=60, s-maxage=x",), 30, 0),
        (("Cache-Control: max-age=x", EXPIRES_IN_90), 30, 0),
        (("Cache-Control: max-age=60", "Cache-Control: max-age=70"), 30, 0),
        (("CDN-Cache-Control: max-age=5", "Cache-Control: s-maxage=60", EXPIRES_IN_90), 30, 5),
        (("CDN-Cache-Control: must-revalidate", "Cache-Control: s-maxage=60", EXPIRES_IN_90), 30, 30),
        (("CDN-Cache-Control: max-age=", "Cache-Control: s-maxage=60"), 30, 60),
        (("CDN-Cache-Control:", "Cache-Control: s-maxage=60"), 30, 60),
    ],
)
def test_the_lifetime_is_what_counts_first(lines: tuple[str, ...], by_route: float | None, lifetime: float) -> None:
    assert freshness_of(200, headers(*lines), NOW, NOW, by_route).lifetime == lifetime


@pytest.mark.parametrize("status", [206, 302, 307, 400, 403, 404, 500, 503])
def test_the_routes_seconds_say_nothing_of_an_error(status: int) -> None:
    assert freshness_of(status, headers(), NOW, NOW, 60).lifetime == 0


@pytest.mark.parametrize(
    ("lines", "took", "age"),
    [
        ((), 0, 0),
        ((), 3, 3),
        (("Age: 10",), 3, 13),
        (("Age: -10",), 3, 3),
        (("Age: x",), 0, 0),
        (("Date: Sun, 06 Nov 1994 08:49:17 GMT",), 0, 20),
        (("Date: Sun, 06 Nov 1994 08:49:17 GMT", "Age: 18"), 3, 21),
        (("Date: Sun, 06 Nov 1994 08:49:17 GMT", "Age: 5"), 3, 20),
        (("Date: Sun, 06 Nov 1994 09:49:17 GMT", "Age: 5"), 0, 5),
    ],
)
def test_the_age_at_first_is_the_larger_of_both_ways_to_tell(lines: tuple[str, ...], took: float, age: float) -> None:
    assert freshness_of(200, headers(*lines), NOW - took, NOW, None).age == age


@pytest.mark.parametrize(
    ("lines", "wish"),
    [
        ((), Wish()),
        (("Pragma: no-cache",), Wish(validated=True)),
        (("Pragma: no-cache", "Cache-Control: max-stale"), Wish(max_stale=math.inf)),
        (("Cache-Control: no-cache, no-store, only-if-cached",), Wish(True, True, True)),
        (("Cache-Control: max-age=5, min-fresh=6, max-stale=7",), Wish(max_age=5, min_fresh=6, max_stale=7)),
        (("Cache-Control: max-age=x, max-stale=x, min-fresh=x",), Wish(max_age=0)),
        (("Cache-Control: stale-if-error=9",), Wish(if_error=9)),
    ],
)
def test_a_request_says_what_it_wishes(lines: tuple[str, ...], wish: Wish) -> None:
    assert wish_of(headers(*lines)) == wish


def fresh_for(
    lifetime: float, *, validate: bool = False, strict: bool = False, revalidating: float = 0, error: float = 0
) -> Freshness:
    return Freshness(lifetime, 0.0, validate, strict, revalidating, error)


@pytest.mark.parametrize(
    ("freshness", "age", "wish", "good"),
    [
        (fresh_for(10), 9, Wish(), Use.GIVE),
        (fresh_for(10), 10, Wish(), Use.VALIDATE),
        (fresh_for(10, validate=True), 0, Wish(max_stale=math.inf), Use.VALIDATE),
        (fresh_for(10), 0, Wish(validated=True), Use.VALIDATE),
        (fresh_for(10), 5, Wish(max_age=4), Use.VALIDATE),
        (fresh_for(10), 5, Wish(max_age=5), Use.GIVE),
        (fresh_for(10), 5, Wish(min_fresh=5), Use.GIVE),
        (fresh_for(10), 5, Wish(min_fresh=6), Use.VALIDATE),
        (fresh_for(10), 15, Wish(max_stale=5), Use.GIVE),
        (fresh_for(10), 16, Wish(max_stale=5), Use.VALIDATE),
        (fresh_for(10), 1e9, Wish(max_stale=math.inf), Use.GIVE),
        (fresh_for(10, strict=True), 11, Wish(max_stale=math.inf), Use.VALIDATE),
        (fresh_for(10, strict=True, revalidating=9), 11, Wish(), Use.VALIDATE),
        (fresh_for(10, revalidating=5), 15, Wish(), Use.GIVE_AND_VALIDATE),
        (fresh_for(10, revalidating=5), 16, Wish(), Use.VALIDATE),
        (fresh_for(10, revalidating=5), 12, Wish(validated=True), Use.VALIDATE),
    ],
)
def test_a_stale_answer_needs_permission(freshness: Freshness, age: float, wish: Wish, good: Use) -> None:
    assert use(freshness, age, wish) is good


@pytest.mark.parametrize(
    ("freshness", "age", "wish", "may"),
    [
        (fresh_for(10), 9, Wish(), True),
        (fresh_for(10), 10, Wish(), False),
        (fresh_for(10), 11, Wish(), False),
        (fresh_for(10), 10, Wish(), False),
        (fresh_for(10), 9, Wish(), True),
        (fresh_for(10, error=5), 15, Wish(), True),
        (fresh_for(10, error=5), 16, Wish(), False),
        (fresh_for(10), 15, Wish(if_error=5), True),
        (fresh_for(10, error=5, strict=True), 11, Wish(if_error=5), False),
        (fresh_for(10, error=5, validate=True), 11, Wish(), False),
        (fresh_for(10, error=5), 11, Wish(validated=True), False),
    ],
)
def test_a_stale_answer_stands_in_for_an_error_by_permission_only(
    freshness: Freshness, age: float, wish: Wish, may: bool
) -> None:
    assert may_stand_in(freshness, age, wish) is may


@pytest.mark.parametrize("word", ["must-revalidate", "proxy-revalidate", "s-maxage=5"])
def test_an_answer_may_forbid_to_be_given_stale(word: str) -> None:
    assert freshness_of(200, headers(f"Cache-Control: max-age=5, {word}"), NOW, NOW, None).strict


@pytest.mark.parametrize(
    ("argument", "validate"), [("", True), ('="a"', False), ('=""', True), ('="a", no-cache', True)]
)
def test_no_cache_with_names_is_about_those_fields_only(argument: str, validate: bool) -> None:
    found = freshness_of(200, headers(f"Cache-Control: max-age=5, no-cache{argument}"), NOW, NOW, None)
    assert found.validate is validate
