"""Routes, from one route file: the group's defaults, each entry over them, every policy resolved.

Rules: a route with a fault is left out of the result, but what it claims (method and pattern) is remembered, so that a
duplicate is found even so. The value and the source of a key travel together until the route is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiogateway.routes.files import Document
from aiogateway.routes.patterns import Segment, Shape, Template, names_of, parse, shape_of
from aiogateway.routes.policies import ROUTE_KEYS
from aiogateway.routes.table import Route, Upstream
from aiogateway.settings import Settings
from aiogateway.settings.faults import Fault, meant, shown

GROUP: Final = "(group)"


@dataclass(frozen=True, slots=True)
class Claim:
    """What an entry of a route file asks for, and the route it makes, unless it has a fault."""

    where: str
    entry: str
    shape: Shape
    methods: frozenset[str]
    route: Route | None


@dataclass(frozen=True, slots=True)
class Context:
    """What all route files share.

    `names`: every upstream's name, those with a fault too; None when not all could be read.
    """

    settings: Settings
    upstreams: Mapping[str, Upstream]
    names: set[str] | None


def defaults_of(settings: Settings) -> tuple[dict[str, Any], dict[str, str]]:
    """Every key's value and source where no file says anything."""
    values = {
        key: row.default if row.setting is None else getattr(settings, row.setting) for key, row in ROUTE_KEYS.items()
    }
    sources = {
        key: "default" if row.setting is None else settings.source(row.setting) for key, row in ROUTE_KEYS.items()
    }
    return values, sources


def read_routes(document: Document, context: Context, faults: list[Fault]) -> list[Claim]:
    """Read one file.

    :param faults: where faults go.
    """
    data = dict(document.data)
    entries = data.pop("route", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        faults.append(Fault(document.where, "", "route", "must be written [[route]], once for each route"))
        return []
    if "path" in data:
        del data["path"]
        faults.append(Fault(document.where, GROUP, "path", "belongs under a [[route]]"))
    values, sources = defaults_of(context.settings)
    group, broken = _parse_keys(data, document.where, GROUP, faults)
    values |= group
    sources |= dict.fromkeys(group, f"{document.where} {GROUP}")
    claims = []
    for number, entry in enumerate(entries, 1):
        claim = _read_route(entry, number, _Base(document, values, sources, broken), context, faults)
        if claim is not None:
            claims.append(claim)
    return claims


@dataclass(frozen=True, slots=True)
class _Base:
    document: Document
    values: dict[str, Any]
    sources: dict[str, str]
    broken: set[str]


def _parse_keys(
    data: Mapping[str, Any], where: str, entry: str, faults: list[Fault]
) -> tuple[dict[str, Any], set[str]]:
    """The good values of some keys, and the known keys whose value is at fault (with `?` for an unknown one)."""
    values: dict[str, Any] = {}
    broken: set[str] = set()
    for key, value in data.items():
        row = ROUTE_KEYS.get(key)
        if row is None:
            faults.append(Fault(where, entry, key, f"unknown key{meant(key, ROUTE_KEYS)}"))
            broken.add("?")
            continue
        try:
            values[key] = row.parse(value)
        except ValueError as error:
            faults.append(Fault(where, entry, key, f"{error}, not {shown(value)}"))
            broken.add(key)
    return values, broken


def _entry_name(data: Mapping[str, Any], number: int) -> str:
    path, methods = data.get("path"), data.get("methods")
    if not isinstance(path, str):
        return f"route {number}"
    listed = ",".join(map(str, methods)) if isinstance(methods, list) else ""
    return f"{listed} {path}".strip()


def _read_route(
    data: Mapping[str, Any], number: int, base: _Base, context: Context, faults: list[Fault]
) -> Claim | None:
    where, entry = base.document.where, _entry_name(data, number)
    before = len(faults)
    own, broken = _parse_keys(data, where, entry, faults)
    values = {**base.values, **own}
    sources = {**base.sources, **dict.fromkeys(own, where)}
    # A fault of the group is told once; a route that overrides the key does not have it.
    inherited = {key for key in base.broken if key not in own}

    def fault(key: str, message: str) -> None:
        faults.append(Fault(where, entry, key, message))

    if "path" not in data:
        fault("path", "is missing")
    upstream = values["upstream"]
    if upstream is None and not (broken | inherited) & {"upstream"}:
        fault("upstream", "is missing: name one of upstreams.toml, here or for the group")
    elif upstream is not None and context.names is not None and upstream not in context.names:
        fault("upstream", f"unknown upstream {shown(upstream)}{meant(upstream, context.names)}")
    for key in ("roles", "owner"):
        if values[key] and values["auth"] == "public":
            fault(key, 'needs a token: auth can\'t be "public" here')
    segments = _segments(values["path"], fault)
    if segments is None:
        return None
    shape, template = shape_of(segments), None
    if values["upstream_path"] is not None:
        try:
            template = Template(values["upstream_path"], names_of(segments))
        except ValueError as error:
            fault("upstream_path", str(error))
    route = None
    if len(faults) == before and not inherited and upstream in context.upstreams:
        _resolve(values, sources, context.settings)
        values["upstream"] = context.upstreams[upstream]
        route = _route(values, sources, base.document, segments=segments, shape=shape, template=template)
    return Claim(where, entry, shape, values["methods"], route)


def _segments(path: str | None, fault: Callable[[str, str], None]) -> tuple[Segment, ...] | None:
    if path is None:
        return None
    try:
        return parse(path)
    except ValueError as error:
        fault("path", str(error))
        return None


def _resolve(values: dict[str, Any], sources: dict[str, str], settings: Settings) -> None:
    """Put in what only the settings know: a tier's seconds, and that limits are switched off altogether."""
    tier = values["timeout"] if isinstance(values["timeout"], str) else None
    values["tier"], sources["tier"] = tier, sources["timeout"]
    if tier is not None:
        values["timeout"] = getattr(settings, f"timeout_{tier}")
        seconds_from = settings.source(f"timeout_{tier}")
        if seconds_from != "default":
            sources["timeout"] = seconds_from
    if settings.rate_limit is None:
        values["rate_limit"], sources["rate_limit"] = None, settings.source("rate_limit")


def _route(values: dict[str, Any], sources: Mapping[str, str], document: Document, **parsed: Any) -> Route:
    pattern = values.pop("path")
    return Route(pattern=pattern, category=document.stem, file=document.where, sources=sources, **parsed, **values)
