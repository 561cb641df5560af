"""Every answer the gateway gives in its own name: one table, and the exception that carries a row of it.

Rules: a code is a promise to clients and dashboards, so a row is only ever added; `detail` is written for the
person who reads it, and holds nothing of the request; whatever a client may repeat after a 503
tells it when.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import orjson

MEDIA_TYPE: Final = "application/problem+json"

CLIENT: Final = "client"
GATEWAY: Final = "gateway"
UPSTREAM: Final = "upstream"


@dataclass(frozen=True, slots=True)
class Code:
    """One row: what a code means to the client.

    :param status: the HTTP status it is answered with.
    :param title: the status' reason phrase, as RFC 9457 section 4.2.1 wants it with `about:blank`.
    :param origin: who failed: `client`, `gateway` or `upstream`.
    :param retryable: whether the same request may succeed later, unchanged.
    :param detail: the sentence used when the one who raises has nothing more exact to say.
    :param retry_after: seconds for `Retry-After`; None where the client is not to repeat, or the raiser knows better.
    """

    status: int
    title: str
    origin: str
    retryable: bool
    detail: str
    retry_after: int | None = None


# RFC 9110 renamed three phrases after Python 3.11 was cut; the table must read the same under every version.
_PHRASES: Final = {413: "Content Too Large", 414: "URI Too Long", 499: "Client Closed Request"}
_CLASSES: Final = {4: "Client Error", 5: "Server Error"}


def title_of(status: int) -> str:
    """The reason phrase of a status; an unregistered one gets that of its class (RFC 9110 section 15)."""
    if status in _PHRASES:
        return _PHRASES[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return _CLASSES.get(status // 100, "Unknown")


def _code(status: int, origin: str, detail: str, *, retryable: bool = False, retry_after: int | None = None) -> Code:
    return Code(status, title_of(status), origin, retryable, detail, retry_after)


CODES: Final[dict[str, Code]] = {
    "upstream_error": _code(502, UPSTREAM, "the service answered with an error"),
    "bad_request": _code(400, CLIENT, "the request is malformed"),
    "recaptcha_failed": _code(400, CLIENT, "Invalid reCAPTCHA"),
    "unauthenticated": _code(401, CLIENT, "a valid bearer token is required"),
    "forbidden": _code(403, CLIENT, "the token does not allow this"),
    "route_not_found": _code(404, CLIENT, "no such path"),
    "method_not_allowed": _code(405, CLIENT, "this path does not take that method"),
    "request_timeout": _code(408, CLIENT, "the request did not arrive in time", retryable=True),
    "body_too_large": _code(413, CLIENT, "the request body is larger than this path takes"),
    "uri_too_long": _code(414, CLIENT, "the request target is too long"),
    "unsupported_form": _code(415, CLIENT, "the body is not a form this path can read"),
    "expectation_failed": _code(417, CLIENT, "the only expectation that can be met is 100-continue"),
    "upgrade_required": _code(426, CLIENT, "this WebSocket version is not supported"),
    "rate_limited": _code(429, CLIENT, "too many requests, try again later", retryable=True),
    "header_too_large": _code(431, CLIENT, "the request header fields are too large"),
    "client_closed": _code(499, CLIENT, "the client closed the connection"),
    "internal": _code(500, GATEWAY, "the gateway failed to handle this request"),
    "not_implemented": _code(501, GATEWAY, "the gateway does not implement this"),
    "upstream_bad_response": _code(502, UPSTREAM, "the service gave no valid answer", retryable=True),
    "upstream_tls": _code(502, UPSTREAM, "no secure connection to the service could be made"),
    "upstream_unreachable": _code(503, UPSTREAM, "the service can't be reached", retryable=True, retry_after=1),
    "upstream_pool_exhausted": _code(
        503, UPSTREAM, "every connection to the service is in use", retryable=True, retry_after=1
    ),
    "upstream_circuit_open": _code(503, UPSTREAM, "the service is failing and rests", retryable=True, retry_after=5),
    "overloaded": _code(503, GATEWAY, "the gateway is overloaded, try again shortly", retryable=True, retry_after=1),
    "draining": _code(503, GATEWAY, "the gateway is shutting down, try again", retryable=True, retry_after=1),
    # Nothing a client does cures a missing key, so it is not told to repeat.
    "recaptcha_unconfigured": _code(503, GATEWAY, "reCAPTCHA is not configured on this gateway"),
    "recaptcha_unavailable": _code(
        503, GATEWAY, "the reCAPTCHA verifier can't be reached", retryable=True, retry_after=1
    ),
    "auth_unavailable": _code(503, GATEWAY, "tokens can't be verified just now", retryable=True, retry_after=1),
    "upstream_timeout": _code(504, UPSTREAM, "the service did not answer in time", retryable=True),
    "not_in_cache": _code(504, GATEWAY, "no stored answer, and the request allows no other"),
    "http_version_not_supported": _code(505, CLIENT, "only HTTP/1.0 and HTTP/1.1 are spoken here"),
    "loop_detected": _code(508, GATEWAY, "the request passed through this gateway before"),
}


class Problem(Exception):
    """An answer of the gateway's own (contract, "Answers of the gateway's own"; RFC 9457).

    :param code: a key of `CODES`.
    :param detail: a sentence for the reader; left out, the code's own.
    :param status: another status than the code's: a backend's own error (`upstream_error`) keeps the backend's.
    :param headers: response fields beside `Content-Type`, such as `Allow`. `Retry-After` is added where the code has
        one and the caller gave none.
    :raises KeyError: the code is not in the table.
    """

    __slots__ = ("code", "detail", "headers", "status")

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        status: int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        row = CODES[code]
        self.code = code
        self.status = row.status if status is None else status
        self.detail = row.detail if detail is None else detail
        if row.retry_after is not None and not any(name.lower() == "retry-after" for name, _ in headers):
            headers = (*headers, ("Retry-After", str(row.retry_after)))
        self.headers = headers
        super().__init__(code, self.detail)

    def body(self, request_id: str) -> bytes:
        """The answer's JSON, with the members of the contract in their order.

        :param request_id: what `X-Request-ID` of the same answer says.
        """
        row = CODES[self.code]
        return orjson.dumps(
            {
                "type": "about:blank",
                "title": title_of(self.status),
                "status": self.status,
                "detail": self.detail,
                "code": self.code,
                "origin": row.origin,
                "retryable": row.retryable,
                "request_id": request_id,
            }
        )
