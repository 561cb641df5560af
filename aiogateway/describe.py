"""The table and one request's way through it, as records for programs and as lines for people.

Rules: pure functions; no secret is reachable from here, since routes and upstreams hold none. The fields of
`route_record` are what `aiogateway routes --json` promises: one may be added, none renamed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

from aiogateway.address import without_userinfo
from aiogateway.routes.policies import ROUTE_KEYS, UPSTREAM_KEYS
from aiogateway.routes.table import METHOD_ORDER, Route, Table, Upstream
from aiogateway.settings import Settings, checks
from aiogateway.settings.values import UNITS, Rate
from aiogateway.settings.variables import POOL_FIELDS

# Told apart from the policies: they say which route it is.
IDENTITY: Final = frozenset({"path", "methods", "upstream", "upstream_path"})
POLICIES: Final = tuple(key for key in ROUTE_KEYS if key not in IDENTITY)
SIZES: Final = frozenset({"max_body", "ws_max_message"})
NOTHING: Final = {"rate_limit": "off", "ws_rate": "off", "cache": "off", "retry": "only what is safe"}
TIMES: Final = frozenset({"timeout", "sse_keepalive"})


def methods_of(route: Route) -> list[str]:
    """A route's methods in the order people expect, HEAD only where the file names it."""
    return [method for method in METHOD_ORDER if method in route.methods]


def route_record(route: Route) -> dict[str, Any]:
    """One route for programs. Times are seconds, sizes bytes, limits as the files write them (null: none)."""
    return {
        "path": route.pattern,
        "methods": methods_of(route),
        "category": route.category,
        "file": route.file,
        "upstream": route.upstream.name,
        "destinations": list(map(without_userinfo, route.upstream.urls)),
        "upstream_path": route.upstream_path,
        "tier": route.tier,
        **{key: _plain(getattr(route, key)) for key in POLICIES},
    }


def route_rows(table: Table) -> list[tuple[str, ...]]:
    """The table for people: a head, then one row a route."""
    rows: list[tuple[str, ...]] = [
        ("METHODS", "PATH", "UPSTREAM", "TIMEOUT", "AUTH", "CORS", "RATE LIMIT", "MAX BODY", "FILE")
    ]
    for route in sorted(table.routes, key=lambda route: (route.category, route.pattern)):
        shown = [value_text(key, getattr(route, key)) for key in ("timeout", "auth", "cors", "rate_limit", "max_body")]
        rows.append((",".join(methods_of(route)), route.pattern, route.upstream.name, *shown, route.file))
    return rows


def aligned(rows: Sequence[Sequence[str]], indent: str = "") -> Iterable[str]:
    """Rows as lines whose columns begin at the same place."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield (indent + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def explanation(method: str, path: str, query: str, route: Route, params: Mapping[str, str]) -> list[str]:
    """All that applies to one request: where it goes, and every policy with the source of its value."""
    upstream = route.upstream
    target = route.target(path, params) + query
    head = [
        ("route", f"{','.join(methods_of(route))} {route.pattern}", route.sources["path"]),
        ("upstream", upstream.name, route.sources["upstream"]),
        ("destinations", ", ".join(upstream.urls), upstream.sources["url"]),
        ("asks for", f"{method} {target}", route.sources["upstream_path"] if route.upstream_path else "same path"),
        *(("parameter", f"{name} = {value}", "path") for name, value in params.items()),
    ]
    policies = [(key, value_text(key, getattr(route, key)), route.sources[key]) for key in POLICIES]
    if route.tier is not None:
        policies[0] = (policies[0][0], f"{policies[0][1]} ({route.tier})", policies[0][2])
    return [
        *aligned(head),
        "",
        "policies",
        *aligned(policies, "  "),
        "",
        f"upstream {upstream.name}",
        *aligned(_upstream_rows(upstream), "  "),
    ]


def explanation_record(method: str, path: str, query: str, route: Route, params: Mapping[str, str]) -> dict[str, Any]:
    """As `explanation`, for programs."""
    upstream = route.upstream
    return {
        "method": method,
        "path": path,
        "route": route.pattern,
        "methods": methods_of(route),
        "file": route.file,
        "upstream": upstream.name,
        "destinations": list(map(without_userinfo, upstream.urls)),
        "target": route.target(path, params) + query,
        "params": dict(params),
        "policies": {key: {"value": _plain(getattr(route, key)), "source": route.sources[key]} for key in POLICIES},
    }


def _upstream_rows(upstream: Upstream) -> list[tuple[str, str, str]]:
    keys = [key for key in UPSTREAM_KEYS if key != "url"]
    rows = [(key, value_text(key, getattr(upstream, key)), upstream.sources[key]) for key in keys]
    rows += [
        (f"pool {name}", str(getattr(upstream.pool, name)), upstream.sources[f"pool_{name}"]) for name in POOL_FIELDS
    ]
    return rows


def value_text(key: str, value: object) -> str:
    """A policy's value for people."""
    if key in SIZES and isinstance(value, int):
        return size_text(value)
    if key in TIMES and isinstance(value, float):
        return f"{value:g} s"
    if value is None or value == ():
        return NOTHING.get(key, "none")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value)


def size_text(count: int) -> str:
    """Bytes with the largest unit that leaves a whole number."""
    names = {"gib": "GiB", "mib": "MiB", "kib": "KiB"}
    for unit, name in names.items():
        if count and count % UNITS[unit] == 0:
            return f"{count // UNITS[unit]} {name}"
    return f"{count} bytes"


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Rate | date) else value


def summary(settings: Settings, table: Table) -> list[str]:
    """What `check` says of a good configuration: its extent, and what to notice."""
    files = len({route.file for route in table.routes})
    said = [f"ok: {len(table.upstreams)} upstreams, {len(table.routes)} routes in {files} files"]
    said += [f"note: {note}" for note in checks.notes(settings)]
    return said
