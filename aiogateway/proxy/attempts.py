"""A request's attempts: which destination gets it, for how long, and whether another gets it too.

1. The upstream says which destination is next; one attempt is made there, and the destination's health is told.
2. What failed, or was answered with an error that the route repeats, may be sent again: `upstreams.retry` says what
   and how often, and all attempts together take no longer than the route's tier.
3. Where another destination could still be asked after a silent one, the first gets half of the time that is left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from aiogateway.deadlines import Deadlines
from aiogateway.errors import Problem
from aiogateway.metrics import Metrics, families
from aiogateway.proxy.exchange import Exchange, StaleConnection
from aiogateway.proxy.outbound import Outbound
from aiogateway.proxy.request import Request
from aiogateway.upstreams.client import UpstreamClient
from aiogateway.upstreams.destination import Destination
from aiogateway.upstreams.health import ERROR, FAILURE, outcome_of
from aiogateway.upstreams.retry import (
    CONNECT_FAILURE,
    FREE,
    IDEMPOTENT,
    MOST,
    NO_ANSWER,
    STALE_CONNECTION,
    STATUSES,
    TIMEOUT,
    may_repeat,
)

# What an upstream did, by the code of the problem it led to; no other problem is its fault.
REASONS: Final = {
    "upstream_unreachable": CONNECT_FAILURE,
    "upstream_tls": CONNECT_FAILURE,
    "upstream_timeout": TIMEOUT,
    "upstream_bad_response": NO_ANSWER,
}
# Seconds before the same destination is asked once more.
PAUSE: Final = 0.025
# Seconds without which another attempt is not worth beginning.
LEAST: Final = 0.01


class Failed(NamedTuple):
    """An attempt without an answer.

    :ivar reason: for which the request could be repeated; empty when it must not be.
    :ivar problem: what the client is told if it is not.
    """

    reason: str
    problem: Problem


class Attempts:
    """:param clients: the upstreams at work, by name.
    :param metrics: counts what is sent again.
    :param idle: seconds of silence allowed in the middle of a body.
    """

    def __init__(
        self, clients: Mapping[str, UpstreamClient], deadlines: Deadlines, metrics: Metrics, *, idle: float
    ) -> None:
        self._clients = clients
        self._deadlines = deadlines
        self._metrics = metrics
        self._idle = idle

    async def send(self, request: Request, outbound: Outbound) -> Exchange:
        """An exchange past its answer's head.

        :raises Problem: what kept the last attempt from an answer, or the request from being sent at all.
        """
        route = request.route
        client = self._clients[route.upstream.name]
        client.budget.requests += 1
        until = self._deadlines.clock() + route.timeout
        destination = client.choose()
        patience = route.timeout
        if route.retry is True and self._could_turn(request, outbound, client, (destination,)):
            patience /= 2
        result = await self._attempt(request, outbound, destination, patience)
        if isinstance(result, Exchange) and (route.retry is not True or result.message.code not in STATUSES):
            return result
        return await self._repeat(request, outbound, client, destination, result, until)

    async def _repeat(
        self,
        request: Request,
        outbound: Outbound,
        client: UpstreamClient,
        destination: Destination,
        result: Exchange | Failed,
        until: float,
    ) -> Exchange:
        """Try again for as long as there is a reason to and it may be done.

        :param until: when the time for it is over.
        """
        tried, again = [destination], list[str]()
        outcome = "failure"
        try:
            while reason := _reason(result):
                unsent = reason == CONNECT_FAILURE and FREE.issuperset(again)
                if unsent:  # the tier is the service's time to answer, and none was asked yet
                    until = self._deadlines.clock() + request.route.timeout
                following = self._following(request, outbound, client, tried, again, reason, until)
                if following is None:
                    break
                again.append(reason)
                patience = self._patience(request, outbound, client, (*tried, following), until)
                bound = None if unsent else until
                if isinstance(result, Exchange) and following not in tried:
                    result = await self._turn(request, outbound, following, patience, until, result)
                else:
                    if isinstance(result, Exchange):
                        result.abort()
                    if reason not in FREE:
                        await asyncio.sleep(PAUSE)
                    fresh = reason == STALE_CONNECTION
                    result = await self._attempt(request, outbound, following, patience, fresh=fresh, until=bound)
                tried.append(following)
            if isinstance(result, Failed):
                raise result.problem
            outcome = "failure" if result.message.code in STATUSES else "success"
            return result
        finally:
            for reason in again:
                self._metrics.count(families.RETRIES, client.upstream.name, reason, outcome).events += 1

    async def _turn(
        self,
        request: Request,
        outbound: Outbound,
        destination: Destination,
        patience: float,
        until: float,
        answered: Exchange,
    ) -> Exchange | Failed:
        """An attempt elsewhere. The answer there was is kept until that has a connection, and given if it gets none."""
        try:
            result = await self._attempt(request, outbound, destination, patience, until=until, instead=answered)
        except Problem:
            if answered.over:
                raise
            return answered
        except BaseException:
            answered.abort()
            raise
        return result if answered.over else answered

    def _following(
        self,
        request: Request,
        outbound: Outbound,
        client: UpstreamClient,
        tried: list[Destination],
        again: list[str],
        reason: str,
        until: float,
    ) -> Destination | None:
        """Who gets the request now; None when that is nobody.

        :param tried: the destinations so far.
        :param again: the reasons so far.
        """
        at_hand = outbound.rest is None
        if not may_repeat(reason, policy=request.route.retry, idempotent=request.method in IDEMPOTENT, at_hand=at_hand):
            return None
        if until - self._deadlines.clock() < LEAST:
            return None
        same = tried[-1] if tried[-1].health.breaker.admits() else None
        if reason == STALE_CONNECTION:
            return None if reason in again else same or client.other(tried)
        other = client.other(tried)
        if reason == CONNECT_FAILURE:
            return other
        following = other if reason == TIMEOUT else other or same
        if following is None or len(again) - sum(map(again.count, FREE)) >= MOST:
            return None
        if not client.budget.take():
            client.exhausted.events += 1
            return None
        return following

    def _patience(
        self,
        request: Request,
        outbound: Outbound,
        client: UpstreamClient,
        tried: Sequence[Destination],
        until: float,
    ) -> float:
        """Seconds that another attempt gets for its answer's head."""
        if outbound.rest is not None:  # the tier is counted from the request's last byte
            return request.route.timeout
        left = until - self._deadlines.clock()
        return left / 2 if self._could_turn(request, outbound, client, tried) else left

    def _could_turn(
        self, request: Request, outbound: Outbound, client: UpstreamClient, tried: Sequence[Destination]
    ) -> bool:
        """Whether a destination that is not among those could be asked after a silent one."""
        return (
            len(client.destinations) > 1
            and may_repeat(
                TIMEOUT,
                policy=request.route.retry,
                idempotent=request.method in IDEMPOTENT,
                at_hand=outbound.rest is None,
            )
            and any(each.health.available for each in client.destinations if each not in tried)
        )

    async def _attempt(
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
        """One attempt at one destination.

        :param patience: seconds to wait for the answer's head.
        :param fresh: whether a kept connection has just proved closed.
        :param until: when all has to be over, getting a connection too; None for no such bound.
        :param instead: given up once there is a connection.
        :raises Problem: what was not the destination's fault.
        """
        record, pool, health = request.record, destination.pool, destination.health
        record.attempts += 1
        record.destination = destination.url
        record.asked = record.headed = 0.0
        exchange: Exchange | None = None
        outcome: int | None = None
        trial, complete = health.breaker.enter(), False
        try:
            if until is None:
                connection = (None if fresh else pool.take()) or await pool.acquire(record, fresh=fresh)
            else:
                async with asyncio.timeout_at(until):
                    connection = await pool.acquire(record, fresh=fresh)
                patience = min(patience, max(until - self._deadlines.clock(), LEAST))
            if instead is not None:
                instead.abort()
            record.asked = time.monotonic()
            exchange = Exchange(
                pool, connection, self._deadlines, timeout=patience, idle=self._idle, broke_off=health.broke_off
            )
            await exchange.send(
                outbound.data_for(request.method, destination),
                outbound.rest,
                chunked=outbound.chunked,
                bodiless=request.method == "HEAD",
                interim=request.early_hints,
            )
            outcome = outcome_of(exchange.message.code)
            complete = True
            record.headed = time.monotonic()
            return exchange
        except TimeoutError:
            return Failed("", Problem("upstream_timeout", "no other destination took the request in time"))
        except StaleConnection:
            return Failed(
                STALE_CONNECTION,
                Problem("upstream_bad_response", "the service closed the connection as the request was sent"),
            )
        except Problem as problem:
            if problem.code not in REASONS:
                raise
            if problem.code != "upstream_bad_response":
                outcome = FAILURE
            elif exchange is None or not exchange.uploading:  # a backend may tire of a client that sends slowly
                outcome = ERROR
            begun = exchange is not None and exchange.answered
            return Failed("" if begun else REASONS[problem.code], problem)
        finally:
            if exchange is not None and not complete:
                exchange.abort()
            if outcome is not None:
                health.ended(outcome, trial=trial)
            elif trial:
                health.breaker.leave(trial)


def _reason(result: Exchange | Failed) -> str:
    """Why a request could be repeated; empty for no reason, as when hints were passed on already."""
    if isinstance(result, Failed):
        return result.reason
    return "" if result.hinted else STATUSES.get(result.message.code, "")
