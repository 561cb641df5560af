"""The way of every request, outermost first:

1. `request_id`: names it, so that every answer carries the name.
2. `errors`: makes an answer of whatever is raised further in.
3. `admission`: refuses what no route takes.
4. `routing`: finds the route.
5. the proxy's handler.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiogateway.middlewares.admission import admission
from aiogateway.middlewares.chain import Handler
from aiogateway.middlewares.errors import errors
from aiogateway.middlewares.request_id import maker, request_id
from aiogateway.middlewares.routing import routing
from aiogateway.routes import Table

__all__ = ["Handler", "compose"]


def compose(table: Table, proxy: Handler, local: Mapping[str, Handler]) -> Handler:
    """The whole way for every request.

    :param proxy: what answers a request whose route is known.
    :param local: paths that the gateway answers itself.
    """
    return request_id(errors(admission(routing(table, proxy, local))), maker())
