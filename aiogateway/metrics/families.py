"""Every family of metrics: its name, kind, labels and meaning.

Rules: labels have few values, whatever clients send: a route's pattern and never a path, a method that is registered, a
word from a table. A histogram has at most ten buckets, the one without a bound included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"

KIB: Final = 1024
MIB: Final = 1024 * KIB
# Upper bounds in seconds, or in bytes.
DURATIONS: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
WAITS: Final = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
OVERHEADS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.025, 0.1, 1.0)
SIZES: Final = (0.0, 256.0, 1.0 * KIB, 4.0 * KIB, 16.0 * KIB, 64.0 * KIB, 1.0 * MIB, 16.0 * MIB, 256.0 * MIB)


@dataclass(frozen=True, slots=True)
class Family:
    """:ivar bounds: of a histogram's buckets, ascending.
    :ivar of_workers: what several workers' gauges come to: `sum`, `min` or `max`.
    """

    kind: str
    text: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    of_workers: str = "sum"


SERVER_DURATION: Final = "http_server_request_duration_seconds"
SERVER_ACTIVE: Final = "http_server_active_requests"
REQUEST_SIZE: Final = "http_server_request_body_size_bytes"
RESPONSE_SIZE: Final = "http_server_response_body_size_bytes"
CLIENT_DURATION: Final = "http_client_request_duration_seconds"
CONNECTIONS: Final = "http_client_open_connections"
QUEUE: Final = "http_client_request_time_in_queue_seconds"
PENDING: Final = "gateway_upstream_requests_pending"
OVERFLOW: Final = "gateway_upstream_pending_overflow"
CONNECT_FAILURES: Final = "gateway_upstream_connect_failures"
RETRIES: Final = "gateway_upstream_retries"
RETRY_BUDGET: Final = "gateway_retry_budget_exhausted"
BREAKER: Final = "gateway_circuit_breaker_state"
UPSTREAM_UP: Final = "gateway_upstream_up"
POOL_LIMIT: Final = "gateway_upstream_pool_limit"
STREAMS: Final = "gateway_upstream_streams"
OVERHEAD: Final = "gateway_overhead_seconds"
ABORTS: Final = "gateway_client_aborts"
RATE_LIMIT: Final = "gateway_ratelimit_decisions"
AUTH: Final = "gateway_auth_decisions"
RECAPTCHA: Final = "gateway_recaptcha"
CACHE_REQUESTS: Final = "gateway_cache_requests"
ENCODERS_FULL: Final = "gateway_compression_skipped"
CACHE_STORE_FAULTS: Final = "gateway_cache_store_faults"
WEBSOCKETS: Final = "gateway_websocket_active"
WEBSOCKET_CLOSES: Final = "gateway_websocket_closes"
RELOAD: Final = "gateway_config_last_reload_success"
BUILD: Final = "gateway_build_info"
LAG: Final = "gateway_event_loop_lag_seconds"
LINES_LOST: Final = "gateway_log_lines_lost"
SPANS_LOST: Final = "gateway_spans_lost"
CLIENTS: Final = "gateway_client_connections"
REFUSED: Final = "gateway_overload_refused"
WORKERS: Final = "gateway_workers"

# A counter's name is shown with `_total` behind it.
FAMILIES: Final[dict[str, Family]] = {
    SERVER_DURATION: Family(
        HISTOGRAM,
        "From a request's head to the end of its answer.",
        ("http_request_method", "http_route", "http_response_status_code", "error_type"),
        DURATIONS,
    ),
    SERVER_ACTIVE: Family(GAUGE, "Requests being answered."),
    REQUEST_SIZE: Family(HISTOGRAM, "Bytes of requests' bodies.", (), SIZES),
    RESPONSE_SIZE: Family(HISTOGRAM, "Bytes of answers' bodies.", (), SIZES),
    CLIENT_DURATION: Family(
        HISTOGRAM,
        "From having a connection to the end of the upstream's answer.",
        ("upstream", "http_response_status_code", "error_type"),
        DURATIONS,
    ),
    CONNECTIONS: Family(GAUGE, "Connections to upstreams.", ("upstream", "http_connection_state")),
    QUEUE: Family(HISTOGRAM, "Waits for a place in a pool.", ("upstream",), WAITS),
    PENDING: Family(GAUGE, "Requests that wait for a place in a pool.", ("upstream",)),
    OVERFLOW: Family(COUNTER, "Requests refused because too many waited.", ("upstream",)),
    CONNECT_FAILURES: Family(COUNTER, "Connections that could not be made.", ("upstream", "reason")),
    RETRIES: Family(COUNTER, "Requests sent again.", ("upstream", "reason", "outcome")),
    UPSTREAM_UP: Family(
        GAUGE,
        "0 when it can't be connected to, its probes fail, it is ejected or its circuit isn't closed; else 1.",
        ("upstream", "destination"),
        (),
        "min",
    ),
    RETRY_BUDGET: Family(COUNTER, "Requests not sent again because too many were.", ("upstream",)),
    BREAKER: Family(
        GAUGE, "A circuit: 0 closed, 1 half-open, 2 open; of workers the worst.", ("upstream", "destination"), (), "max"
    ),
    POOL_LIMIT: Family(GAUGE, "Requests at once that the pools allow.", ("upstream",)),
    STREAMS: Family(GAUGE, "Established event streams and sockets.", ("upstream",)),
    OVERHEAD: Family(HISTOGRAM, "The request's time less the upstream's and the client's.", (), OVERHEADS),
    ABORTS: Family(COUNTER, "Requests whose client left.", ("phase",)),
    RATE_LIMIT: Family(COUNTER, "Checks of rate limits, by who decided.", ("policy", "decision", "backend")),
    AUTH: Family(COUNTER, "Requests whose route wants to know who asks.", ("decision", "reason")),
    RECAPTCHA: Family(COUNTER, "reCAPTCHA tokens, by what became of them.", ("outcome",)),
    ENCODERS_FULL: Family(COUNTER, "Answers left plain because as many as may be were being encoded."),
    CACHE_STORE_FAULTS: Family(COUNTER, "What the cache's Redis was asked for, and didn't do in time or at all."),
    CACHE_REQUESTS: Family(COUNTER, "Requests of routes with a cache, by what that did for them.", ("result",)),
    WEBSOCKETS: Family(GAUGE, "Open WebSockets."),
    WEBSOCKET_CLOSES: Family(COUNTER, "WebSockets that ended, by whose doing.", ("reason",)),
    RELOAD: Family(GAUGE, "1 when the configuration was read without a fault.", (), (), "min"),
    BUILD: Family(GAUGE, "What runs here.", ("version", "python", "aiohttp"), (), "max"),
    LAG: Family(GAUGE, "The longest the event loop was late in the last 10 seconds.", (), (), "max"),
    LINES_LOST: Family(COUNTER, "Log lines dropped because nobody read them."),
    SPANS_LOST: Family(COUNTER, "Spans dropped because the collector didn't take them."),
    REFUSED: Family(COUNTER, "Requests and connections refused because the gateway has too much to do.", ("reason",)),
    CLIENTS: Family(GAUGE, "Connections of clients."),
    WORKERS: Family(GAUGE, "Worker processes that serve."),
}
