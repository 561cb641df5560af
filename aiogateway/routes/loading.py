"""From settings to a `Table`: layers, upstreams, routes, and what can only be checked over all of them.

Rules: nothing is used unless everything is right, and everything that is wrong is told at once. Where a folder is laid
over the packaged table, its route takes the methods it names from the packaged route of the same pattern; two routes
for one method and pattern within one folder are a fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from aiogateway.routes.files import read_layers
from aiogateway.routes.patterns import Shape, names_of
from aiogateway.routes.route_files import Claim, Context, read_routes
from aiogateway.routes.table import Route, Table
from aiogateway.routes.upstream_files import pool_faults, read_upstreams
from aiogateway.settings import Settings, parse
from aiogateway.settings.faults import ConfigError, Fault


def configure(
    environ: Mapping[str, str], overrides: Mapping[str, str] | None = None, *, need_key: bool = True
) -> tuple[Settings, Table]:
    """Read environment and route files together, as start-up and `check` do.

    :param environ: variables, as `os.environ`.
    :param overrides: options of the command line by field name.
    :param need_key: whether a fault of the token keys counts.
    :raises ConfigError: with the faults of both.
    """
    settings, faults = parse(environ, overrides, need_key=need_key)
    table, more = _assemble(settings)
    if faults or more:
        raise ConfigError([*faults, *more])
    return settings, table


def load(settings: Settings) -> Table:
    """Read the route files that the settings name.

    :raises ConfigError: with every fault of the files, and of the variables that only the files explain.
    """
    table, faults = _assemble(settings)
    if faults:
        raise ConfigError(faults)
    return table


def _assemble(settings: Settings) -> tuple[Table, list[Fault]]:
    layers, faults = read_layers(settings.config)
    documents = [layer.upstreams for layer in layers if layer.upstreams is not None]
    upstreams, names = read_upstreams(documents, settings, faults)
    complete = bool(layers) and len(documents) == len(layers)
    if complete:
        faults += pool_faults(settings, names)
    context = Context(settings, upstreams, names if complete else None)
    routes: list[Route] = []
    for layer in layers:
        claims = [claim for document in layer.routes for claim in read_routes(document, context, faults)]
        faults += _duplicates(claims)
        routes = _lay_over(routes, [claim.route for claim in claims if claim.route is not None])
    faults += _names_differ(routes)
    return Table(upstreams, routes), faults


def _duplicates(claims: Iterable[Claim]) -> list[Fault]:
    """A fault for every route that claims what another of the same folder has."""
    faults = []
    taken: dict[tuple[Shape, str], Claim] = {}
    for claim in claims:
        others: dict[int, tuple[Claim, list[str]]] = {}
        for method in sorted(claim.methods):
            other = taken.setdefault((claim.shape, method), claim)
            if other is not claim:
                others.setdefault(id(other), (other, []))[1].append(method)
        for other, methods in others.values():
            message = f"duplicate: {', '.join(methods)} of this pattern stands already in {other.where}, {other.entry}"
            faults.append(Fault(claim.where, claim.entry, "path", message))
    return faults


def _lay_over(below: list[Route], above: list[Route]) -> list[Route]:
    taken: dict[Shape, set[str]] = {}
    for route in above:
        taken.setdefault(route.shape, set()).update(route.methods)
    left = [(route, route.methods - taken.get(route.shape, set())) for route in below]
    kept = [
        route if methods == route.methods else replace(route, methods=methods) for route, methods in left if methods
    ]
    return kept + above


def _names_differ(routes: Iterable[Route]) -> list[Fault]:
    """Routes of one path share one set of parameters, so their names must agree."""
    faults = []
    first: dict[Shape, Route] = {}
    for route in routes:
        other = first.setdefault(route.shape, route)
        if names_of(other.segments) != names_of(route.segments):
            entry = f"{','.join(sorted(route.methods))} {route.pattern}"
            message = f"must name its parameters as {other.pattern} in {other.file} does: both are one path"
            faults.append(Fault(route.file, entry, "path", message))
    return faults
