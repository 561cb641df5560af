"""How long the event loop's callbacks take at most, under everything at once: no turn may hold up the others.

One worker with all of it on: tokens, limits, CORS, encoding, cache, spans, the access log to a pipe that is read. Its
load is mixed: small requests, forms, 300 KB answers in each coding, stored answers and misses, bodies of 50 MB up and
down, multipart, event streams of which all fall silent together, sockets, failing and slow upstreams, scrapes, the
dashboard's data, and a reload in the middle. CPU is counted, not time (`callback_clock`): others use these cores too.

Run as `python -m benchmarks.callbacks`; with `--check` exit 1 when a callback took longer than the bound.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import uvloop

from benchmarks import gateway, processes, traffic, websocket
from benchmarks.callback_clock import Span
from benchmarks.hall import Hall, listening
from benchmarks.soak.clients import Ask, Told, asking
from benchmarks.soak.programs import backend
from tests.ports import free_port

BOUND: Final = 0.010
STREAMS: Final = 2000
SOCKETS: Final = 50
# Seconds: between events of all streams, of silence until each gets a comment, between messages of a socket.
BURST: Final = 9.0
SILENCE: Final = 4
ECHO: Final = 0.5
# Seconds before what happens counts, and spans that are shown.
REST: Final = 3.0
SHOWN: Final = 12
# Services beside those that the load needs, between which the table's other routes are divided.
SERVICES: Final = 16
ADMIN: Final = ("upstreams", "failures", "pools", "routes", "config")

ROUTES: Final = """
auth = "required"
rate_limit = "1000000/second"
max_body = "1 GiB"
route = [
  { path = "/b/{rest:path}", upstream = "b", upstream_path = "/{rest}", timeout = "long" },
  { path = "/owned", upstream = "b", owner = "form:user_id", rate_limit_by = "form:user_id" },
  { path = "/parts", upstream = "b", owner = "form:user_id" },
  { path = "/stored", upstream = "b", upstream_path = "/fresh", auth = "public", cache = 1 },
  { path = "/stored-text", upstream = "b", upstream_path = "/text", auth = "public", cache = 1 },
  { path = "/hang", upstream = "b", upstream_path = "/hang", timeout = 0.5 },
  { path = "/dead", upstream = "dead" },
  { path = "/live", upstream = "hall", auth = "public" },
  { path = "/echo", upstream = "echo", auth = "public", websocket = true },
]
"""
PART: Final = (
    b'--x\r\nContent-Disposition: form-data; name="user_id"\r\n\r\nu-1042\r\n'
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\nContent-Type: application/pdf\r\n\r\n'
    + bytes(range(256)) * 2000
    + b"\r\n--x--\r\n"
)


def fields(content_type: str = "", **others: str) -> str:
    """The lines of a browser's head."""
    sent = traffic.browser_headers() | {name.replace("_", "-"): value for name, value in others.items()}
    sent |= {"Content-Type": content_type} if content_type else {}
    del sent["Host"]
    return "".join(f"{name}: {value}\r\n" for name, value in sent.items())


FORM: Final = fields(traffic.FORM_POST.content_type)
VISITOR: Final = "Accept-Encoding: gzip, br\r\n"
SMALL: Final = (
    Ask("GET", "/b/quick", fields=fields()),
    Ask("POST", "/owned", fields=FORM, body=traffic.FORM_POST.body),
    Ask("GET", "/none", fields=fields()),
    Ask("GET", "/b/slow", fields=fields()),
)
OTHERS: Final = [path for path, _, _ in gateway.table()]
WIDE: Final = tuple(Ask("GET", re.sub("{.*?}", "one", path), fields=fields()) for path in OTHERS)
TEXTS: Final = tuple(Ask("GET", "/b/text", fields=fields(Accept_Encoding=each)) for each in ("zstd", "br", "gzip"))
STORED: Final = tuple(
    Ask("GET", f"/stored{kind}?number={number}", fields=VISITOR) for number in range(40) for kind in ("", "", "-text")
)
BODIES: Final = (
    Ask("POST", "/b/upload", 50_000_000, fields("application/octet-stream")),
    Ask("GET", "/b/download", fields=fields()),
)
PARTS: Final = (Ask("POST", "/parts", fields=fields("multipart/form-data; boundary=x"), body=PART),)
ILL: Final = tuple(Ask("GET", path, fields=fields()) for path in ("/b/fail", "/hang", "/dead", "/b/events"))
FINE: Final = (200, 404, 503, 504)


class Socket(websocket.Asking):
    """The client's end of a socket that asks now and then."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is not derived from asyncio's
        self.transport.write(websocket.HANDSHAKE.replace(b"/live", b"/echo"))

    def data_received(self, data: bytes) -> None:
        wait = ECHO if self.opened.done() else 0
        asyncio.get_running_loop().call_later(wait, super().data_received, data)


@contextlib.contextmanager
def serving(folder: Path, ports: dict[str, int], core: str, workers: int) -> Iterator[tuple[int, int, int]]:
    """The gateway, in `folder`; its process id, its port and the admin listener's."""
    (folder / "table" / "routes").mkdir(parents=True)
    services = {f"s{number}": ports["b"] for number in range(SERVICES)}
    upstreams = "".join(f'[{name}]\nurl = "http://127.0.0.1:{port}"\n' for name, port in (ports | services).items())
    (folder / "table" / "upstreams.toml").write_text(upstreams)
    (folder / "table" / "routes" / "own.toml").write_text(ROUTES)
    others = "".join(
        f'[[route]]\npath = "{path}"\nupstream = "s{number % SERVICES}"\n' for number, path in enumerate(OTHERS)
    )
    (folder / "table" / "routes" / "other.toml").write_text(others)
    port, admin_port, log = free_port(), free_port(), folder / "gateway.log"
    environ = gateway.environment(folder / "table", port, admin_port, guards=True)
    environ |= {
        "GATEWAY_WORKERS": str(workers),
        "GATEWAY_POOL_MAX_STREAMS": str(2 * STREAMS),
        "GATEWAY_SSE_KEEPALIVE": str(SILENCE),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{ports['b']}",
    }
    command = [sys.executable, "-m", "benchmarks.callback_clock", str(folder), "serve"]
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as reader:
        assert reader.stdin is not None
        with processes.running(command, core, log, environ, reader.stdin.fileno()) as pid:
            processes.wait_for_port(port, pid, log)
            yield pid, port, admin_port


async def stream(hall: Hall) -> None:
    """Have all streams say something at once, and fall silent together; for ever."""
    while True:
        for source in hall.sources:
            source.send()
        await asyncio.sleep(BURST)
        hall.delays.clear()


async def look(port: int) -> None:
    """Scrape each second, and ask for what the dashboard and the documentation show."""

    def get(path: str) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as found:
            found.read()

    while True:
        for path in (*(f"/admin/{name}" for name in ADMIN), "/openapi.json"):
            await asyncio.to_thread(get, "/metrics")
            await asyncio.to_thread(get, path)
            await asyncio.sleep(1)


@contextlib.asynccontextmanager
async def loaded(hall: Hall, port: int, admin_port: int, told: Told) -> AsyncIterator[None]:
    """All of the load, for as long as the block lasts."""
    await hall.open(port, STREAMS)
    loop = asyncio.get_running_loop()
    sockets = [await loop.create_connection(Socket, "127.0.0.1", port) for _ in range(SOCKETS)]
    for _, socket in sockets:
        await socket.opened
        socket.ask()
    others = [asyncio.create_task(stream(hall)), asyncio.create_task(look(admin_port))]
    async with contextlib.AsyncExitStack() as stack:
        for kinds, count, pause in (
            *((SMALL, 24, 0.08), (WIDE, 4, 0.03), (TEXTS, 3, 0.3), (STORED, 4, 0.05)),
            *((BODIES, 2, 2.0), (PARTS, 2, 0.5), (ILL, 4, 0.1)),
        ):
            often = functools.partial(float, pause)
            await stack.enter_async_context(asking(port, kinds, count, told, fine=FINE, pause=often))
        yield
        for task in others:
            if task.done():
                task.result()
            task.cancel()
    for transport, _ in sockets:
        transport.abort()


async def measure(folder: Path, core: str, seconds: float, workers: int) -> tuple[float, float, Told]:
    """When what counts began and ended."""
    hall, told = Hall(), Told()
    loop = asyncio.get_running_loop()
    echo = await loop.create_server(websocket.Echo, "127.0.0.1", 0)
    async with listening(hall) as live, echo:
        with backend(folder) as plain:
            ports = {
                "b": plain,
                "dead": free_port(),
                "hall": live,
                "echo": echo.sockets[0].getsockname()[1],
            }
            with serving(folder, ports, core, workers) as (pid, port, admin_port):
                await asyncio.sleep(REST)
                began = time.monotonic()
                async with loaded(hall, port, admin_port, told):
                    await asyncio.sleep(seconds / 2)
                    with (folder / "table" / "upstreams.toml").open("a") as table:
                        table.write('[new]\nurl = "http://127.0.0.1:1"\n')
                    os.kill(pid, signal.SIGHUP)
                    await asyncio.sleep(seconds / 2)
                    return began, time.monotonic(), told


def report(folder: Path, began: float, ended: float, told: Told) -> bool:
    """Print the longest; whether the bound is kept."""
    spans, kept = list[Span](), True
    for path in folder.glob("[0-9]*.json"):
        found = json.loads(path.read_text())
        spans += [span for each in found["spans"] if began <= (span := Span(*each)).at <= ended]
        longest = "; ".join(f"{1e3 * took:.1f} ms {count} objects freed" for took, count in found["collected"])
        print(f"{found['callbacks']} callbacks; the longest collection of each generation: {longest}")
    spans.sort(key=lambda span: -span.cpu)
    print(f"{told.asked} requests, {told.failed} failed {dict(told.wrong) or ''}")
    for span in spans[:SHOWN]:
        collected = f", {1e3 * span.gc:.1f} of it the garbage collector" if span.gc else ""
        print(f"{1e3 * span.cpu:6.1f} ms at {span.at - began:5.1f} s: {span.what}{collected}\n          {span.stack}")
    kept = bool(told.asked) and (not spans or spans[0].cpu <= BOUND)
    print(f"bound: {1e3 * BOUND:.0f} ms of CPU for each; {sum(s.cpu > BOUND for s in spans)} took longer")
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="exit 1 when the bound is missed")
    wanted = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    own, others = processes.cores()
    os.sched_setaffinity(0, {int(core) for core in others.split(",")})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began, ended, told = uvloop.run(measure(folder, own, wanted.seconds, wanted.workers))
        if not list(folder.glob("[0-9]*.json")):
            raise processes.BenchError((folder / "gateway.log").read_text()[-1000:])
        kept = report(folder, began, ended, told)
    return int(wanted.check and not kept)


if __name__ == "__main__":
    sys.exit(main())
