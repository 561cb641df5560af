"""One upstream at work: its session, its destinations, and which of them is asked next.

Sessions open when the worker starts and close when it stops or the upstream is taken out of the table, never per
request. Every choice is made synchronously.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Final

import structlog
from yarl import URL

from aiogateway.deadlines import Deadlines
from aiogateway.errors import Problem
from aiogateway.metrics import Metrics, families
from aiogateway.routes import Upstream
from aiogateway.upstreams.balancer import BALANCERS, Balancer, LeastRequests
from aiogateway.upstreams.connecting import tls_context
from aiogateway.upstreams.connector import open_session
from aiogateway.upstreams.destination import Destination, Site
from aiogateway.upstreams.retry import Budget
from aiogateway.upstreams.watch import follow, is_name, probe

log = structlog.get_logger(__name__)

# Names that may be looked up at once, beside those of who connects.
LOOKUPS: Final = 2


class UpstreamClient:
    """Requests to one upstream, over the pools of its destinations.

    Made inside a running event loop; `close` ends what it opened.

    :param chance: numbers in [0, 1).
    :param lookups: how many names of all clients may be looked up at once.
    :ivar destinations: may be replaced by others when the table is read again.
    :ivar budget: of retries.
    """

    def __init__(
        self,
        upstream: Upstream,
        deadlines: Deadlines,
        metrics: Metrics,
        chance: Callable[[], float] = random.random,
        lookups: asyncio.Semaphore | None = None,
    ) -> None:
        self.upstream = upstream
        self.overflows = metrics.count(families.OVERFLOW, upstream.name)
        self.budget = Budget(deadlines.clock)
        self.exhausted = metrics.count(families.RETRY_BUDGET, upstream.name)
        self._clock = deadlines.clock
        self._lookups = lookups or asyncio.Semaphore(LOOKUPS)
        self._site = Site(upstream, tls_context(upstream), open_session(), deadlines, metrics, self.overflows)
        self._chance = chance
        self._balancer = BALANCERS[upstream.balance](chance)
        self._for_others = LeastRequests(chance)  # a second choice must not use up a turn
        self.destinations: tuple[Destination, ...] = tuple(map(self._destination, upstream.urls))
        self._removed: list[Destination] = []
        self._watching: list[asyncio.Task[None]] = []
        self._watch()

    def _destination(self, url: str) -> Destination:
        return Destination(url, self._site, self._may_eject)

    def _may_eject(self, destination: Destination) -> bool:
        return any(other.health.available for other in self.destinations if other is not destination)

    def _watch(self) -> None:
        for destination in self.destinations:
            if is_name(URL(destination.url).host or ""):
                self._watch_by(follow(destination, self._clock, self._lookups))
            if self.upstream.health_path is not None:
                self._watch_by(probe(self._site, destination))

    def _watch_by(self, watching: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(watching)
        task.add_done_callback(self._watch_ended)
        self._watching.append(task)

    def _watch_ended(self, task: asyncio.Task[None]) -> None:
        """Tell of one that ended by a fault of ours: nobody would notice otherwise."""
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.error("a destination is watched no more", upstream=self.upstream.name, exc_info=exc)

    def choose(self) -> Destination:
        """The destination to ask first.

        :raises Problem: `upstream_circuit_open`.
        """
        destinations = self.destinations
        if len(destinations) == 1 and destinations[0].health.breaker.admits():
            return destinations[0]
        found = self._best(destinations, self._balancer)
        if found is not None:
            return found
        wait = min(each.health.breaker.wait() for each in destinations)
        raise Problem(
            "upstream_circuit_open",
            f"the {self.upstream.name} service is failing and rests",
            headers=(("Retry-After", str(max(math.ceil(wait), 1))),),
        )

    def other(self, tried: Sequence[Destination]) -> Destination | None:
        """The destination to ask after those; None when there is none."""
        return self._best([each for each in self.destinations if each not in tried], self._for_others)

    def _best(self, among: Sequence[Destination], balancer: Balancer) -> Destination | None:
        """One that is well, else any whose circuit lets a request pass."""
        candidates = [each for each in among if each.health.available]
        candidates = candidates or [each for each in among if each.health.breaker.admits()]
        return balancer.choose(candidates) if candidates else None

    def sweep(self) -> None:
        """Take note that time has passed; called a few times a second."""
        self.budget.sweep()
        for destination in self.destinations:
            destination.pool.sweep()
            destination.health.sweep()

    def goes_on_as(self, upstream: Upstream) -> bool:
        """Whether `update` will do for another description of the same upstream; other TLS takes a new client."""
        before = self.upstream
        return (upstream.authorities, upstream.server_name) == (before.authorities, before.server_name)

    def update(self, upstream: Upstream) -> None:
        """Go on by another description of the same upstream. Destinations that remain keep their connections.

        :param upstream: for which `goes_on_as` said yes.
        """
        before, self.upstream = self.upstream, upstream
        self._site = replace(self._site, upstream=upstream)
        if upstream.balance != before.balance:
            self._balancer = BALANCERS[upstream.balance](self._chance)
        kept = {destination.url: destination for destination in self.destinations}
        self.destinations = tuple(kept.pop(url) if url in kept else self._destination(url) for url in upstream.urls)
        for removed in kept.values():
            removed.pool.close()
        for destination in self.destinations:
            destination.pool.limits = upstream.pool
            destination.pool.resized()
            destination.health.follow(upstream)
            if upstream.health_path is None:
                destination.health.probed = True  # nobody would ever say so
        self._removed = [each for each in (*self._removed, *kept.values()) if each.pool.busy]
        if _watched(upstream) != _watched(before):
            self._stop_watching()
            self._watch()

    def _stop_watching(self) -> None:
        self._watching = [task for task in self._watching if not task.done()]
        for task in self._watching:
            task.cancel()

    @property
    def quiet(self) -> bool:
        """Whether nothing is on its way over it."""
        return not any(destination.pool.busy for destination in (*self.destinations, *self._removed))

    def retire(self) -> None:
        """No new requests come: close what is idle, and the rest as it is given back."""
        self._stop_watching()
        for destination in self.destinations:
            destination.pool.close()

    async def close(self) -> None:
        """End what was opened, at once."""
        self.retire()
        await asyncio.gather(*self._watching, return_exceptions=True)
        await self._site.session.close()


def _watched(upstream: Upstream) -> tuple[object, ...]:
    """What the watching tasks go by."""
    return upstream.urls, upstream.health_path, upstream.health_interval, upstream.health_timeout
