"""Fields that say how an answer may be kept and compared: a pure reading of each.

Rules: what is malformed means the least that it can, so that nothing is kept, or given, on the strength of it.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from time import gmtime
from typing import Final

import http_sf

# Spelling of `Cache-Control` up to which what it says is remembered: clients may make any up.
REMEMBERED: Final = 256
# Seconds: a larger number means as much as this one (RFC 9111 section 1.2.2).
MOST_SECONDS: Final = 2**31

# Directives by name in lower case, each with what stood behind its `=` every time it was named; None for nothing.
Directives = Mapping[str, Sequence[str | None]]

_TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_MEMBER: Final = re.compile(
    rf'[ \t]*(?:({_TOKEN})(?:=(?:({_TOKEN})|"((?:[^"\\]|\\.)*)")?)?)?[ \t]*([^,"]*(?:"(?:[^"\\]|\\.)*"?[^,"]*)*)(?:,|$)'
)
_ESCAPED: Final = re.compile(r"\\(.)")
_DIGITS: Final = re.compile(r"[0-9]+")
_TAG: Final = re.compile(r'[ \t,]*((?:W/)?"[\x21\x23-\x7e\x80-\uffff]*")[ \t]*(?=,|$)')

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CLOCK: Final = r"(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d):(?P<second>[0-5]\d|60)"
_MONTH: Final = rf"(?P<month>{'|'.join(_MONTHS)})"
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LONG_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# The three forms of a date (RFC 9110 section 5.6.7).
_DATES: Final = tuple(
    re.compile(form, re.ASCII)
    for form in (
        rf"(?:{'|'.join(_DAYS)}), (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_CLOCK} GMT",
        rf"(?:{'|'.join(_LONG_DAYS)}), (?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_CLOCK} GMT",
        rf"(?:{'|'.join(_DAYS)}) {_MONTH} (?P<day>[ \d]\d) {_CLOCK} (?P<year>\d{{4}})",
    )
)


@lru_cache(maxsize=1024)
def _directives(value: str) -> Directives:
    found: dict[str, list[str | None]] = {}
    at = 0
    while at < len(value) and (member := _MEMBER.match(value, at)) is not None:
        name, token, quoted, behind = member.groups()
        if name is not None:
            argument = _ESCAPED.sub(r"\1", quoted) if quoted is not None else token
            found.setdefault(name.lower(), []).append("" if behind else argument)
        if '"' in behind:  # where a directive ends can't be told, and any may be in there
            found.setdefault("no-store", []).append(None)
        at = member.end()
    return found


def directives(values: Iterable[str]) -> Directives:
    """What `Cache-Control` says (RFC 9111 section 5.2); a quoted argument means what a plain one does.

    :param values: of each field.
    """
    value = ", ".join(values)
    return _directives(value) if len(value) <= REMEMBERED else _directives.__wrapped__(value)


def targeted(values: Iterable[str]) -> Directives | None:
    """What a field says that is meant for one kind of cache, as `CDN-Cache-Control` is (RFC 9213 section 2.1).

    :param values: of each field.
    :return: None when there is nothing, or it can't be parsed: then `Cache-Control` holds.
    """
    try:
        parsed = http_sf.parse(", ".join(values).encode("latin-1", "replace"), tltype="dictionary")
    except ValueError:
        return None
    if not isinstance(parsed, dict):
        return None
    found: dict[str, list[str | None]] = {}
    for name, member in parsed.items():
        value = member[0] if isinstance(member, tuple) else member
        if value is not False:
            found[name] = [_argument(value)]
    return found or None


def _argument(value: object) -> str | None:
    """A member's value as an argument; a string is never a number, whatever stands in it."""
    if value is True:
        return None
    if isinstance(value, str):
        return "" if _DIGITS.fullmatch(value) else value
    return str(value) if isinstance(value, int) else ""


def seconds(values: Sequence[str | None] | None) -> float | None:
    """What a directive of seconds asks for; None when it is not there.

    :param values: each time it was named. Several that differ, and what is no number, mean 0 (RFC 9111 section 4.2.1).
    """
    if values is None:
        return None
    value = values[0]
    if value is None or _DIGITS.fullmatch(value) is None or any(other != value for other in values):
        return 0.0
    return float(min(int(value[:12]), MOST_SECONDS))


def unqualified(values: Sequence[str | None] | None) -> bool:
    """Whether a directive that may name fields was said of the whole answer (RFC 9111 section 5.2.2.4).

    :param values: each time it was named; None for never.
    """
    return values is not None and not all(values)


def age(values: Sequence[str]) -> float:
    """What `Age` says: the first of several; 0 when that is no number (RFC 9111 section 5.1).

    :param values: of each field.
    """
    first = values[0].partition(",")[0].strip(" \t") if values else ""
    return float(min(int(first[:12]), MOST_SECONDS)) if _DIGITS.fullmatch(first) else 0.0


@lru_cache(maxsize=256)
def http_date(value: str) -> float | None:
    """A date in seconds since the epoch; None for anything that is none, another zone's too.

    A year of two digits that would be more than 50 years ahead is of the century before (RFC 9110 section 5.6.7).
    """
    for form in _DATES:
        if (found := form.fullmatch(value)) is not None:
            break
    else:
        return None
    day, month, year = int(found["day"]), _MONTHS.index(found["month"]) + 1, int(found["year"])
    if len(found["year"]) == 2:
        this_year = gmtime().tm_year
        year += this_year - this_year % 100
        if year > this_year + 50:
            year -= 100
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    longest = 29 if month == 2 and leap else (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1]
    if not 1 <= day <= longest or year < 1:
        return None
    return float(timegm((year, month, day, int(found["hour"]), int(found["minute"]), int(found["second"]))))


def entity_tags(values: Iterable[str]) -> list[str] | None:
    """The tags of a list, or `["*"]`; None when it is malformed (RFC 9110 section 13.1.2).

    :param values: of each field.
    """
    value = ", ".join(values).strip(" \t")
    if value == "*":
        return ["*"]
    found: list[str] = []
    at = 0
    while at < len(value) and (tag := _TAG.match(value, at)) is not None:
        found.append(tag[1])
        at = tag.end()
    return found if found and not value[at:].strip(" \t,") else None


def weakly_equal(one: str, other: str) -> bool:
    """RFC 9110 section 8.8.3.2."""
    return one.removeprefix("W/") == other.removeprefix("W/")


def names(values: Iterable[str]) -> list[str]:
    """The names of a list, in lower case, each once and in order (`Vary`, RFC 9110 section 12.5.5).

    :param values: of each field.
    """
    found = (name.strip(" \t").lower() for value in values for name in value.split(","))
    return sorted(dict.fromkeys(filter(None, found)))
