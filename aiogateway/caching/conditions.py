"""Conditions: the client's, judged by a stored answer, and ours, by which a stored answer is validated.

RFC 9110 sections 13 and 14, RFC 9111 section 4.3. Pure.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from aiohttp.hdrs import (
    CONTENT_LENGTH,
    ETAG,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    LAST_MODIFIED,
    RANGE,
    VARY,
)
from multidict import CIMultiDict, CIMultiDictProxy

from aiogateway.caching.entry import Entry
from aiogateway.caching.fields import entity_tags, http_date, weakly_equal
from aiogateway.caching.freshness import Headers
from aiogateway.caching.storing import Asked, entry_of, name_of
from aiogateway.compression import forbids_coding, varying
from aiogateway.proxy.headers import RawFields

# What a 304 may not change in a stored answer (RFC 9111 section 3.2): the stored body is what these are about.
BY_BODY: Final = frozenset({b"content-length", b"content-encoding", b"content-type", b"content-range"})
# Fields about the body that a 304 has no use for (RFC 9110 section 15.4.5).
ABOUT_BODY: Final = frozenset(
    {b"content-encoding", b"content-language", b"content-length", b"content-range", b"content-type"}
)
# Seconds by which a date must be past for it to tell one version of an answer from any other (RFC 9110 8.8.2.2).
STRONG_DATE: Final = 60.0

_RANGE: Final = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.ASCII | re.IGNORECASE)
_DIGITS: Final = 18


def is_not_modified(headers: Headers, entry: Entry) -> bool:
    """Whether the client has what an entry holds (RFC 9110 section 13.2.2, RFC 9111 section 4.3.2).

    Never for an answer that is no success: without the condition it would be given as it is (RFC 9110 section 13.2.1).
    """
    if not 200 <= entry.status < 300:
        return False
    if IF_NONE_MATCH in headers:
        tags = entity_tags(headers.getall(IF_NONE_MATCH)) or []
        return tags == ["*"] or (bool(entry.etag) and any(weakly_equal(tag, entry.etag) for tag in tags))
    if IF_MODIFIED_SINCE not in headers or entry.status != 200:
        return False
    since = http_date(", ".join(headers.getall(IF_MODIFIED_SINCE)))  # of several none counts (section 13.1.3)
    if since is None:
        return False
    modified = http_date(entry.modified)
    return (entry.received if modified is None else modified) <= since


class Part(NamedTuple):
    """A part of a body: the first byte of it, and the first behind it."""

    first: int
    end: int


def part_of(headers: Headers, entry: Entry) -> Part | None:
    """Which part of an entry's body is asked for; None for all of it.

    Several parts at once are answered with all of it, as RFC 9110 section 14.2 allows.

    :return: one with nothing in it when what is asked for lies behind the end.
    """
    found = _RANGE.fullmatch(headers.get(RANGE, ""))
    if found is None or entry.status != 200 or not _is_same(headers, entry):
        return None
    first, last = found.groups()
    if len(first) > _DIGITS or len(last) > _DIGITS:
        return None
    size = entry.size
    if first:
        end = min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return None
        return Part(int(first), end) if int(first) < end else Part(size, size)
    if not last:
        return None
    return Part(max(size - int(last), 0), size) if int(last) else Part(size, size)


def _is_same(headers: Headers, entry: Entry) -> bool:
    """Whether `If-Range` allows a part, which takes a strong comparison (RFC 9110 section 13.1.5)."""
    if IF_RANGE not in headers:
        return True
    wanted = headers[IF_RANGE].strip(" \t")
    if '"' in wanted:
        return wanted == entry.etag and not wanted.startswith("W/")
    modified = http_date(entry.modified)
    return modified is not None and http_date(wanted) == modified and entry.received - modified >= STRONG_DATE


def validators(entry: Entry) -> RawFields:
    """The fields that ask whether an entry is good still (RFC 9111 section 4.3.1)."""
    found = ((IF_NONE_MATCH, entry.etag), (IF_MODIFIED_SINCE, entry.modified))
    return [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in found if value]


def lines_not_modified(lines: bytes) -> list[bytes]:
    """Of a stored answer's lines, those of a 304."""
    return [line for line in lines.split(b"\r\n") if name_of(line) not in ABOUT_BODY]


def renewed(entry: Entry, headers: Headers, lines: bytes, asked: Asked, received: float) -> Entry | None:
    """An entry with what a 304, or an answer to a HEAD, says anew (RFC 9111 sections 3.2, 4.3.4 and 4.3.5).

    :param headers: of that answer.
    :param lines: of that answer, as they would go to a client.
    :return: None when that answer is about something else, or the entry may not be kept any more.
    """
    if not describes(entry, headers):
        return None
    update = [line for line in lines.split(b"\r\n") if name_of(line) not in BY_BODY]
    if entry.encodable and VARY in headers and (line := varying(headers)) is not None:
        update.append(line)
    replaced = frozenset(map(name_of, update))
    kept = [line for line in entry.lines.split(b"\r\n") if name_of(line) not in replaced]
    merged = b"\r\n".join(kept + update)
    fresh = entry_of(
        entry.status,
        headers_of(merged),
        merged,
        asked,
        received,
        size=entry.size,
        encodable=entry.encodable and not forbids_coding(headers),
    )
    return None if fresh is None else fresh.of(entry.id)


def describes(entry: Entry, headers: Headers) -> bool:
    """Whether an answer without a body is about what an entry holds: by a strong tag of its own, only by the same."""
    if ETAG in headers:
        tag = headers[ETAG]
        if not entry.etag or not (weakly_equal(tag, entry.etag) if tag.startswith("W/") else tag == entry.etag):
            return False
    elif LAST_MODIFIED in headers and entry.modified and headers[LAST_MODIFIED] != entry.modified:
        return False
    return True


def has_length(entry: Entry, headers: Headers) -> bool:
    """Whether an answer to a HEAD has the length of what an entry holds, as far as it says one."""
    return headers.get(CONTENT_LENGTH, str(entry.size)) == str(entry.size)


def headers_of(lines: bytes) -> Headers:
    """The fields in a head's lines, by name."""
    found: CIMultiDict[str] = CIMultiDict()
    for line in lines.split(b"\r\n"):
        name, _, value = line.partition(b":")
        found.add(name.decode("latin-1"), value.strip(b" \t").decode("utf-8", "surrogateescape"))
    return CIMultiDictProxy(found)
