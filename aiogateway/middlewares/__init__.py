"""The way of every request, outermost first:

1. `request_id`: names it, so that every answer carries the name.
2. `errors`: makes an answer of whatever is raised further in.
3. `admission`: refuses what no route takes.
4. `routing`: finds the route, and goes on with that route's own chain:
5. `body_limit`: refuses an announced body that is too large.
6. the proxy's handler.

A route's chain is built when the table is loaded: a middleware that doesn't apply to a route isn't in its chain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiogateway.middlewares.admission import admission, body_limit
from aiogateway.middlewares.chain import Handler
from aiogateway.middlewares.errors import errors
from aiogateway.middlewares.request_id import maker, request_id
from aiogateway.middlewares.routing import routing
from aiogateway.routes import Route, Table

__all__ = ["Handler", "compose"]


def compose(table: Table, proxy: Handler, local: Mapping[str, Handler]) -> Handler:
    """The whole way for every request.

    :param proxy: what ends every route's chain.
    :param local: paths that the gateway answers itself.
    """
    chains: dict[Route, Handler] = {route: body_limit(proxy, route) for route in table.routes}
    outer: tuple[Callable[[Handler], Handler], ...] = (admission, errors)
    handler = routing(table, chains, local)
    for middleware in outer:
        handler = middleware(handler)
    return request_id(handler, maker())
