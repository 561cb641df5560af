"""What is known of a request, as spans after OpenTelemetry's semantic conventions for HTTP (1.38).

Two of them: SERVER for the whole request, and CLIENT below it for what was asked of the upstream. The upstream was told
the CLIENT span's id (`Record.span_id`), so that what it reports hangs below that one; where no upstream was asked, the
SERVER span has it. Rules: a value that is empty or 0 is left out; nothing of a query, a field or a body is in any.
"""

from __future__ import annotations

import random
from http import HTTPMethod
from typing import Final
from urllib.parse import urlsplit

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from aiogateway import __version__
from aiogateway.errors import CODES, UPSTREAM
from aiogateway.proxy.record import UNMATCHED
from aiogateway.spans.finished import Finished, spans_in

Attributes = dict[str, str | int | float]

OTHER_METHOD: Final = "_OTHER"
METHODS: Final = frozenset(method.value for method in HTTPMethod)
PORTS: Final = {"http": 80, "https": 443}
SCOPE: Final = InstrumentationScope("aiogateway", __version__)
SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
FAILED: Final = Status(StatusCode.ERROR)
FINE: Final = Status(StatusCode.UNSET)


def spans_of(finished: Finished, resource: Resource) -> list[ReadableSpan]:
    """The spans of one request, the SERVER span first."""
    record = finished.record
    has_client = spans_in(record) > 1
    own = SpanContext(
        int(record.trace_id, 16),
        (random.getrandbits(64) or 1) if has_client else int(record.span_id, 16),
        is_remote=False,
        trace_flags=SAMPLED,
    )
    parent = SpanContext(own.trace_id, int(record.parent_id, 16), is_remote=True) if record.parent_id else None
    spans = [_server(finished, own, parent, resource)]
    if has_client:
        spans.append(_client(finished, own, resource))
    return spans


def _server(finished: Finished, own: SpanContext, parent: SpanContext | None, resource: Resource) -> ReadableSpan:
    record = finished.record
    method = _method(finished)
    route = "" if record.route == UNMATCHED else record.route
    # A 4xx is the client's error, not the server's.
    error = (record.code or str(record.status)) if record.failed() else ""
    attributes: Attributes = {
        "http.request.method": method,
        "http.route": route,
        "http.response.status_code": record.status,
        "http.request.body.size": record.bytes_in,
        "http.response.body.size": record.bytes_out,
        "url.scheme": finished.scheme,
        "url.path": finished.path,
        "network.protocol.version": f"{finished.version[0]}.{finished.version[1]}",
        "network.peer.address": finished.peer,
        "client.address": finished.client,
        "user.id": finished.user,
        "error.type": error,
        "gateway.request_id": finished.request_id,
        "gateway.upstream": record.upstream,
        "gateway.code": record.code,
        "gateway.flags": record.flags(),
        "gateway.ended_by": record.ended_by(),
        "gateway.auth.duration": record.auth,
        "gateway.limit.duration": record.limit,
        "gateway.receiving.duration": record.receiving,
    }
    return ReadableSpan(
        f"{_named(method)} {route}" if route else _named(method),
        own,
        parent,
        resource,
        _said(attributes),
        kind=SpanKind.SERVER,
        status=FAILED if error else FINE,
        start_time=_wall(finished, record.started),
        end_time=_wall(finished, record.ended),
        instrumentation_scope=SCOPE,
    )


def _client(finished: Finished, server: SpanContext, resource: Resource) -> ReadableSpan:
    record = finished.record
    method = _method(finished)
    url = urlsplit(record.destination)
    status, code = record.of_upstream()
    if not record.headed or code not in ("", "upstream_error", "client_closed"):  # the gateway answered for it
        status = 0
    error = code if code in CODES and CODES[code].origin == UPSTREAM else ""
    attributes: Attributes = {
        "http.request.method": method,
        "http.request.resend_count": record.attempts - 1,
        "http.response.status_code": status,
        "url.scheme": url.scheme,
        "server.address": url.hostname or "",
        "server.port": url.port or PORTS.get(url.scheme, 0),
        "error.type": error or (str(status) if status >= 400 else ""),
        "gateway.upstream": record.upstream,
        "gateway.pool.duration": record.pool,
        "gateway.connect.duration": record.connect,
        "gateway.ttfb.duration": record.ttfb(),
    }
    # Where no connection was made there is no moment at which the upstream was asked.
    end = min(max(record.released or record.ended, record.started), record.ended)
    begin = min(max(record.asked or end - record.connect, record.started), end)
    return ReadableSpan(
        f"{_named(method)} {record.upstream}",
        SpanContext(server.trace_id, int(record.span_id, 16), is_remote=False, trace_flags=SAMPLED),
        server,
        resource,
        _said(attributes),
        kind=SpanKind.CLIENT,
        status=FAILED if error or status >= 400 else FINE,
        start_time=_wall(finished, begin),
        end_time=_wall(finished, end),
        instrumentation_scope=SCOPE,
    )


def _method(finished: Finished) -> str:
    """The method as an attribute: one that a client made up is not repeated."""
    return finished.method if finished.method in METHODS else OTHER_METHOD


def _named(method: str) -> str:
    """The method in a span's name."""
    return "HTTP" if method == OTHER_METHOD else method


def _wall(finished: Finished, moment: float) -> int:
    """A moment of the record as nanoseconds of Unix time."""
    return int((moment + finished.offset) * 1e9)


def _said(attributes: Attributes) -> Attributes:
    return {name: value for name, value in attributes.items() if value}
