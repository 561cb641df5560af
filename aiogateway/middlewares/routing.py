"""Finds the route of a request."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from datetime import UTC, date, datetime, time

from aiogateway.errors import Problem
from aiogateway.metrics import Metrics, families
from aiogateway.middlewares.chain import Handler
from aiogateway.overload import CONNECTIONS, Overload
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response
from aiogateway.routes import Route, Table


def deprecation(since: date) -> bytes:
    """The line that says since when a path is deprecated (RFC 9745 section 2.1): midnight, UTC."""
    return b"Deprecation: @%d" % datetime.combine(since, time.min, UTC).timestamp()


def routing(
    table: Table,
    ways: Mapping[Route, Handler],
    local: Mapping[str, Handler],
    overload: Overload,
    metrics: Metrics,
) -> Handler:
    """:param ways: what answers the requests of each route.
    :param local: paths that the gateway answers itself, whatever the table holds: balancers rely on them.
    :param overload: says whether anything else is answered: a probe that fails would end who has much to do already.
    :param metrics: counts what is refused.
    :raises Problem: `overloaded`, `route_not_found`, `method_not_allowed`, `bad_request`.
    """

    def answer(request: Request) -> Awaitable[Response]:
        if (own := local.get(request.path)) is not None:
            record = request.record
            record.route = request.path
            record.sampled = record.sampled and bool(record.parent_id)  # probes begin no traces worth keeping
            if request.method not in ("GET", "HEAD"):
                raise Problem("method_not_allowed", headers=(("Allow", "GET, HEAD"),))
            return own(request)
        if overload.reason or request.connection.surplus:
            metrics.count(families.REFUSED, overload.reason or CONNECTIONS).events += 1
            raise Problem("overloaded")
        request.match = match = table.match(request.path)
        endpoint, _, encoded_slash = match
        request.record.route = endpoint.pattern
        request.route = route = endpoint.route(request.method, encoded_slash)
        request.cors = route.cors
        if route.deprecated is not None:
            request.due.append(deprecation(route.deprecated))
        return ways[route](request)

    return answer
