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
from aiogateway.proxy.record import Record
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
CLOSED_EARLY: Final = "the service closed the connection as the request was sent"
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
            found: UpstreamConnection | Failed | None = None
            if not fresh and until is None:
                found = destination.pool.take()
            if found is None:
                found = await self._connection(record, destination, fresh=fresh, until=until, trial=trial)
            if isinstance(found, Failed):
                outcome = FAILURE if found.problem.code in REASONS and found.reason else None
                return found
            if until is not None:
                patience = min(patience, max(until - self._deadlines.clock(), LEAST))
            if instead is not None:
                instead.abort()
            record.asked = time.monotonic()
            exchange = Exchange(
                destination.pool, found, self._deadlines, timeout=patience, idle=self._idle, broke_off=health.broke_off
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
            except BaseException as exc:
                failed = failure(exc, answered=exchange.answered)
                uploading = exchange.uploading
                exchange.abort()
                if failed is None:
                    raise
                if failed.reason != STALE_CONNECTION:
                    fair = patience >= FAIR * request.route.timeout
                    outcome = judge(failed.problem.code, uploading=uploading, fair=fair)
                return failed
            record.headed = time.monotonic()
            if destination.unreachable is not None:
                destination.reached()
            outcome = outcome_of(exchange.message.code)
            return exchange
        finally:
            if outcome is not None:
                health.ended(outcome, trial=trial)
            elif trial:
                health.breaker.leave(trial)

    async def _connection(
        self, record: Record, destination: Destination, *, fresh: bool, until: float | None, trial: int
    ) -> UpstreamConnection | Failed:
        """A connection, waited for or made, or why there is none.

        :raises Problem: what was not the destination's fault.
        """
        pool = destination.pool
        try:
            if until is None:
                connection = await pool.acquire(record, fresh=fresh)
            else:
                async with asyncio.timeout_at(until):
                    connection = await pool.acquire(record, fresh=fresh)
        except TimeoutError:
            return Failed("", Problem("upstream_timeout", "no other destination took the request in time"))
        except Problem as problem:
            if problem.code not in REASONS:
                raise
            return Failed(CONNECT_FAILURE, problem)
        if not trial and destination.health.breaker.state == OPEN:  # since this request began to wait for its turn
            pool.release(connection)
            return Failed(CONNECT_FAILURE, Problem("upstream_circuit_open"))
        return connection


def failure(exc: BaseException, *, answered: bool) -> Failed | None:
    """What an exchange that raised comes to; None when it wasn't the destination's fault.

    :param answered: whether a byte of an answer came.
    """
    if isinstance(exc, StaleConnection):
        return Failed(STALE_CONNECTION, Problem("upstream_bad_response", CLOSED_EARLY))
    if isinstance(exc, Problem) and exc.code in REASONS:
        return Failed("" if answered else REASONS[exc.code], exc)
    return None


def judge(code: str, *, uploading: bool, fair: bool) -> int | None:
    """What a missing answer says of the destination; None for nothing.

    :param uploading: whether the request was still on its way: a backend may tire of a client that sends slowly.
    :param fair: whether the destination had the time that it may count on.
    """
    if code == "upstream_timeout":
        return FAILURE if fair else None
    return ERROR if code == "upstream_bad_response" and not uploading else None
