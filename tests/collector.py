"""An OpenTelemetry collector of the tests' own: OTLP over HTTP, on a free port, behaving as it is told."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

PATIENCE = 20.0


@dataclass(frozen=True)
class Arrived:
    """One span as it came; ids in hexadecimal digits, times in Unix nanoseconds."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    start: int
    end: int
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


def _values(pairs: Any) -> dict[str, Any]:
    def value(pair: KeyValue) -> Any:
        return getattr(pair.value, pair.value.WhichOneof("value") or "string_value")

    found = {pair.key: value(pair) for pair in pairs}
    assert len(found) == len(pairs), "an attribute came twice"
    return found


def decoded(body: bytes) -> list[Arrived]:
    """The spans of an export request."""
    return [
        Arrived(
            span.name,
            Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            span.status.code == Status.STATUS_CODE_ERROR,
            _values(span.attributes),
            _values(of_one.resource.attributes),
        )
        for of_one in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in of_one.scope_spans
        for span in scope.spans
    ]


class Handler(BaseHTTPRequestHandler):
    """One connection of an exporter."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        """Take spans."""
        self.body = self.rfile.read(int(self.headers["Content-Length"]))
        collector = self.server.collector
        collector.bodies.append(self.body)
        collector.heads.append(f"{self.requestline}\n{self.headers}")
        with contextlib.suppress(ConnectionError):
            collector.behaviour(self)

    def answer(self, status: int, *fields: tuple[str, str], length: int = 0) -> None:
        """A whole answer, or the head of one with a body of `length` bytes."""
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the collector's end, with which this connection ends too; whether it came."""
        self.close_connection = True
        return self.server.collector.over.wait(seconds)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


Behaviour = Callable[[Handler], None]


def takes(handler: Handler) -> None:
    """Take what came, and say so."""
    handler.server.collector.spans.extend(decoded(handler.body))
    message = ExportTraceServiceResponse().SerializeToString()
    handler.answer(200, ("Content-Type", "application/x-protobuf"), length=len(message))
    handler.wfile.write(message)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    collector: Collector


class Collector:
    """Use it as a context manager, or close it.

    `behaviour` is what it does with a request whose body is in. `spans` are those it took, `bodies` and `heads` all
    that came, `over` is set at its end.
    """

    def __init__(self, behaviour: Behaviour = takes) -> None:
        self.behaviour = behaviour
        self.spans: list[Arrived] = []
        self.bodies: list[bytes] = []
        self.heads: list[str] = []
        self.over = threading.Event()
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.collector = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, and let go of who hangs."""
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)
