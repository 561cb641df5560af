"""The way of every request, outermost first:

1. `request_id`: names it, so that every answer carries the name.
2. `tracing`: says which trace it belongs to.
3. `cors`: says on every answer which pages may read it.
4. `errors`: makes an answer of whatever is raised further in.
5. `admission`: refuses what no route takes.
6. `preflights`: answers those of browsers.
7. `routing`: finds the route, and goes on with the route's own way.

A route's own way has the guards that its policies ask for, and no others: `websocket`, `auth`, `rate_limit`, then
`form` for those that look at the body: `owner`, `recaptcha`, `rate_limit_by_field`. Nobody uses up another's count
before they proved to act for themselves, or to be a person. Then `cache`, or `invalidation` where another method of the
same path has one, and `compression`, but not for WebSockets. At the end is the proxy's handler.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Container, Mapping
from dataclasses import dataclass, field

from aiogateway.caching import Asking, Cache
from aiogateway.compression import Compression
from aiogateway.metrics import Metrics
from aiogateway.middlewares.admission import admission
from aiogateway.middlewares.auth import Guard, auth
from aiogateway.middlewares.cache import SAFE, cache, invalidation
from aiogateway.middlewares.chain import Handler
from aiogateway.middlewares.compression import compression
from aiogateway.middlewares.cors import cors, preflights
from aiogateway.middlewares.errors import errors
from aiogateway.middlewares.form import form
from aiogateway.middlewares.owner import is_in_body, owner
from aiogateway.middlewares.rate_limit import CLIENT, Policies, nothing_more, rate_limit, rate_limit_by_field
from aiogateway.middlewares.recaptcha import NAME as RECAPTCHA_FIELD
from aiogateway.middlewares.recaptcha import recaptcha, unconfigured
from aiogateway.middlewares.request_id import maker, request_id
from aiogateway.middlewares.routing import routing
from aiogateway.middlewares.tracing import tracing
from aiogateway.middlewares.websocket import unless_socket, websocket
from aiogateway.overload import Overload
from aiogateway.proxy.body import Bodies
from aiogateway.proxy.request import Request
from aiogateway.recaptcha import Recaptcha
from aiogateway.routes import Route, Table
from aiogateway.routes.patterns import Shape
from aiogateway.settings import Settings
from aiogateway.stores import Limiter
from aiogateway.tokens import Verifier

__all__ = ["Handler", "Tools", "compose"]


@dataclass(frozen=True, slots=True)
class Tools:
    """What guards work with; whoever made them closes them.

    :ivar verifier: None when no key is set.
    :ivar overload: whether requests are to be refused.
    """

    bodies: Bodies
    cache: Cache
    compression: Compression
    limiter: Limiter
    metrics: Metrics
    recaptcha: Recaptcha
    verifier: Verifier | None
    overload: Overload = field(default_factory=Overload)


def compose(settings: Settings, table: Table, proxy: Handler, local: Mapping[str, Handler], tools: Tools) -> Handler:
    """The whole way for every request.

    :param proxy: what answers a request that may pass.
    :param local: paths that the gateway answers itself.
    """
    policies = Policies(table.routes, settings.auth_fail_limit or ())
    observe = settings.auth_mode == "observe"
    guard = (
        None
        if settings.auth_mode == "off"
        else Guard(tools.verifier, tools.limiter, policies.auth_failures, tools.metrics, observe=observe)
    )
    cached = {route.shape for route in table.routes if route.cache}
    origins = frozenset(settings.allowed_origins)
    ways = {
        route: way(route, keeping(route, proxy, cached, tools), policies, guard, tools, origins)
        for route in table.routes
    }
    inner = preflights(routing(table, ways, local, tools.overload, tools.metrics), table, settings.allowed_origins)
    answered = cors(errors(admission(inner)), table, settings.allowed_origins)
    return request_id(tracing(answered, sample=settings.otel_exporter_otlp_endpoint is not None), maker())


def keeping(route: Route, proxy: Handler, cached: Container[Shape], tools: Tools) -> Handler:
    """What answers a request that may pass, from the cache too.

    :param cached: patterns of which a method has a cache.
    """
    asking = compression(proxy, tools.compression) if route.compress else proxy
    handler = asking
    if route.shape in cached and not SAFE.issuperset(route.methods):
        handler = invalidation(handler, tools.cache)
    if route.cache:
        handler = cache(handler, tools.cache, Asking(asking, route.compress))
    return handler if handler is proxy or not route.websocket else unless_socket(handler, proxy)


def way(
    route: Route, proxy: Handler, policies: Policies, guard: Guard | None, tools: Tools, origins: Collection[str] = ()
) -> Handler:
    """The way of one route's requests.

    :param proxy: at its end.
    :param guard: None when tokens aren't read.
    :param origins: whose pages may open WebSockets.
    """
    handler, metrics = proxy, tools.metrics
    tokens = guard if route.auth != "public" else None
    by_field = {
        name: several for name in route.rate_limit_by if name != CLIENT and (several := policies.of(route, name))
    }
    wanted = set(by_field)
    if by_field:
        handler = rate_limit_by_field(handler, by_field, tools.limiter, metrics)
    if route.recaptcha and tools.recaptcha.configured:
        action = route.recaptcha if isinstance(route.recaptcha, str) else None
        handler = recaptcha(handler, tools.recaptcha, metrics, action)
        wanted.add(RECAPTCHA_FIELD)
    whole = bool(wanted)
    if tokens is not None and route.owner is not None:
        handler = owner(handler, route.owner, tokens)
        wanted |= {route.owner} if is_in_body(route.owner) else set()
    if wanted:
        lenient = not whole and tokens is not None and tokens.observe
        handler = form(handler, sorted(wanted), tools.bodies, whole=whole, lenient=lenient)
    if route.recaptcha and not tools.recaptcha.configured:
        handler = unconfigured(metrics)
    by_client = policies.of(route, CLIENT)
    count: Callable[[Request], Awaitable[None]] = nothing_more
    if by_client:
        handler = rate_limit(handler, by_client, tools.limiter, metrics)
        count = rate_limit(nothing_more, by_client, tools.limiter, metrics)
    if tokens is not None:
        handler = auth(handler, route, tokens, count)
    return websocket(handler, route, origins) if route.websocket else handler
