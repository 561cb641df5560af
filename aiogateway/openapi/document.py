"""The document as a whole, and its operations."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from typing import Any, Final

from aiogateway.describe import methods_of, size_text, value_text
from aiogateway.openapi.answers import (
    DEFINED_HEADERS,
    PROBLEM,
    Answers,
    fields_of,
    is_limited,
    must_have_token,
    reads_tokens,
    takes_sockets,
)
from aiogateway.openapi.paths import Parameter, Place, places
from aiogateway.routes import Route, Table
from aiogateway.settings import Settings

BEARER: Final = "bearer"
WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
MEDIA_TYPES: Final = {
    "form": ("application/x-www-form-urlencoded", "multipart/form-data"),
    "json": ("application/json",),
}
# What a path's parameter can't hold, beside `/`: the gateway refuses it, for services read it in many ways.
SEGMENT: Final = r"^[^/\\;\u0000-\u001f\u007f]+$"
TAIL: Final = r"^[^/\\;\u0000-\u001f\u007f][^\\;\u0000-\u001f\u007f]*$"
CORS: Final = {
    "allowlist": "those whose origin is allow-listed",
    "public": "any; those that are not allow-listed without credentials",
}
ABOUT: Final = """\
What this gateway takes, and what it answers.

- **Errors.** What fails here is answered with `application/problem+json` (RFC 9457): `code` is for programs, `detail`
  for people. A service's own error keeps its status; its body passes if it is JSON and the status is below 500.
- **Request ids.** Every answer carries `X-Request-ID`; name it when you ask for help.
- **Limits.** `RateLimit` and `RateLimit-Policy` say what is left; a request too many is answered with 429 and
  `Retry-After`.
- **Methods.** `HEAD` comes with `GET`. A method that a path doesn't take is answered with 405 and `Allow`.
"""


def document(table: Table, settings: Settings, version: str) -> dict[str, Any]:
    """The table in OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.1.html).

    :param version: the gateway's.
    """
    routes = sorted(table.routes, key=lambda route: (route.category, route.pattern, methods_of(route)))
    where = places(routes)
    answers = Answers(settings)
    ids = operation_ids(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        item = paths.setdefault(where[route.shape].template, {})
        for method in methods_of(route):
            operation = _operation(method, route, where[route.shape], settings)
            item[method.lower()] = {
                "operationId": ids[method, route.pattern],
                **operation,
                "responses": answers.of(method, route),
            }
    scheme = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "As the sign-in gave it."}
    return {
        "openapi": "3.1.0",
        "info": {"title": "aiogateway", "version": version, "description": ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": category} for category in sorted({route.category for route in routes})],
        "paths": paths,
        "components": {
            "schemas": {"Problem": PROBLEM},
            "headers": DEFINED_HEADERS,
            "responses": dict(sorted(answers.components.items())),
            "securitySchemes": {BEARER: scheme},
        },
    }


def operation_ids(routes: list[Route]) -> dict[tuple[str, str], str]:
    """Unique names of operations, by method and pattern, that could be names in a program.

    Where two would be the same, as for `/a-b` and `/a/b`, what tells them apart is made of the pattern alone.
    """
    words = {
        (method, route.pattern): re.sub(r"[^A-Za-z0-9]+", "_", f"{method.lower()}{route.pattern}").strip("_")
        for route in routes
        for method in methods_of(route)
    }
    uses = Counter(words.values())
    return {
        (method, pattern): word if uses[word] == 1 else f"{word}_{zlib.crc32(pattern.encode()):08x}"
        for (method, pattern), word in words.items()
    }


def _operation(method: str, route: Route, place: Place, settings: Settings) -> dict[str, Any]:
    """All of an operation but its name and its responses."""
    found: dict[str, Any] = {
        "tags": [route.category],
        "description": _description(method, route, settings),
        "security": _security(route, settings),
    }
    parameters = [_path_parameter(parameter, route) for parameter in place.parameters]
    if _owner_in_query(route, place) and reads_tokens(route, settings):
        query = {"name": route.owner, "in": "query", "required": True, "schema": {"type": "string", "minLength": 1}}
        parameters.append({**query, "description": "The token's user."})
    if parameters:
        found["parameters"] = parameters
    body = _body(method, route, settings)
    if body is not None:
        found["requestBody"] = body
    if route.deprecated is not None:
        found["deprecated"] = True
    return {**found, **_extensions(method, route)}


def _path_parameter(parameter: Parameter, route: Route) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "minLength": 1}
    if not route.encoded_slash:
        schema["pattern"] = TAIL if parameter.tail else SEGMENT
    found = {"name": parameter.name, "in": "path", "required": True, "schema": schema}
    if parameter.part_of:
        found["description"] = f"A segment before `{parameter.part_of}`."
    if parameter.tail:
        found["description"] = "The rest of the path, slashes included; they are not encoded."
        found["x-multi-segment"] = True
    return found


def _security(route: Route, settings: Settings) -> list[dict[str, list[str]]]:
    """Each entry is enough by itself; a role stands for a token that holds it."""
    if not reads_tokens(route, settings):
        return []
    if route.roles:
        return [{BEARER: [role]} for role in route.roles]
    return [{BEARER: []}] if must_have_token(route) else [{}, {BEARER: []}]


def _owner_in_query(route: Route, place: Place) -> bool:
    if route.owner is None or ":" in route.owner:
        return False
    return all(parameter.name != route.owner or parameter.part_of for parameter in place.parameters)


def _body(method: str, route: Route, settings: Settings) -> dict[str, Any] | None:
    """What is known of a request's body: the fields that guards look at, else nothing."""
    fields = fields_of(route, settings)
    if not route.max_body or (method not in WITH_BODY and not fields):
        return None
    if not fields:
        return {"content": {"*/*": {}}}
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    media_types: dict[str, None] = {}
    for name, needed in fields.items():
        kind, _, field = name.partition(":")
        media_types |= dict.fromkeys(MEDIA_TYPES[kind])
        schema["properties"][field] = {"type": "string"}
        if needed:
            schema.setdefault("required", []).append(field)
    return {"required": any(fields.values()), "content": {name: {"schema": schema} for name in media_types}}


def _description(method: str, route: Route, settings: Settings) -> str:
    timeout = value_text("timeout", route.timeout) + (f" ({route.tier})" if route.tier else "")
    lines = [("Token", _token(route, settings))]
    if route.owner is not None and reads_tokens(route, settings):
        lines.append(("Owner", f"`{route.owner}` must be the token's user; the role `superadmin` acts for others too"))
    if route.rate_limit is not None:
        limits = " and ".join(
            f"{rate.limit}/{str(rate).partition('/')[2].partition(' ')[0]}"
            + (f", counted together with all of `{rate.counter}`" if rate.counter else "")
            for rate in route.rate_limit
        )
        by = " and by ".join(_counted(name) for name in route.rate_limit_by)
        lines.append(("Limit", f"{limits}; counted by {by}"))
    if route.recaptcha:
        action = f" for the action `{route.recaptcha}`" if isinstance(route.recaptcha, str) else ""
        lines.append(("reCAPTCHA", f"a solved one{action}, in the form's field `recaptcha_token`; forms up to 64 KiB"))
    lines.append(("Body", f"up to {size_text(route.max_body)}"))
    lines.append(("Timeout", f"{timeout} from the request's end to the answer's beginning"))
    lines.append(("Pages that may call", CORS[route.cors]))
    if takes_sockets(method, route):
        rate = f", {route.ws_rate}" if route.ws_rate else ""
        lines.append(("WebSocket", f"yes; messages up to {size_text(route.ws_max_message)}{rate}"))
    if route.deprecated is not None:
        lines.append(("Deprecated", f"since {route.deprecated}"))
    return "\n".join(f"- {name}: {text}." for name, text in lines)


def _token(route: Route, settings: Settings) -> str:
    if not reads_tokens(route, settings):
        return "none is looked at"
    if route.roles:
        return f"required, with the role {' or '.join(f'`{role}`' for role in route.roles)}"
    return "required" if must_have_token(route) else "optional; one that is sent must be valid"


def _counted(name: str) -> str:
    return "user, or by address without a token" if name == "client" else f"what stands in `{name}`"


def _extensions(method: str, route: Route) -> dict[str, Any]:
    """The same for programs. Times in seconds, sizes in bytes."""
    found: dict[str, Any] = {
        "x-route": route.pattern,
        "x-timeout": route.timeout,
        "x-max-body": route.max_body,
        "x-cors": route.cors,
    }
    if is_limited(route):
        by = list(route.rate_limit_by)
        found["x-ratelimit"] = [
            {"limit": rate.limit, "period": rate.period, "counter": rate.counter, "by": by}
            for rate in route.rate_limit or ()
        ]
    if route.owner is not None:
        found["x-owner"] = route.owner
    if route.recaptcha:
        found["x-recaptcha"] = route.recaptcha
    if takes_sockets(method, route):
        found["x-websocket"] = True
    if route.deprecated is not None:
        found["x-deprecated"] = route.deprecated.isoformat()
    return found
