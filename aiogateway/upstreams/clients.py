"""The clients of all upstreams: those at work, and those that a reload left behind with requests on their way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from aiogateway.deadlines import Deadlines
from aiogateway.metrics import Metrics
from aiogateway.routes import Upstream
from aiogateway.upstreams.client import LOOKUPS, UpstreamClient


class Clients:
    """:param metrics: count what becomes of requests over them.
    :ivar at_work: by name. A reload puts another mapping in its place: requests in flight look into theirs.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.at_work: Mapping[str, UpstreamClient] = {}
        self._metrics = metrics
        self._lookups = asyncio.Semaphore(LOOKUPS)
        self._retired: list[tuple[UpstreamClient, list[Callable[[], bool]]]] = []

    def following(self, upstreams: Mapping[str, Upstream], deadlines: Deadlines) -> dict[str, UpstreamClient]:
        """Clients for a table's upstreams: those at work that may go on with it, and new ones. Nothing changes yet.

        Made inside a running event loop.
        """
        return {name: self._following(name, upstream, deadlines) for name, upstream in upstreams.items()}

    def _following(self, name: str, upstream: Upstream, deadlines: Deadlines) -> UpstreamClient:
        at_work = self.at_work.get(name)
        if at_work is not None and at_work.goes_on_as(upstream):
            return at_work
        return UpstreamClient(upstream, deadlines, self._metrics, lookups=self._lookups)

    def follow(
        self,
        following: Mapping[str, UpstreamClient],
        upstreams: Mapping[str, Upstream],
        unanswered: Sequence[Callable[[], bool]] = (),
    ) -> None:
        """Have other clients at work. Those that go on keep their connections, others end what they do and close.

        :param following: made for these upstreams.
        :param unanswered: each says whether a request that goes by the old table has still no answer.
        """
        before, self.at_work = self.at_work, following
        for name, client in following.items():
            if before.get(name) is client:
                client.update(upstreams[name])
        for name, client in before.items():
            if following.get(name) is not client:
                client.retire()
                self._retired.append((client, list(unanswered)))

    async def discard(self, following: Mapping[str, UpstreamClient]) -> None:
        """Close what was made for a table that isn't taken."""
        for name, client in following.items():
            if self.at_work.get(name) is not client:
                await client.close()

    def sweep(self) -> None:
        """Look at idle connections."""
        for client in self.at_work.values():
            client.sweep()

    async def close_retired(self) -> None:
        """Close what nothing goes over any more, nor can."""
        for retired in list(self._retired):
            client, unanswered = retired
            unanswered[:] = [still for still in unanswered if still()]
            if client.quiet and not unanswered:
                await client.close()
                self._retired.remove(retired)

    async def close(self) -> None:
        """Close all, at once."""
        for client in (*self.at_work.values(), *(client for client, _ in self._retired)):
            await client.close()
