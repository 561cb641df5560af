"""What becomes of a request's record once the request is over: figures, recent history, a log line, a span.

Rules: every request ends here exactly once, however it ended; this adds to plain numbers and hands lines on, and waits
for nothing. Labels that a client could make up are folded.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from http import HTTPMethod, HTTPStatus
from typing import Any, Final, Protocol

from aiogateway.errors import title_of
from aiogateway.history import INTERVAL, History
from aiogateway.metrics import Metrics, families
from aiogateway.proxy.record import CLIENT_CLOSED, Record, is_failure
from aiogateway.proxy.request import Request

Observe = Callable[[float], None]

OTHER_METHOD: Final = "_OTHER"
METHODS: Final = {method.value: method.value for method in HTTPMethod}
STATUSES: Final = {status: str(status) for status in (*map(int, HTTPStatus), 499)}
# The last requests that failed, for who looks at the dashboard.
FAILURES: Final = 100


class Log(Protocol):
    """What writes a line about each request."""

    def log(self, request: Request) -> None: ...


class Spans(Protocol):
    """What sends a request's spans away."""

    def finished(self, request: Request, now_wall: float) -> None: ...


def status_label(status: int) -> str:
    """A status as a label; what an upstream made up counts for its class."""
    return STATUSES.get(status) or f"{status // 100}xx"


def error_type(status: int, code: str) -> str:
    """The code of what went wrong, or the status of an upstream's own error; empty for neither."""
    return code or (status_label(status) if status >= 500 else "")


def phase_of(record: Record) -> str:
    """How far a request had come when its client left."""
    if record.status:
        return "response"
    return "waiting" if record.asked or record.awaiting else "request"


class Telemetry:
    """:param upstreams: their names.
    :param log: None when requests are not logged.
    :param spans: None when traces go nowhere.
    :ivar active: requests being answered.
    :ivar failures: the last that failed, newest last.
    """

    def __init__(self, metrics: Metrics, upstreams: Iterable[str], log: Log | None, spans: Spans | None) -> None:
        self.active = 0
        self.failures: deque[dict[str, Any]] = deque(maxlen=FAILURES)
        self.histories: dict[str, History] = {}
        self._metrics = metrics
        self._log = log
        self._spans = spans
        self._served: dict[tuple[str, str, int, str], Observe] = {}
        self._asked: dict[tuple[str, int, str], Observe] = {}
        self._queues: dict[str, Observe] = {}
        self._request_sizes = metrics.tally(families.REQUEST_SIZE).observe
        self._response_sizes = metrics.tally(families.RESPONSE_SIZE).observe
        self._overheads = metrics.tally(families.OVERHEAD).observe
        self.know(upstreams)

    def know(self, upstreams: Iterable[str]) -> None:
        """Keep figures of these upstreams too; of others, requests may still be on their way."""
        now = int(time.time() // INTERVAL)
        for name in upstreams:
            if name not in self.histories:
                self.histories[name] = History(now)
                self._queues[name] = self._metrics.tally(families.QUEUE, name).observe

    def finished(self, request: Request) -> None:
        """Take note of a request that is over."""
        record = request.record
        record.ended = time.monotonic()
        record.bytes_in = record.bytes_in or request.content.total_bytes  # those of a WebSocket are no body's
        method, code, failed = METHODS.get(request.method, OTHER_METHOD), record.code, record.failed()
        key = method, record.route, record.status_label(), code
        observe = self._served.get(key) or self._series(key, record)
        observe(record.ended - record.started)
        self._request_sizes(record.bytes_in)
        self._response_sizes(record.bytes_out)
        if record.attempts:
            self._count_upstream(record)
        if code == CLIENT_CLOSED:
            self._metrics.count(families.ABORTS, phase_of(record)).events += 1
        elif failed:
            self.failures.append(self._failure(request, method))
        if self._log is not None:
            self._log.log(request)
        if self._spans is not None and record.sampled:
            self._spans.finished(request, time.time())

    def asked_for_nobody(self, record: Record) -> None:
        """Take note of what an upstream was asked when no client waits for it."""
        if record.attempts:
            record.ended = time.monotonic()
            self._count_upstream(record)

    def advance(self, now: float) -> None:
        """:param now: wall time in seconds."""
        number = int(now // INTERVAL)
        for history in self.histories.values():
            history.advance(number)

    def _count_upstream(self, record: Record) -> None:
        name, (status, code) = record.upstream, record.of_upstream()
        self._queues[name](record.pool)
        if record.asked:
            if not record.released:
                record.released = record.ended
            key = name, status, code
            observe = self._asked.get(key)
            if observe is None:
                label = status_label(status) if record.headed and status else ""
                observe = self._metrics.tally(families.CLIENT_DURATION, name, label, error_type(status, code)).observe
                self._asked[key] = observe
            observe(record.released - record.asked)
            if record.headed:
                self._overheads(record.overhead())
        self.histories[name].now.add(is_failure(status, code), record.ttfb(), record.pool)

    def _series(self, key: tuple[str, str, int, str], record: Record) -> Observe:
        """The series of a method, route, status and code."""
        method, route, status, code = key
        error = error_type(record.status, code)
        tally = self._metrics.tally(families.SERVER_DURATION, method, route, status_label(status), error)
        self._served[key] = tally.observe
        return tally.observe

    def _failure(self, request: Request, method: str) -> dict[str, Any]:
        record = request.record
        return {
            "time": time.time(),
            "request_id": request.id,
            "trace_id": record.trace_id,
            "method": method,
            "route": record.route,
            "status": record.status_label(),
            "title": title_of(record.status_label()),
            "code": record.code or None,
            "flags": record.flags(),
            "upstream": record.upstream or None,
            "destination": record.destination or None,
            "duration": record.total(),
            "ended_by": record.ended_by(),
        }
