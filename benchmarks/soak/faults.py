"""Figures of bad backends and bad clients."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from pathlib import Path
from typing import Final

from benchmarks.processes import REPOSITORY
from benchmarks.soak.clients import Ask, Client, Told, asking
from benchmarks.soak.deploys import until
from benchmarks.soak.programs import PATIENT, backend, gateway, write_table
from benchmarks.soak.verdicts import Figure, percentile
from tests.ports import free_port

UPSTREAMS: Final = 20
SLOW: Final = 2000
# Seconds below which a p99 says more of the measuring client than of the gateway.
LEAST: Final = 0.001
ANSWER: Final = Ask("GET", "/b/quick")


async def stale(folder: Path, *, quick: bool) -> list[Figure]:
    """A backend that closes kept-alive connections at random."""
    idempotent, posts = Told(), Told()
    with backend(folder, "--stale") as upstream:
        write_table(folder, {"b": f'url = "http://127.0.0.1:{upstream}", {PATIENT}'})
        with gateway(folder) as program:
            kinds = (Ask("GET", "/b/quick"), Ask("PUT", "/b/quick", 100))
            form = (Ask("POST", "/b/form", 100),)
            async with (
                asking(program.port, kinds, 16, idempotent),
                asking(program.port, form, 16, posts, numbers=itertools.count(), fine=(200, 502)),
            ):
                await asyncio.sleep(3 if quick else 20)
            repeated = program.metric("gateway_upstream_retries_total")
        twice = await _executed_twice(upstream)
    told, broken = f"{idempotent.asked} asked, {repeated:.0f} sent again", posts.statuses[502]
    return [
        Figure("stale: failed idempotent requests", idempotent.failed, 0, note=told),
        Figure("stale: failed POSTs, 502 aside", posts.failed, 0),
        Figure(
            "stale: POSTs executed twice",
            twice,
            0,
            note=f"{broken} of {posts.asked} were answered with 502",
        ),
    ]


async def _executed_twice(port: int) -> float:
    """How many numbered requests the backend saw more than once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /counted HTTP/1.1\r\nHost: soak\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    body = await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    writer.close()
    return float(body.partition(b'"twice": ')[2].partition(b"}")[0])


async def isolation(folder: Path, *, quick: bool) -> list[Figure]:
    """Twenty upstreams, one of them hung: the others' slowest answers, with it and without."""
    seconds, healthy, told = 2 if quick else 8, [f"u{number}" for number in range(UPSTREAMS - 1)], {}
    with backend(folder) as upstream:
        url = f'url = "http://127.0.0.1:{upstream}", {PATIENT}'
        write_table(folder, dict.fromkeys((*healthy, "hung"), url))
        kinds = tuple(Ask("GET", f"/{name}/quick") for name in healthy)
        with gateway(folder) as program:
            for name in ("without", "with", "without again"):
                told[name] = Told()
                async with contextlib.AsyncExitStack() as stack:
                    hung = asyncio.create_task(_ask_and_leave(program.port, 150 if name == "with" else 0))
                    stack.push_async_callback(_cancelled, hung)
                    await asyncio.sleep(0.5)
                    async with asking(program.port, kinds, 19, told[name], pause=lambda: 0.02):
                        await asyncio.sleep(seconds)
    p99 = {name: percentile(each.took, 0.99) for name, each in told.items()}
    least = max(min(p99["without"], p99["without again"]), LEAST)
    return [
        Figure(
            "isolation: p99 of 19 healthy upstreams with a hung one, over without",
            p99["with"] / least,
            2,
            "times",
            f"{1000 * p99['with']:.1f} ms over {1000 * least:.1f}",
        ),
        Figure("isolation: failed requests of the healthy", sum(each.failed for each in told.values()), 0),
    ]


async def _ask_and_leave(port: int, count: int) -> None:
    """Keep so many requests to the hung upstream waiting; those that are refused are sent again."""

    async def one() -> None:
        while True:
            client = Client(port, Told())
            try:
                await client.ask(Ask("GET", "/hung/hang"))
            finally:
                client.close()
            await asyncio.sleep(0.5)

    await asyncio.gather(*(one() for _ in range(count)))


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def slow(folder: Path, *, quick: bool) -> list[Figure]:
    """Thousands of clients that send their heads, or read their answers, a byte a second."""
    count = 200 if quick else SLOW
    idle, busy = Told(), Told()
    with backend(folder) as upstream:
        write_table(folder, {"b": f'url = "http://127.0.0.1:{upstream}", {PATIENT}'})
        with gateway(folder) as program:
            async with asking(program.port, (ANSWER,), 8, idle, pause=lambda: 0.02):
                await asyncio.sleep(2 if quick else 8)
            arguments = [str(program.port), str(count), str(count), "/b/large"]
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks.soak.slow_clients"),
                *arguments,
                stdout=asyncio.subprocess.PIPE,
                cwd=REPOSITORY,
            )
            try:
                assert process.stdout is not None
                await process.stdout.readline()
                await asyncio.sleep(2)
                async with asking(program.port, (ANSWER,), 8, busy, pause=lambda: 0.02):
                    await asyncio.sleep(2 if quick else 15)
                clients = program.metric("gateway_client_connections")
            finally:
                process.kill()
                await process.wait()
    p99 = {name: percentile(each.took, 0.99) for name, each in (("idle", idle), ("busy", busy))}
    return [
        Figure(
            "slow: p99 among slow clients, over idle",
            p99["busy"] / max(p99["idle"], LEAST),
            3,
            "times",
            f"{1000 * p99['busy']:.1f} ms over {1000 * p99['idle']:.1f}, {clients:.0f} clients connected",
        ),
        Figure("slow: failed requests", busy.failed + idle.failed, 0, note=str(dict(busy.wrong) or "")),
    ]


async def breaker(folder: Path, *, quick: bool) -> list[Figure]:
    """An open circuit: what an answer takes, and that the destination is left alone."""
    write_table(folder, {"b": f'url = "http://127.0.0.1:{free_port()}", eject_after = 3'})
    told = Told()
    with gateway(folder) as program:
        client = Client(program.port, Told())
        for _ in range(3):
            await client.ask(ANSWER, fine=(503,))
        await until(lambda: program.metric("gateway_circuit_breaker_state") == 2, 10, "the circuit opens")
        failures = program.metric("gateway_upstream_connect_failures_total")
        open_client = Client(program.port, told)
        for _ in range(100 if quick else 500):  # within its rest
            await open_client.ask(ANSWER, fine=(503,))
        open_client.close()
        client.close()
        touched = program.metric("gateway_upstream_connect_failures_total") - failures
    took = [1000 * seconds for seconds in told.took]
    return [
        Figure(
            "breaker: an answer of an open circuit, median",
            percentile(took, 0.5),
            1,
            "ms",
            f"p99 {percentile(took, 0.99):.2f} ms, as the client sees it",
        ),
        Figure("breaker: connections to the destination", touched, 0),
    ]
