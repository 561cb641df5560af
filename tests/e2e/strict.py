"""Requests read from bytes by the letter of RFC 9112, by code that shares nothing with the gateway.

What is clearly a request is read the same way by everybody; at the first byte that is not, reading ends. So this says
what a client clearly asked for, and whether what an upstream gets is well-formed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
LINE = re.compile(rb"(" + TOKEN + rb") +(\S+) +HTTP/1\.([01])")
STRICT_LINE = re.compile(rb"(" + TOKEN + rb") (/[!-~]*) HTTP/1\.([01])")
FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*((?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?)[ \t]*")
ABSOLUTE = re.compile(rb"(?i)https?://[^/?#]+")
# Extensions say nothing about where a chunk ends, whatever is in them.
CHUNK = re.compile(rb"([0-9A-Fa-f]+)(?:;[\t -~\x80-\xff]*)?")


class Malformed(Exception):
    """What comes next is no request."""


class Incomplete(Exception):
    """What comes next may become a request."""


@dataclass(frozen=True)
class Asked:
    """One request: its target in origin form, its fields by name in lower case, its body without its framing."""

    method: bytes
    target: bytes
    fields: frozenset[tuple[bytes, bytes]]
    body: bytes
    last: bool


def read(data: bytes, *, strict: bool = False) -> tuple[list[Asked], bytes, bool]:
    """Read requests.

    :param strict: whether to allow nothing that a sender must not do, where others a recipient may be lenient.
    :returns: the requests, the bytes behind them, and whether these can still become another.
    """
    found: list[Asked] = []
    while data:
        try:
            asked, data = _one(data if strict else data.lstrip(b"\r\n"), strict)
        except Malformed:
            return found, data, False
        except Incomplete:
            return found, data, True
        found.append(asked)
        if asked.last:
            return found, data, not data
    return found, data, True


def _one(data: bytes, strict: bool) -> tuple[Asked, bytes]:
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        raise Incomplete
    first, *lines = head.split(b"\r\n")
    line = (STRICT_LINE if strict else LINE).fullmatch(first)
    if line is None:
        raise Malformed
    fields = [_field(each) for each in lines]
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) != 1 and (hosts or line[3] == b"1"):
        raise Malformed
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    lengths = [value for name, value in fields if name == b"content-length"]
    if codings:
        if lengths or len(codings) > 1 or codings[0].lower() != b"chunked" or line[3] == b"0":
            raise Malformed
        body, rest = _chunks(rest)
    elif lengths:
        if len(lengths) > 1 or not re.fullmatch(rb"[0-9]+", lengths[0]):
            raise Malformed
        body, rest = _exactly(rest, int(lengths[0][-18:]) if len(lengths[0].lstrip(b"0")) <= 18 else 1 << 62)
    else:
        body = b""
    options = b",".join(value for name, value in fields if name == b"connection").lower().replace(b" ", b"").split(b",")
    last = b"close" in options or (line[3] == b"0" and b"keep-alive" not in options)
    target = ABSOLUTE.sub(b"", line[2], count=1) if ABSOLUTE.match(line[2]) else line[2]
    target = target if target.startswith(b"/") or target == b"*" else b"/" + target
    return Asked(line[1], target, frozenset(fields), body, last), rest


def _field(line: bytes) -> tuple[bytes, bytes]:
    found = FIELD.fullmatch(line)
    if found is None:
        raise Malformed
    return found[1].lower(), found[2]


def _exactly(data: bytes, length: int) -> tuple[bytes, bytes]:
    if len(data) < length:
        raise Incomplete
    return data[:length], data[length:]


def _line(data: bytes) -> tuple[bytes, bytes]:
    line, end, rest = data.partition(b"\r\n")
    if not end:
        raise Incomplete
    return line, rest


def _chunks(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, data = _line(data)
        chunk = CHUNK.fullmatch(line)
        if chunk is None:
            raise Malformed
        if not (size := int(chunk[1], 16)):
            break
        part, data = _exactly(data, size)
        body += part
        if not data.startswith(b"\r\n"):
            raise Malformed if len(data) > 1 else Incomplete
        data = data[2:]
    while True:
        line, data = _line(data)
        if not line:
            return body, data
        _field(line)
