"""What a stored answer costs beside one that is fetched, and what many who ask for a stale one cost the upstream.

One gateway, two routes of one backend, the same load on each in turn: the quotient of CPU a request is what counts.

Run as `python -m benchmarks.caching`; with `--check` exit 1 when a figure is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks import gateway, load, processes
from benchmarks.backend import backends
from benchmarks.traffic import SMALL_ANSWER, Request
from tests.ports import free_port

ROUNDS: Final = 5
SECONDS: Final = 4
CONNECTIONS: Final = 32
HIT_OF_PROXIED: Final = 0.60
CLIENTS: Final = 1000
# Seconds that the upstream takes to say that a stale answer is good still.
VALIDATION: Final = 1.0

ROUTES: Final = """
upstream = "bench"
auth = "public"
rate_limit = "off"

[[route]]
path = "/proxied"

[[route]]
path = "/v2/get-response-3dchatbot/{rest:path}"

[[route]]
path = "/cached"
cache = 3600
"""


class Visitor(Request):
    """A request of somebody without an account: what is stored of others' is for nobody else."""

    def headers(self) -> dict[str, str]:
        return {name: value for name, value in super().headers().items() if name not in ("Authorization", "Cookie")}


@contextlib.contextmanager
def serving(folder: Path, backend: int, core: str) -> Iterator[tuple[int, int]]:
    """Run a gateway in `folder` before 127.0.0.1:`backend`; its process id and its port."""
    (folder / "table" / "routes").mkdir(parents=True)
    (folder / "table" / "upstreams.toml").write_text(f'[bench]\nurl = "http://127.0.0.1:{backend}"\n')
    (folder / "table" / "routes" / "bench.toml").write_text(ROUTES)
    port, admin_port, log = free_port(), free_port(), folder / "gateway.log"
    environ = gateway.environment(folder / "table", port, admin_port, guards=False)
    with processes.running([sys.executable, "-m", "aiogateway", "serve"], core, log, environ) as pid:
        processes.wait_for_port(port, pid, log)
        yield pid, port


def cpu_us(pid: int, port: int, path: str, folder: Path, core: str) -> float:
    """Microseconds of the gateway's CPU that a request costs under load."""
    lua = folder / "load.lua"
    lua.write_text(load.script(Visitor("GET", path)))
    load.run(port, lua, CONNECTIONS, 1, core)
    processes.settle(pid)
    before = processes.cpu_seconds(pid)
    answered = load.run(port, lua, CONNECTIONS, SECONDS, core).requests
    return (processes.cpu_seconds(pid) - before) / answered * 1e6


def hits(folder: Path) -> float:
    """What a hit costs of what a proxied request does: the median of the rounds' quotients."""
    ours, theirs = processes.cores()
    quotients = []
    with backends(folder / "backends", theirs) as ports, serving(folder, ports.answers, ours) as (pid, port):
        for number in range(ROUNDS):
            proxied, hit = (cpu_us(pid, port, path, folder, theirs) for path in ("/proxied", "/cached"))
            print(f"round {number + 1}: proxied {proxied:6.1f} µs, hit {hit:6.1f} µs: {hit / proxied:.2f}")
            quotients.append(hit / proxied)
    return statistics.median(quotients)


async def stampede(folder: Path) -> int:
    """How often the upstream is asked when many ask for one stale answer at once."""
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        with contextlib.suppress(asyncio.IncompleteReadError), contextlib.closing(writer):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b"if-none-match" in head.lower():
                    asked += 1
                    await asyncio.sleep(VALIDATION)
                    writer.write(b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nCache-Control: max-age=3600\r\n\r\n')
                else:
                    fields = b'ETag: "1"\r\nCache-Control: max-age=0\r\n'
                    writer.write(
                        b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (fields, len(SMALL_ANSWER), SMALL_ANSWER)
                    )

    async def ask(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /cached HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n")
        found = await reader.read()
        writer.close()
        return found

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        backend = server.sockets[0].getsockname()[1]
        with serving(folder, backend, processes.cores()[0]) as (_, port):
            await ask(port)
            answers = await asyncio.gather(*(ask(port) for _ in range(CLIENTS)))
        await asyncio.sleep(0)  # the gateway is gone, and with it the connections that the server waits for
    if not all(each.startswith(b"HTTP/1.1 200 ") and each.endswith(SMALL_ANSWER) for each in answers):
        raise processes.BenchError("a client got something else")
    return asked


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 when a figure is missed")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        quotient = hits(Path(folder, "hits"))
        asked = asyncio.run(stampede(Path(folder, "stampede")))
    print(f"a hit costs {quotient:.2f} of a proxied request's CPU (bound: {HIT_OF_PROXIED})")
    print(f"{CLIENTS} clients asking for one stale answer at once: {asked} upstream request(s) (bound: 1)")
    return int(wanted.check and (quotient > HIT_OF_PROXIED or asked > 1))


if __name__ == "__main__":
    sys.exit(main())
