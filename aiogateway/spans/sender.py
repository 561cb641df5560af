"""The queue of finished requests, and the thread that sends their spans.

Rules: the loop only appends, and never waits; what finds the queue full, or a collector that doesn't take it, is
counted and forgotten. One thread makes the spans and sends them, and does nothing else: counts and log lines are the
loop's. A collector's trouble is told once, until it is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING, Final

import structlog

from aiogateway.proxy.request import Request
from aiogateway.settings import Settings
from aiogateway.spans.finished import Finished, finished, spans_in

if TYPE_CHECKING:
    from aiogateway.spans.collector import Collector

# Requests that may wait.
CAPACITY: Final = 4096
# Requests that are sent together. Making their spans keeps the loop from running for two milliseconds at most.
BATCH: Final = 32
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
    :param period: seconds between looks at the queue.
    :ivar lost: spans that were dropped, or not taken by the collector.
    """

    def __init__(self, endpoint: str, *, period: float = PERIOD) -> None:
        self.lost = 0
        self._endpoint = endpoint
        self._period = period
        self._waiting: deque[Finished] = deque()
        self._unwell = False
        self._stopping = threading.Event()
        self._given_up = False
        self._collector: Collector | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start to send. Call it inside an event loop."""
        from aiogateway.spans.collector import Collector  # of the extra, and a third of a second

        loop = asyncio.get_running_loop()
        self._collector = Collector(self._endpoint)
        self._thread = threading.Thread(target=self._run, args=(self._collector, loop), name="spans", daemon=True)
        self._thread.start()

    def finished(self, request: Request, now_wall: float) -> None:
        """Take note of a sampled request that is over.

        :param now_wall: Unix time in seconds at which it ended.
        """
        if len(self._waiting) < CAPACITY:
            self._waiting.append(finished(request, now_wall))
        else:
            self.lost += spans_in(request.record)

    async def close(self) -> None:
        """Send what waits, within `FLUSH` seconds."""
        if self._thread is None or self._collector is None or self._given_up:
            return
        self._stopping.set()
        try:
            await asyncio.to_thread(self._thread.join, FLUSH)
        finally:
            self._given_up = True
            self._collector.close()

    def _told(self, failure: str, count: int) -> None:
        """What became of some spans, told by the thread; here, on the loop, it is counted and logged."""
        if failure:
            self.lost += count
        if bool(failure) == self._unwell:
            return
        self._unwell = bool(failure)
        if failure:
            log.warning("the collector takes no spans", reason=failure)
        else:
            log.info("the collector takes spans again", lost=self.lost)

    def _run(self, collector: Collector, loop: asyncio.AbstractEventLoop) -> None:
        while not self._stopping.wait(self._period):
            self._send(collector, loop)
        self._send(collector, loop)

    def _send(self, collector: Collector, loop: asyncio.AbstractEventLoop) -> None:
        """Send what waits, batch by batch."""
        waiting = self._waiting
        while waiting and not self._given_up:
            batch = [waiting.popleft() for _ in range(min(BATCH, len(waiting)))]
            failure = collector.send(batch)
            count = sum(spans_in(each.record) for each in batch)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waited for this
                loop.call_soon_threadsafe(self._told, failure, count)
