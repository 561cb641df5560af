"""What is known of one request once it is over: what metrics count, the access log tells and a trace shows.

Rules: whoever finds something out writes it down here, and nobody acts on it. Moments are seconds of
`time.monotonic`; a moment or a span of 0 never came to be.
"""

from __future__ import annotations

from typing import Final

UNMATCHED: Final = "unmatched"
CLIENT: Final = "client"
GATEWAY: Final = "gateway"
UPSTREAM: Final = "upstream"
CLIENT_CLOSED: Final = "client_closed"

# Envoy's letters for how a request ended (its access log's %RESPONSE_FLAGS%), by our codes.
FLAGS: Final[dict[str, str]] = {
    "bad_request": "DPE",
    "client_closed": "DC",
    "draining": "OM",
    "forbidden": "UAEX",
    "header_too_large": "DPE",
    "http_version_not_supported": "DPE",
    "overloaded": "OM",
    "rate_limited": "RL",
    "request_timeout": "SI",
    "route_not_found": "NR",
    "unauthenticated": "UAEX",
    "upstream_bad_response": "UC",
    "upstream_circuit_open": "UO",
    "upstream_pool_exhausted": "UO",
    "upstream_timeout": "UT",
    "upstream_tls": "UF",
    "upstream_unreachable": "UF",
    "uri_too_long": "DPE",
}
_OF_UPSTREAM: Final = ("asked", "attempts", "connect", "destination", "headed", "pool", "released", "upstream")
RETRIES_USED_UP: Final = "URX"
# Codes of what an upstream did itself; its silence is ended by the gateway.
BY_UPSTREAM: Final = frozenset({"upstream_bad_response", "upstream_error", "upstream_tls", "upstream_unreachable"})


def is_failure(status: int, code: str) -> bool:
    """Whether the upstream failed, or the gateway did: neither refusals nor clients that left."""
    return status >= 500 or code in ("upstream_bad_response", "upstream_timeout")


class Record:
    """:param started: when the request's head was parsed.

    :ivar ended: when its answer was through, or given up.
    :ivar route: the route's pattern.
    :ivar status: of the answer whose head was written; of the one that was meant, if the client left before; 0: none.
    :ivar code: a key of `errors.CODES`: what kept the request from its upstream's answer, or broke that off later.
    :ivar upstream: the upstream's name; empty when nothing was to go there.
    :ivar destination: the destination tried last, as it is shown.
    :ivar attempts: how often a destination was tried.
    :ivar answered: status and code of what came of it, where the cache decides what the client gets.
    :ivar awaiting: whether the client left while the upstream was asked for it under another's name.
    :ivar auth: seconds spent on the token.
    :ivar limit: seconds spent on rate limits.
    :ivar receiving: seconds spent waiting for the client's body.
    :ivar sending: seconds spent waiting for the client to read.
    :ivar pool: seconds spent waiting for a place in a pool.
    :ivar connect: seconds spent connecting.
    :ivar asked: when the last attempt had its connection.
    :ivar headed: when the head of its answer was there.
    :ivar released: when its answer was through, or given up.
    :ivar bytes_in: of the request's body, or of the frames that a WebSocket's client sent.
    :ivar bytes_out: of the answer's body, or of the frames that its service sent.
    :ivar cache: what the cache did for it, as metrics call that; empty where there is none.
    :ivar trace_id: 32 hexadecimal digits.
    :ivar span_id: 16, of the gateway's own span.
    :ivar parent_id: 16, of the client's span; empty when the trace begins here.
    :ivar sampled: whether the trace is to be recorded.
    """

    __slots__ = (
        "answered",
        "asked",
        "attempts",
        "auth",
        "awaiting",
        "bytes_in",
        "bytes_out",
        "cache",
        "code",
        "connect",
        "destination",
        "ended",
        "headed",
        "limit",
        "parent_id",
        "pool",
        "receiving",
        "released",
        "route",
        "sampled",
        "sending",
        "span_id",
        "started",
        "status",
        "trace_id",
        "upstream",
    )

    def __init__(self, started: float) -> None:
        self.started = started
        self.ended = 0.0
        self.route = UNMATCHED
        self.status = 0
        self.code = ""
        self.upstream = ""
        self.destination = ""
        self.attempts = 0
        self.answered: tuple[int, str] | None = None
        self.awaiting = False
        self.auth = 0.0
        self.limit = 0.0
        self.receiving = 0.0
        self.sending = 0.0
        self.pool = 0.0
        self.connect = 0.0
        self.asked = 0.0
        self.headed = 0.0
        self.released = 0.0
        self.bytes_in = 0
        self.bytes_out = 0
        self.cache = ""
        self.trace_id = ""
        self.span_id = ""
        self.parent_id = ""
        self.sampled = False

    def take_upstream(self, other: Record) -> None:
        """Take over what is known of an upstream that was asked for this request under another's name."""
        for name in _OF_UPSTREAM:
            setattr(self, name, getattr(other, name))
        self.answered = other.status, other.code

    def of_upstream(self) -> tuple[int, str]:
        """The status and the code that count for the upstream, whatever the client got."""
        if self.answered is None:
            return self.status, self.code
        status, code = self.answered
        return status, code or self.code

    def ended_by(self) -> str:
        """Who decided that the request is over, and how: `client`, `gateway` or `upstream`."""
        if not self.code:
            return UPSTREAM if self.attempts else GATEWAY
        if self.code == CLIENT_CLOSED:
            return CLIENT
        return UPSTREAM if self.attempts and self.code in BY_UPSTREAM else GATEWAY

    def status_label(self) -> int:
        """The status, or the one for a client that left before there was any (contract, `client_closed`)."""
        return self.status or 499

    def failed(self) -> bool:
        """As `is_failure`."""
        return is_failure(self.status, self.code)

    def overhead(self) -> float:
        """Seconds that were the gateway's own: all less the upstream's and the client's. Only for what was answered."""
        before = self.asked - self.started - self.receiving
        # A body that was relayed kept the upstream and the client busy to its end.
        after = self.ended - self.headed - self.sending if self.released == self.headed else 0.0
        return max(before + after, 0.0)

    def total(self) -> float:
        """Seconds from the request's head to the end of its answer."""
        return self.ended - self.started

    def ttfb(self) -> float:
        """Seconds from the last attempt's beginning to the head of its answer."""
        return self.headed - self.asked if self.headed else 0.0

    def upstream_time(self) -> float:
        """Seconds from the last attempt's beginning to its end."""
        return self.released - self.asked if self.released else 0.0

    def flags(self) -> str:
        """How the request ended, in Envoy's letters, with commas; empty when nothing is to be said."""
        if not self.code:
            return ""
        flag = FLAGS.get(self.code, "")
        if self.attempts > 1 and self.code in BY_UPSTREAM:
            return f"{flag},{RETRIES_USED_UP}" if flag else RETRIES_USED_UP
        return flag
