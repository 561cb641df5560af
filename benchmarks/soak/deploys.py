"""Figures of deploys: instances that stop, tables that change, workers that die."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Final

from benchmarks.processes import BenchError
from benchmarks.soak.clients import Ask, Client, Told, asking
from benchmarks.soak.programs import PATIENT, Balancer, Program, backend, balancing, gateway, write_table
from benchmarks.soak.verdicts import Figure

MIXED: Final = (
    Ask("GET", "/b/quick"),
    Ask("POST", "/b/form", 300),
    Ask("GET", "/b/quick"),
    Ask("POST", "/b/upload", 2 << 20),
    Ask("GET", "/b/slow"),
    Ask("GET", "/b/large"),
)
CONNECTIONS: Final = 200
# Seconds that a stopped instance gets to end.
ENDS: Final = 60.0


async def until(holds: object, seconds: float, what: str) -> None:
    """Wait until a function says yes.

    :raises BenchError: it did not in time.
    """
    assert callable(holds)
    for _ in range(int(seconds / 0.05)):
        if await asyncio.to_thread(holds):
            return
        await asyncio.sleep(0.05)
    raise BenchError(f"not within {seconds:.0f} s: {what}")


def pause() -> float:
    """Seconds between two requests of a client: 200 of them keep two cores busy enough."""
    return 0.1


async def drain(folder: Path, *, quick: bool) -> list[Figure]:
    """SIGTERM of one of two instances behind a plain TCP balancer, under 200 connections of mixed load."""
    rounds, told, balancer = 2 if quick else 10, Told(), Balancer()
    codes: list[int] = []
    with backend(folder) as upstream, contextlib.ExitStack() as stack:
        write_table(folder, {"b": f'url = "http://127.0.0.1:{upstream}", {PATIENT}'})

        def instance(number: int) -> Program:
            return stack.enter_context(gateway(folder, f"gateway-{number}", GATEWAY_DRAIN_DELAY="1"))

        balancer.behind = [instance(0), instance(1)]
        async with balancing(balancer) as port, asking(port, MIXED, CONNECTIONS, told, pause=pause):
            for number in range(rounds):
                await asyncio.sleep(1.0)
                going = balancer.behind[0]
                going.signal(signal.SIGTERM)
                await until(lambda going=going: going.process.poll() is not None, ENDS, "an instance ends")
                codes.append(going.process.returncode)
                new = await asyncio.to_thread(instance, number + 2)
                balancer.behind = [balancer.behind[1], new]
    return [
        Figure(
            "drain: failed requests",
            told.failed,
            0,
            note=f"{told.asked} in {rounds} stops, {told.repeated} repeated by clients; {dict(told.wrong) or ''}",
        ),
        Figure("drain: exit codes other than 0", sum(code != 0 for code in codes), 0),
    ]


async def reload(folder: Path, *, quick: bool) -> list[Figure]:
    """SIGHUP every second under load, with another table each time."""
    seconds, told = 5 if quick else 60, Told()
    with backend(folder) as upstream:
        plain = f'url = "http://127.0.0.1:{upstream}", {PATIENT}'
        tables = [{"b": plain}, {"b": plain + ', balance = "round_robin"', "more": plain}]
        write_table(folder, tables[0])
        with gateway(folder, GATEWAY_WORKERS="2") as program:
            async with asking(program.port, MIXED, 32, told, pause=lambda: 0.01):
                for number in range(seconds):
                    write_table(folder, tables[number % 2])
                    program.signal(signal.SIGHUP)
                    await asyncio.sleep(1.0)
            good = program.metric("gateway_config_last_reload_success")
    return [
        Figure(
            "reload: failed requests",
            told.failed,
            0,
            note=f"{told.asked} in {seconds} reloads {dict(told.wrong) or ''}",
        ),
        Figure("reload: sets that were not taken", 1 - good, 0),
    ]


async def workers(folder: Path, *, quick: bool) -> list[Figure]:
    """A worker of two killed every five seconds: only what was on its own connections may fail."""
    kills, told, fresh, victims = 2 if quick else 12, Told(), Told(), set[int]()
    with backend(folder) as upstream:
        write_table(folder, {"b": f'url = "http://127.0.0.1:{upstream}", {PATIENT}'})
        with gateway(folder, GATEWAY_WORKERS="2") as program:

            async def connect_anew() -> None:
                while True:
                    client = Client(program.port, fresh)
                    await client.ask(Ask("GET", "/b/quick"))
                    client.close()

            kinds = (Ask("POST", "/b/slow", 100), Ask("POST", "/b/form", 100))
            async with asking(program.port, kinds, 32, told, pause=lambda: 0.01):
                connecting = asyncio.create_task(connect_anew())
                for _ in range(kills):
                    await asyncio.sleep(1.0 if quick else 5.0)
                    victims |= await asyncio.to_thread(program.kill, min(program.workers))
                await asyncio.sleep(1.0)
                connecting.cancel()
                await asyncio.gather(connecting, return_exceptions=True)
    failed = told.failed + fresh.failed
    own = sum(port in victims for port in (*told.lost, *fresh.lost))
    refused = sum(times for what, times in fresh.wrong.items() if "Refused" in what)
    return [
        Figure(
            "workers: failures on other connections than a killed worker's",
            failed - own,
            0,
            note=f"{own} of {told.asked} on those, in {kills} kills {dict(told.wrong + fresh.wrong) or ''}",
        ),
        Figure("workers: connections refused", refused, 0, note=f"{fresh.asked} made"),
    ]
