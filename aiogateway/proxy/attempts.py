"""A request's attempts: which destination gets it, for how long, and whether another gets it too.

1. The upstream says which destination is next; one attempt is made there, and the destination's health is told.
2. What failed, or was answered with an error that the route repeats, may be sent again: `upstreams.retry` says what
   and how often. From the first that a service was asked, all together take no longer than the route's tier.
3. Where another destination could still be asked after a silent one, the first gets half of the time that is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from aiogateway.deadlines import Deadlines
from aiogateway.errors import Problem
from aiogateway.metrics import Metrics, families
from aiogateway.proxy.attempt import LEAST, Attempt, Failed
from aiogateway.proxy.exchange import Exchange
from aiogateway.proxy.outbound import Outbound
from aiogateway.proxy.request import Request
from aiogateway.upstreams.client import UpstreamClient
from aiogateway.upstreams.destination import Destination
from aiogateway.upstreams.retry import (
    CONNECT_FAILURE,
    FREE,
    IDEMPOTENT,
    MOST,
    STALE_CONNECTION,
    STATUSES,
    TIMEOUT,
    may_repeat,
)

# Seconds before the same destination is asked once more.
PAUSE: Final = 0.025


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
        self._attempt = Attempt(deadlines, idle=idle)

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
                        if not following.health.breaker.admits():
                            result = Failed("", Problem("upstream_circuit_open"))
                            break
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
        record = request.record
        before = record.destination, record.asked, record.headed
        try:
            result = await self._attempt(request, outbound, destination, patience, until=until, instead=answered)
        except Problem:
            if answered.over:
                raise
        except BaseException:
            answered.abort()
            raise
        else:
            if answered.over:
                return result
        record.destination, record.asked, record.headed = before
        return answered

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


def _reason(result: Exchange | Failed) -> str:
    """Why a request could be repeated; empty for no reason, as when hints were passed on already."""
    if isinstance(result, Failed):
        return result.reason
    return "" if result.hinted else STATUSES.get(result.message.code, "")
