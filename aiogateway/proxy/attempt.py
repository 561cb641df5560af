"""One attempt to have a request answered by one destination.

Rules: the destination's health is told how it went, if that was the destination's doing; whatever was taken for the
attempt is given back on every way out but the good one.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, NamedTuple

from aiogateway.deadlines import Deadlines
from aiogateway.errors import Problem
from aiogateway.proxy.exchange import Exchange, StaleConnection
from aiogateway.proxy.outbound import Outbound
from aiogateway.proxy.request import Request
from aiogateway.upstreams.breaker import OPEN
from aiogateway.upstreams.connection import UpstreamConnection
from aiogateway.upstreams.destination import Destination
from aiogateway.upstreams.health import ERROR, FAILURE, outcome_of
from aiogateway.upstreams.retry import CONNECT_FAILURE, NO_ANSWER, STALE_CONNECTION, TIMEOUT

# What an upstream did, by the code of the problem it led to; no other problem is its fault.
REASONS: Final = {
    "upstream_unreachable": CONNECT_FAILURE,
    "upstream_tls": CONNECT_FAILURE,
    "upstream_timeout": TIMEOUT,
    "upstream_bad_response": NO_ANSWER,
}
# Seconds without which another attempt is not worth beginning.
LEAST: Final = 0.01
# Share of the route's time that a destination must have had for its silence to tell against it.
FAIR: Final = 0.5


class Failed(NamedTuple):
    """An attempt without an answer.

    :ivar reason: for which the request could be repeated; empty when it must not be.
    :ivar problem: what the client is told if it is not.
    """

    reason: str
    problem: Problem


class Attempt:
    """:param idle: seconds of silence allowed in the middle of a body."""

    def __init__(self, deadlines: Deadlines, *, idle: float) -> None:
        self._deadlines = deadlines
        self._idle = idle

    async def __call__(
        self,
        request: Request,
        outbound: Outbound,
        destination: Destination,
        patience: float,
        *,
        fresh: bool = False,
        until: float | None = None,
        instead: Exchange | None = None,
    ) -> Exchange | Failed:
        """An exchange past its answer's head, or why there is none.

        :param patience: seconds to wait for the answer's head.
        :param fresh: whether a kept connection has just proved closed.
        :param until: when all has to be over, getting a connection too; None for no such bound.
        :param instead: given up once there is a connection.
        :raises Problem: what was not the destination's fault.
        """
        health, record = destination.health, request.record
        record.attempts += 1
        record.destination = destination.shown
        record.asked = record.headed = 0.0
        outcome: int | None = None
        trial = health.breaker.enter()
        try:
            try:
                connection = await self._connection(request, destination, fresh, until)
            except Problem as problem:
                if problem.code not in REASONS:
                    raise
                outcome = FAILURE
                return Failed(CONNECT_FAILURE, problem)
            if connection is None:
                return Failed("", Problem("upstream_timeout", "no other destination took the request in time"))
            if not trial and health.breaker.state == OPEN:  # since this request began to wait for its turn
                destination.pool.release(connection)
                return Failed(CONNECT_FAILURE, Problem("upstream_circuit_open"))
            if until is not None:
                patience = min(patience, max(until - self._deadlines.clock(), LEAST))
            if instead is not None:
                instead.abort()
            result, outcome = await self._exchange(request, outbound, destination, connection, patience)
            return result
        finally:
            if outcome is not None:
                health.ended(outcome, trial=trial)
            elif trial:
                health.breaker.leave(trial)

    async def _connection(
        self, request: Request, destination: Destination, fresh: bool, until: float | None
    ) -> UpstreamConnection | None:
        """A connection; None when there was none in time.

        :raises Problem: as `Pool.acquire`.
        """
        pool, record = destination.pool, request.record
        if until is None:
            return (None if fresh else pool.take()) or await pool.acquire(record, fresh=fresh)
        try:
            async with asyncio.timeout_at(until):
                return await pool.acquire(record, fresh=fresh)
        except TimeoutError:
            return None

    async def _exchange(
        self,
        request: Request,
        outbound: Outbound,
        destination: Destination,
        connection: UpstreamConnection,
        patience: float,
    ) -> tuple[Exchange | Failed, int | None]:
        """What came of it, and what that says of the destination; None for nothing."""
        record = request.record
        record.asked = time.monotonic()
        health = destination.health
        exchange = Exchange(
            destination.pool,
            connection,
            self._deadlines,
            timeout=patience,
            idle=self._idle,
            broke_off=health.broke_off,
        )
        try:
            await exchange.send(
                outbound.data_for(request.method, destination),
                outbound.rest,
                chunked=outbound.chunked,
                bodiless=request.method == "HEAD",
                interim=request.early_hints,
                switching=request.handshake is not None,
            )
        except StaleConnection:
            exchange.abort()
            problem = Problem("upstream_bad_response", "the service closed the connection as the request was sent")
            return Failed(STALE_CONNECTION, problem), None
        except Problem as problem:
            reason = "" if exchange.answered else REASONS.get(problem.code, "")
            fair = patience >= FAIR * request.route.timeout
            outcome = judge(problem.code, uploading=exchange.uploading, fair=fair)
            exchange.abort()
            if problem.code not in REASONS:
                raise
            return Failed(reason, problem), outcome
        except BaseException:
            exchange.abort()
            raise
        record.headed = time.monotonic()
        if destination.unreachable is not None:
            destination.reached()
        return exchange, outcome_of(exchange.message.code)


def judge(code: str, *, uploading: bool, fair: bool) -> int | None:
    """What a missing answer says of the destination; None for nothing.

    :param uploading: whether the request was still on its way: a backend may tire of a client that sends slowly.
    :param fair: whether the destination had the time that it may count on.
    """
    if code == "upstream_timeout":
        return FAILURE if fair else None
    return ERROR if code == "upstream_bad_response" and not uploading else None
