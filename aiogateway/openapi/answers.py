"""What a route may be answered: the service's own answers, and the gateway's, by status.

Rules: every code of `errors.CODES` is in one of the tables here, or a condition decides about it (`codes_of`). A status
that a service may answer too names `upstream_error` beside the gateway's codes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import orjson

from aiogateway.errors import CODES, MEDIA_TYPE, Problem, title_of
from aiogateway.routes import Route
from aiogateway.settings import Settings
from aiogateway.settings.checks import recaptcha_configured

# For the log: who would be told is gone.
NEVER_ANSWERED: Final = frozenset({"client_closed"})
# Of a path that has no route, or a method that it doesn't take: no operation of the document.
ELSEWHERE: Final = frozenset({"method_not_allowed"})
ALWAYS: Final = frozenset(
    {
        "bad_request",
        "request_timeout",
        "body_too_large",
        "uri_too_long",
        "expectation_failed",
        "header_too_large",
        "internal",
        "not_implemented",
        "upstream_bad_response",
        "upstream_tls",
        "upstream_unreachable",
        "upstream_pool_exhausted",
        "upstream_circuit_open",
        "overloaded",
        "draining",
        "upstream_timeout",
        "http_version_not_supported",
        "loop_detected",
    }
)
# A service's own error, retold: may have any status from 400 on.
RETOLD: Final = "upstream_error"
NAMES: Final = {str(row.status): re.sub("[ -]", "", title_of(row.status).title()) for row in CODES.values()} | {
    "4XX": "ClientError",
    "5XX": "ServerError",
}
# Statuses of more than one code.
SEVERAL: Final = frozenset(
    str(status) for status, count in Counter(row.status for row in CODES.values()).items() if count > 1
)

SCHEMAS: Final = "#/components/schemas"
HEADERS: Final = "#/components/headers"
RESPONSES: Final = "#/components/responses"

EXAMPLE_ID: Final = "0f1e2d3c4b5a69780000002a"
ALL_FIELDS: Final = ("X-Request-ID",)
LIMIT_FIELDS: Final = ("RateLimit", "RateLimit-Policy")
# Status -> fields that its answers may have besides.
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "401": ("WWW-Authenticate",),
    "403": ("WWW-Authenticate",),
    "429": ("Retry-After",),
    "503": ("Retry-After",),
}
# The service's own answers that are none of the gateway's errors.
OWN: Final[Mapping[str, Any]] = {
    "2XX": {"description": "The service's own answer.", "content": {"*/*": {}}},
    "3XX": {"description": "The service's own redirect, or nothing new (304)."},
}
SWITCHING: Final[Mapping[str, Any]] = {"description": "The WebSocket is open (RFC 6455)."}
DEFINED_HEADERS: Final[Mapping[str, Any]] = {
    "X-Request-ID": {
        "description": "The request's name: a well-formed one that the client sent, else one made here.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    },
    "Retry-After": {
        "description": "When to repeat the request: seconds, or a date (RFC 9110 section 10.2.3).",
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": "What is left of each limit (`r`), and in how many seconds there is more (`t`), once the "
        "request was counted (draft-ietf-httpapi-ratelimit-headers-10).",
        "schema": {"type": "string"},
        "example": '"60/minute";r=59;t=1',
    },
    "RateLimit-Policy": {
        "description": "Each limit: requests (`q`) in seconds (`w`).",
        "schema": {"type": "string"},
        "example": '"60/minute";q=60;w=60',
    },
    "Deprecation": {
        "description": "Since when this path is deprecated, in seconds since 1970 (RFC 9745).",
        "schema": {"type": "string", "pattern": "^@-?[0-9]+$"},
        "example": "@1795305600",
    },
    "WWW-Authenticate": {
        "description": "What is wrong with the token (RFC 6750 section 3).",
        "schema": {"type": "string"},
    },
}
PROBLEM: Final[Mapping[str, Any]] = {
    "description": "An answer in the gateway's own name (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "origin", "retryable", "request_id"],
    "properties": {
        "type": {"const": "about:blank"},
        "title": {"type": "string", "description": "The status in words."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "One sentence for people."},
        "code": {
            "enum": [code for code in CODES if code not in NEVER_ANSWERED],
            "description": "One word for programs.",
        },
        "origin": {"enum": ["client", "gateway", "upstream"], "description": "Who failed."},
        "retryable": {"type": "boolean", "description": "Whether the same request may succeed later."},
        "request_id": {"type": "string", "description": "As `X-Request-ID`."},
    },
}


def codes_of(method: str, route: Route, settings: Settings) -> dict[int, list[str]]:
    """The codes that requests may be answered with, by status."""
    tokens, verifier = refuses_tokens(route, settings), recaptcha_configured(settings)
    applies = {
        "recaptcha_failed": route.recaptcha and verifier,
        "recaptcha_unavailable": route.recaptcha and verifier,
        "recaptcha_unconfigured": route.recaptcha and not verifier,
        "unauthenticated": tokens,
        "auth_unavailable": tokens,
        "forbidden": tokens and (route.roles or route.owner),
        "route_not_found": "{" in route.pattern,  # a value can make another path of it
        "unsupported_form": fields_of(route, settings),
        "upgrade_required": takes_sockets(method, route),
        "rate_limited": is_limited(route) or (tokens and settings.auth_fail_limit),
        "not_in_cache": route.cache is not None,
    }
    found: dict[int, list[str]] = {}
    for code, row in CODES.items():
        if code in ALWAYS or applies.get(code):
            found.setdefault(row.status, []).append(code)
    return dict(sorted(found.items()))


def reads_tokens(route: Route, settings: Settings) -> bool:
    """Whether a route looks at tokens at all."""
    return settings.auth_mode != "off" and route.auth != "public"


def refuses_tokens(route: Route, settings: Settings) -> bool:
    """Whether a route refuses requests for their tokens."""
    return settings.auth_mode == "enforce" and reads_tokens(route, settings)


def must_have_token(route: Route) -> bool:
    """Whether a route that looks at tokens takes no request without one."""
    return route.auth == "required" or bool(route.roles or route.owner)


def takes_sockets(method: str, route: Route) -> bool:
    """Whether a request may open a WebSocket (RFC 6455 section 4.1: with GET)."""
    return route.websocket and method == "GET"


def is_limited(route: Route) -> bool:
    return route.rate_limit is not None


def fields_of(route: Route, settings: Settings) -> dict[str, bool]:
    """The fields of the body that guards look at, as route files name them, each with whether it must be there."""
    found = {name: False for name in route.rate_limit_by if ":" in name and is_limited(route)}
    if route.owner is not None and ":" in route.owner and reads_tokens(route, settings):
        found[route.owner] = True
    if route.recaptcha and recaptcha_configured(settings):
        found["form:recaptcha_token"] = True
    return found


class Answers:
    """Collects the answers that operations refer to, each once.

    :ivar components: the responses by their names in the document.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.components: dict[str, Any] = {}

    def of(self, method: str, route: Route) -> dict[str, Any]:
        """The responses of one operation."""
        kept = route.errors == "pass"
        found = {name: self._refer(f"Own{name}", route, partial(dict, own)) for name, own in OWN.items()}
        if takes_sockets(method, route):
            found["101"] = self._refer("Switching", route, lambda: SWITCHING)
        by_status = codes_of(method, route, self._settings)
        told = {str(status): codes for status, codes in by_status.items()} | {"4XX": [], "5XX": []}
        for status, codes in told.items():
            extra = [code for code in codes if code not in ALWAYS] if status in SEVERAL else []
            whole = kept and status.startswith("5")
            name = ".".join((NAMES[status], *extra, *(["pass"] if whole else [])))
            found[status] = self._refer(name, route, partial(_problem, status, codes, whole=whole))
        return found

    def _refer(self, name: str, route: Route, make: Callable[[], Mapping[str, Any]]) -> dict[str, str]:
        fields = LIMIT_FIELDS if is_limited(route) else ()
        name = name if fields else f"{name}.unlimited"
        if route.deprecated is not None:
            fields, name = (*fields, "Deprecation"), f"{name}.deprecated"
        if name not in self.components:
            made = make()
            fields = (*made.get("headers", ALL_FIELDS), *fields)
            self.components[name] = {**made, "headers": {field: {"$ref": f"{HEADERS}/{field}"} for field in fields}}
        return {"$ref": f"{RESPONSES}/{name}"}


def _problem(status: str, codes: list[str], *, whole: bool) -> dict[str, Any]:
    """The answer with a status that is no success.

    :param codes: what it may mean beside a service's own error.
    :param whole: whether a service's own error goes to the client as it is.
    """
    said: dict[str, Any] = {"code": {"enum": [*codes, RETOLD]}}
    problem: dict[str, Any] = {
        "schema": {"allOf": [{"$ref": f"{SCHEMAS}/Problem"}, {"type": "object", "properties": said}]}
    }
    if codes:
        said["status"] = {"const": int(status)}
        problem["example"] = orjson.loads(Problem(codes[0]).body(EXAMPLE_ID))
    content: dict[str, Any] = {MEDIA_TYPE: problem}
    own = "the service's own error, without its words"
    if whole or status.startswith("4"):
        own = "the service's own error" + (", as it is" if whole else "; one in JSON comes as it is")
        content["*/*"] = {}
    lines = [*(f"- `{code}`: {CODES[code].detail}" for code in codes), f"- `{RETOLD}`: {own}"]
    return {
        "description": "\n".join(lines),
        "content": content,
        "headers": (*ALL_FIELDS, *FIELDS.get(status, ())),
    }
