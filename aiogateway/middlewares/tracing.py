"""The trace that a request belongs to (W3C Trace Context): continued where the client names one, begun otherwise.

Rules: what is malformed is no trace, and its `tracestate` goes with it; what goes on is of version 00. The gateway is
a span of its own, so that what an upstream reports hangs below it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable
from typing import Final

from multidict import istr

from aiogateway.middlewares.chain import Handler
from aiogateway.proxy.record import Record
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response

TRACEPARENT: Final = istr("traceparent")
TRACESTATE: Final = istr("tracestate")
# Section 3.2.2: lower case, not all zeros; version ff is none, and later ones may say more behind a hyphen.
_FORM: Final = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MEMBER: Final = re.compile(
    r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
# Section 3.3.1: members of a state; and characters of it that are passed on.
MAX_MEMBERS: Final = 32
MAX_STATE: Final = 4096
SAMPLED: Final = 1
# Of a trace's name with a span's behind it, drawn at once; neither may be all zeros.
_BITS: Final = 128 + 64
_NOT_ZERO: Final = 1 << 64 | 1


def state_of(values: list[str]) -> str:
    """A well-formed `tracestate` in one field; empty when it is none (section 3.3)."""
    members = [member.strip(" \t") for value in values for member in value.split(",")]
    members = [member for member in members if member]
    names = {member.partition("=")[0] for member in members}
    state = ",".join(members)
    fits = len(members) <= MAX_MEMBERS and len(state) <= MAX_STATE and len(names) == len(members)
    return state if fits and all(map(_MEMBER.fullmatch, members)) else ""


def tracing(inner: Handler, *, sample: bool) -> Handler:
    """Say on the record and to the upstream which trace a request belongs to.

    :param sample: whether a trace that begins here is recorded.
    """
    bits = random.Random().getrandbits  # made after the fork: workers must not draw the same

    def resume(request: Request, record: Record) -> str | None:
        """Take the client's trace on; its `tracestate`, or None when there is no trace to take on."""
        given = request.headers.getall(TRACEPARENT)
        found = _FORM.fullmatch(given[0]) if len(given) == 1 else None
        if found is None or (found[1] == "00" and found[5] is not None):
            return None
        record.trace_id, record.parent_id = found[2], found[3]
        record.sampled = bool(int(found[4], 16) & SAMPLED)
        return state_of(request.headers.getall(TRACESTATE, []))

    def answer(request: Request) -> Awaitable[Response]:
        record = request.record
        drawn = (bits(_BITS) | _NOT_ZERO).to_bytes(_BITS // 8, "big").hex()
        record.span_id = span_id = drawn[32:]
        if not request.head.traced or (state := resume(request, record)) is None:
            record.trace_id, record.sampled, state = drawn[:32], sample, ""
        line = f"traceparent: 00-{record.trace_id}-{span_id}-{'01' if record.sampled else '00'}"
        request.trace_lines = (f"{line}\r\ntracestate: {state}" if state else line).encode()
        return inner(request)

    return answer
