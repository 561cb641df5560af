"""The queue of finished requests, and the thread that sends their spans.

Rules: the loop only appends, and never waits; what finds the queue full, or a collector that doesn't take it, is
counted and forgotten. One thread makes the spans and sends them. A collector's trouble is told once, until it is over.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, Final

import structlog

from aiogateway.proxy.request import Request
from aiogateway.settings import Settings
from aiogateway.spans.finished import Finished, asked, finished

if TYPE_CHECKING:
    from aiogateway.spans.collector import Collector

# Requests that may wait.
CAPACITY: Final = 4096
# Requests that are sent together. Making their spans keeps the loop from running for a few milliseconds at most.
BATCH: Final = 64
# Seconds between looks at the queue.
PERIOD: Final = 0.5
# Seconds that what waits may take to be sent at the end.
FLUSH: Final = 2.0

log = structlog.get_logger(__name__)


def spans_from(settings: Settings) -> Spans | None:
    """What sends spans; None when no collector is configured."""
    endpoint = settings.otel_exporter_otlp_endpoint
    return None if endpoint is None else Spans(endpoint)


class Spans:
    """Sends the spans of requests to a collector. `start` it after a fork, as its thread would not be there.

    :param endpoint: the collector's base URL (`OTEL_EXPORTER_OTLP_ENDPOINT`).
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._waiting: deque[Finished] = deque()
        self._dropped = 0  # by the loop
        self._failed = 0  # by the thread
        self._unwell = False
        self._stopping = threading.Event()
        self._given_up = False
        self._collector: Collector | None = None
        self._thread: threading.Thread | None = None

    @property
    def lost(self) -> int:
        """How many spans were dropped so far, or not taken by the collector."""
        return self._dropped + self._failed

    def start(self) -> None:
        """Start to send."""
        from aiogateway.spans.collector import Collector  # of the extra, and a third of a second

        self._collector = Collector(self._endpoint)
        self._thread = threading.Thread(target=self._run, args=(self._collector,), name="spans", daemon=True)
        self._thread.start()

    def finished(self, request: Request, now_wall: float) -> None:
        """Take note of a sampled request that is over.

        :param now_wall: Unix time in seconds at which it ended.
        """
        if len(self._waiting) < CAPACITY:
            self._waiting.append(finished(request, now_wall))
        else:
            self._dropped += 1 + asked(request.record)

    async def close(self) -> None:
        """Send what waits, within `FLUSH` seconds."""
        if self._thread is None or self._collector is None:
            return
        self._stopping.set()
        try:
            await asyncio.to_thread(self._thread.join, FLUSH)
        finally:
            self._given_up = True
            self._collector.close()

    def _run(self, collector: Collector) -> None:
        while not self._stopping.wait(PERIOD):
            self._send(collector)
        self._send(collector)

    def _send(self, collector: Collector) -> None:
        """Send what waits, batch by batch."""
        waiting = self._waiting
        while waiting and not self._given_up:
            batch = [waiting.popleft() for _ in range(min(BATCH, len(waiting)))]
            failure = collector.send(batch)
            if failure:
                self._failed += sum(1 + asked(each.record) for each in batch)
            if bool(failure) == self._unwell or self._given_up:
                continue
            self._unwell = bool(failure)
            if failure:
                log.warning("the collector takes no spans", reason=failure)
            else:
                log.info("the collector takes spans again", lost=self.lost)
