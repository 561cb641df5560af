"""Refuses new requests while there is too much to do; what asks whether the gateway lives is always answered."""

from __future__ import annotations

from aiogateway.errors import Problem
from aiogateway.metrics import Metrics, families
from aiogateway.middlewares.chain import Handler
from aiogateway.overload import CONNECTIONS, Pressure
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response
from aiogateway.routes import OWN_PATHS


def overload(inner: Handler, pressure: Pressure, metrics: Metrics) -> Handler:
    """:raises Problem: `overloaded`."""

    async def answer(request: Request) -> Response:
        surplus = request.connection.surplus
        if (surplus or pressure.reason is not None) and request.path not in OWN_PATHS:
            metrics.count(families.OVERLOAD, CONNECTIONS if surplus else str(pressure.reason)).events += 1
            raise Problem("overloaded")
        return await inner(request)

    return answer
