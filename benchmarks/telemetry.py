"""What it costs to name, count and log one request, and to be scraped: `python -m benchmarks.telemetry`.

Bounds: 10 µs of CPU a request, all together; a scrape of 200 busy routes 50 ms, and no turn of the loop over 5 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

import orjson
from aiohttp.http_parser import HttpRequestParser

from aiogateway.access_log import AccessLog
from aiogateway.metrics import Metrics, exposition, families
from aiogateway.middlewares.request_id import maker, request_id
from aiogateway.middlewares.tracing import tracing
from aiogateway.proxy.head import Heads
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response
from aiogateway.telemetry import Telemetry

TIMES: Final = 20_000
ROUNDS: Final = 7
HEAD: Final = (
    b"GET /v2/chatbots/one?user_id=u1&page=2 HTTP/1.1\r\nHost: a\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0 Safari/537\r\n\r\n"
)


class Client:
    """The connection that a request came on, as far as the log asks."""

    peer = "192.0.2.1"
    trusted_peer = False


def cost(work: Callable[[], None]) -> float:
    """CPU in µs a call takes, at best."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(TIMES):
            work()
        best = min(best, time.process_time() - began)
    return best / TIMES * 1e6


def main() -> None:
    async def ok(request: Request) -> Response:
        return Response(200, [])

    async def measure() -> None:
        loop = asyncio.get_running_loop()
        protocol: object = asyncio.Protocol()
        ((message, payload),) = HttpRequestParser(protocol, loop, 2**16).feed_data(HEAD)[0]  # type: ignore[arg-type]
        request = Request(message, payload, Client(), Heads().of(message, None))  # type: ignore[arg-type]
        named, plain = request_id(tracing(ok, sample=False), maker()), ok

        def through(handler: Callable[[Request], object]) -> Callable[[], None]:
            def once() -> None:
                request.due.clear()
                with contextlib.suppress(StopIteration):
                    handler(request).send(None)  # type: ignore[attr-defined]

            return once

        through(named)()
        record = request.record
        record.route, record.upstream, record.destination = "/v2/chatbots/{name}", "b", "http://127.0.0.1:8005"
        record.status, record.attempts = 200, 1
        record.asked, record.headed = record.started + 1e-4, record.started + 1e-3
        kept: list[bytes] = []
        log = AccessLog(kept.append, "json")
        telemetry = Telemetry(Metrics(), ["b"], None, None)

        def logged() -> None:
            log.log(request)
            kept.clear()

        parts = {
            "request id and trace": cost(through(named)) - cost(through(plain)),
            "metrics": cost(lambda: telemetry.finished(request)),
            "log line": cost(logged),
        }
        for name, micros in parts.items():
            print(f"{name:24}{micros:6.2f} µs")
        print(f"{'together':24}{sum(parts.values()):6.2f} µs (bound: 10)")

    asyncio.run(measure())
    took, longest = min(asyncio.run(scrape()) for _ in range(ROUNDS))
    print(
        f"{'scrape of 200 routes':24}{took * 1e3:6.1f} ms (bound: 50), longest turn {longest * 1e3:.1f} ms (bound: 5)"
    )


async def scrape() -> tuple[float, float]:
    """Seconds of CPU that a scrape takes, and the longest that it keeps the loop at a stretch: two workers, 200 routes
    with two statuses each, twenty upstreams."""
    metrics = Metrics()
    for number in range(200):
        for status in ("200", "404"):
            metrics.tally(families.SERVER_DURATION, "GET", f"/v2/some-endpoint-{number}", status, "").observe(0.1)
    for number in range(20):
        metrics.tally(families.QUEUE, f"upstream-{number}").observe(0.1)
        metrics.tally(families.CLIENT_DURATION, f"upstream-{number}", "200", "").observe(0.1)
    other = orjson.loads(orjson.dumps(metrics.snapshot()))
    longest, last = 0.0, time.process_time()

    async def watch() -> None:
        nonlocal longest, last
        while True:
            now = time.process_time()
            longest, last = max(longest, now - last), now
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    longest, began = 0.0, time.process_time()
    await exposition([metrics.snapshot(), other], [metrics.snapshot(), other])
    took = time.process_time() - began
    watching.cancel()
    return took, longest


if __name__ == "__main__":
    main()
