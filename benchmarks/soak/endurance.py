"""Figures of a long time under mixed load."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Final

from benchmarks.soak.clients import Ask, Told, asking
from benchmarks.soak.programs import PATIENT, backend, gateway, write_table
from benchmarks.soak.verdicts import Figure, faults_in, halves_grew

KINDS: Final = (
    Ask("GET", "/b/quick"),
    Ask("POST", "/b/form", 300),
    Ask("GET", "/b/large"),
    Ask("POST", "/b/upload", 1 << 20),
    Ask("GET", "/b/fail"),
    Ask("GET", "/b/events"),
    Ask("GET", "/none"),
    Ask("GET", "/b/slow"),
)
# Seconds between samples.
SAMPLE: Final = 1.0


async def _aborting(port: int) -> None:
    """Leave in the middle of answers and of uploads, again and again."""
    while True:
        for start in (b"GET /b/slow HTTP/1.1\r\nHost: soak\r\n\r\n", b"POST /b/upload HTTP/1.1\r\nHost: soak\r\n"):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(
                    start if start.endswith(b"\r\n\r\n") else start + b"Content-Length: 500000\r\n\r\n" + b"x" * 99999
                )
                await asyncio.sleep(0.05)
                writer.transport.abort()


async def soak(folder: Path, *, seconds: float) -> list[Figure]:
    """Mixed load: answers of all kinds, uploads, event streams, errors, clients that leave."""
    told, memory, descriptors = Told(), list[float](), list[int]()
    with backend(folder) as upstream:
        write_table(folder, {"b": f'url = "http://127.0.0.1:{upstream}", {PATIENT}'}, 'timeout = "long"')
        with gateway(folder) as program:
            async with asking(program.port, KINDS, 48, told, fine=(200, 404, 503), pause=lambda: 0.02):
                aborting = asyncio.create_task(_aborting(program.port))
                end = time.monotonic() + seconds
                await asyncio.sleep(min(10.0, seconds / 4))  # buffers and pools have their size by then
                while time.monotonic() < end:
                    memory.append(program.resident())
                    descriptors.append(program.descriptors())
                    await asyncio.sleep(SAMPLE)
                aborting.cancel()
                await asyncio.gather(aborting, return_exceptions=True)
            faults = faults_in(program.output.read_text(errors="replace"))
    middle = len(descriptors) // 2
    return [
        Figure(
            "soak: memory of the last half over the first",
            100 * halves_grew(memory),
            2,
            "%",
            f"{memory[0]:.0f} MiB at first, {memory[-1]:.0f} at last, {told.asked} requests in {seconds:.0f} s",
        ),
        Figure("soak: descriptors that were added", max(descriptors[middle:]) - max(descriptors[:middle]), 20),
        Figure("soak: failed requests", told.failed, 0, note=str(dict(told.wrong) or "")),
        Figure("soak: faults in the log", len(faults), 0, note="; ".join(faults[:2])[:200]),
    ]
