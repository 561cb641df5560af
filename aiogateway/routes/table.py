"""The route table in memory: upstreams, routes, and which route a request's path and method mean.

Rules: everything here is resolved, and immutable but for the matches that a table keeps at hand: a request reads a
`Route`, never a setting or a string to parse.
`sources` of a route or an upstream says for every key where its value came from: `default`, a file, a file's group, a
variable or an option.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Final, NamedTuple

from aiogateway.errors import Problem
from aiogateway.recent import Recent
from aiogateway.routes.patterns import Kind, Segment, Shape, Template, Trie, shape_of, split
from aiogateway.routes.readings import fold, lax_readings
from aiogateway.settings.values import Rate
from aiogateway.settings.variables import PoolSettings

# Paths whose match is kept, twice as many at the most, and how long they may be.
MOST: Final = 1024
LONGEST: Final = 256
NO_PARAMETERS: Final[Mapping[str, str]] = MappingProxyType({})
# Paths that the gateway answers itself, whatever a table holds: balancers rely on them.
OWN_PATHS: Final = frozenset({"/healthz", "/readyz"})
ENCODED_SLASH: Final = "the path has an encoded slash"
# Where the lax reading of a path without escapes may differ from the path: case, dots and slashes at an end.
_UNPLAIN: Final = re.compile(r"[A-Z]|\.(?:/|$)|/$")
# What `Allow` lists first; the order that people expect.
METHOD_ORDER: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True, eq=False)
class Upstream:
    """A service. `urls` are its destinations: scheme, host, port and base path, without a trailing slash.

    Times are in seconds; `eject_rate` is a share of failed requests. `authorities` is what `ca_file` held when the
    table was read: nobody looks into the file again, so that all workers trust the same, whatever becomes of it.
    """

    name: str
    urls: tuple[str, ...]
    env: str | None
    balance: str
    health_path: str | None
    health_interval: float
    health_timeout: float
    health_failures: int
    health_successes: int
    eject_after: int
    eject_rate: float
    eject_window: float
    eject_time: float
    ca_file: str | None
    authorities: str | None = field(repr=False)
    server_name: str | None
    pool: PoolSettings
    sources: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One pattern and some methods, with every policy resolved (contract, "Route files").

    `timeout` and `sse_keepalive` are seconds, `max_body` and `ws_max_message` bytes. `rate_limit` None: no limit.
    `cache` None: off, True: only what the response allows, a number: seconds. `retry` None: only what is safe.
    `shape` is what two routes of one path have in common; `file` is where the route stands, `tier` the name its
    timeout had.
    """

    pattern: str
    segments: tuple[Segment, ...] = field(repr=False)
    shape: Shape = field(repr=False)
    methods: frozenset[str]
    category: str
    upstream: Upstream = field(repr=False)
    upstream_path: str | None
    template: Template | None = field(repr=False)
    timeout: float
    tier: str | None
    auth: str
    roles: tuple[str, ...]
    owner: str | None
    cors: str
    rate_limit: tuple[Rate, ...] | None
    rate_limit_by: tuple[str, ...]
    max_body: int
    recaptcha: bool | str
    cache: bool | int | None
    compress: bool
    retry: bool | None
    encoded_slash: bool
    websocket: bool
    ws_max_message: int
    ws_rate: Rate | None
    sse_keepalive: float
    errors: str
    deprecated: date | None
    file: str
    sources: Mapping[str, str] = field(repr=False)

    def target(self, raw_path: str, params: Mapping[str, str]) -> str:
        """The path to ask the upstream for: the client's own, byte for byte, unless the route rewrites it.

        :param raw_path: the path as received, without query.
        :param params: what `Table.match` gave for it.
        :raises Problem: `bad_request`, see `Template.fill`.
        """
        return raw_path if self.template is None else self.template.fill(params)


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """All methods of one pattern. HEAD comes with GET; `allow` is the value of `Allow` (RFC 9110 section 10.2.1)."""

    pattern: str
    methods: Mapping[str, Route]
    allow: str

    def route(self, method: str, encoded_slash: bool = False) -> Route:
        """The route of a method.

        :param encoded_slash: whether the path had `%2F` in a segment, as `Match` says.
        :raises Problem: `method_not_allowed` with `Allow`; `bad_request` for `%2F` where the route does not take it.
        """
        found = self.methods.get(method)
        if found is None:
            raise Problem("method_not_allowed", headers=(("Allow", self.allow),))
        if encoded_slash and not found.encoded_slash:
            raise Problem("bad_request", ENCODED_SLASH)
        return found


class Match(NamedTuple):
    """What a path means.

    `params` are raw, by name; `encoded_slash` says whether a segment of the path decodes to one with `/` in it.
    """

    endpoint: Endpoint
    params: Mapping[str, str]
    encoded_slash: bool


class Meaning:
    """What all patterns have in common that a lax upstream takes for one.

    :ivar alone: whether no path of theirs can be another's, as long as nothing in it is encoded.
    :ivar ends_in_slash: whether one of them does.
    :ivar upstreams: those of their routes.
    """

    __slots__ = ("alone", "ends_in_slash", "upstreams")

    def __init__(self) -> None:
        self.alone = False
        self.ends_in_slash = False
        self.upstreams: set[str] = set()


class Table:
    """Every upstream and route of a configuration.

    :param upstreams: by name.
    :param routes: without two for one method and pattern.
    """

    def __init__(self, upstreams: Mapping[str, Upstream], routes: Iterable[Route]) -> None:
        self.upstreams = dict(upstreams)
        self.routes = tuple(routes)
        self._trie: Trie[tuple[Endpoint, Meaning]] = Trie()
        self._lax_trie: Trie[Meaning] = Trie()
        self._plain = True
        self._literals: dict[str, Match] = {}
        self._recent: Recent[str, Match] = Recent(MOST)
        groups: dict[Shape, list[Route]] = {}
        for route in self.routes:
            groups.setdefault(route.shape, []).append(route)
        known: dict[Shape, tuple[tuple[Segment, ...], Meaning]] = {}
        for group in groups.values():
            endpoint, first = _endpoint(group), group[0]
            lax = _lax_pattern(first.segments)
            _, meaning = known.setdefault(shape_of(lax), (lax, Meaning()))
            meaning.ends_in_slash |= first.pattern.endswith("/")
            meaning.upstreams.update(route.upstream.name for route in group)
            self._lax_trie.add(lax, meaning)
            self._plain = self._plain and lax in (first.segments, ())
            self._trie.add(first.segments, (endpoint, meaning))
            if all(segment.kind is Kind.LITERAL for segment in first.segments):
                self._literals[first.pattern] = Match(endpoint, NO_PARAMETERS, False)
        for lax, meaning in known.values():
            meaning.alone = self._lax_trie.is_alone(lax)

    def match(self, path: str) -> Match:
        """Find the most specific pattern of a path; one that is literal, or asked for lately, costs a look into a dict.

        :param path: as received, undecoded, without query.
        :raises Problem: `bad_request` for a path that can't be trusted, `route_not_found`, also for one that a lax
            upstream would take for another route's.
        """
        known = self._literals.get(path) or self._recent.get(path)
        if known is not None:
            return known
        found = self._recent.find(path)
        if found is None:
            found = self._find(path)
            if len(path) <= LONGEST:
                self._recent.keep(path, found)
        return found

    def _find(self, path: str) -> Match:
        """As `match`, for a path that nobody asked for lately.

        :raises Problem: as `match`.
        """
        raw, decoded = split(path)
        slash = decoded is not raw and any("/" in segment for segment in decoded)
        found = self._trie.find(raw, decoded)
        if found is None:
            if slash:
                raise Problem("bad_request", ENCODED_SLASH)
            raise Problem("route_not_found")
        (endpoint, meaning), params = found
        if ";" in path and any(";" in value for value in params.values()):
            # RFC 3986 section 3.3: some servers take what follows for parameters, and look for a path without them.
            raise Problem("bad_request", "the path has a semicolon")
        if "%" in path or not (meaning.alone or (self._plain and _UNPLAIN.search(path) is None)):
            self._read_laxly(decoded, meaning, slash=slash)
        return Match(endpoint, params, slash)

    def _read_laxly(self, decoded: list[str], meaning: Meaning, *, slash: bool) -> None:
        """Refuse a path that could be another route's.

        An encoded slash that a route takes is there on purpose: only its own upstream's other routes count then.

        :raises Problem: `route_not_found`, `bad_request` for an encoded slash, and as `lax_readings`.
        """
        found = []
        for reading in lax_readings(decoded):
            closed = reading if reading[-1] else reading[:-1]
            found.append(self._lax_trie.find(closed, closed))
            if closed is not reading and not meaning.ends_in_slash:
                found.append(self._lax_trie.find(reading, reading, empty_tail=True))
        for other, _ in filter(None, found):
            if other is not meaning and not (slash and other.upstreams.isdisjoint(meaning.upstreams)):
                raise Problem("bad_request", ENCODED_SLASH) if slash else Problem("route_not_found")


def _lax_pattern(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """A pattern as lax readings are compared with it: without case, and without a slash at its end."""
    lax = [Segment(kind, fold(text), name) for kind, text, name in segments]
    return tuple([segment for segment in lax if segment.text or segment.kind is not Kind.LITERAL])


def _endpoint(routes: list[Route]) -> Endpoint:
    methods = {method: route for route in routes for method in route.methods}
    if "GET" in methods:
        methods.setdefault("HEAD", methods["GET"])
    return Endpoint(routes[0].pattern, methods, ", ".join(name for name in METHOD_ORDER if name in methods))
