"""WebSockets: what an echoed message of 1 KiB costs the gateway and nginx, and what an idle socket takes of memory.

Both ends of the sockets are in this process, on the core that the proxies don't have, as thin as a protocol can be: a
frame that came whole is answered with one that was made before. Rounds of the two proxies alternate.

Run as `python -m benchmarks.websocket`; with `--check` exit 1 when a figure is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import uvloop

from benchmarks import gateway, processes
from benchmarks.backend import nginx_config
from tests.ports import free_port

SOCKETS: Final = (1, 32, 256)
IDLE: Final = 5000
ROUNDS: Final = 5
SECONDS: Final = 3.0
REST: Final = 1.0
OPENING: Final = 100
SHARE: Final = 0.5
MEMORY_MIB: Final = 300.0

PAYLOAD: Final = bytes(range(256)) * 4
# Masked with zeros, which leaves the payload as it is (RFC 6455 section 5.3).
ASKED: Final = b"\x82\xfe\x04\x00\0\0\0\0" + PAYLOAD
ANSWERED: Final = b"\x82\x7e\x04\x00" + PAYLOAD
HANDSHAKE: Final = (
    b"GET /live HTTP/1.1\r\nHost: gateway.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nUser-Agent: benchmark\r\n\r\n"
)
AGREED: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
HEAD_END: Final = b"\r\n\r\n"

ROUTES: Final = """
[[route]]
path = "/live"
upstream = "bench"
auth = "public"
rate_limit = "off"
websocket = true
"""
NGINX: Final = """\
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://127.0.0.1:{upstream};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      proxy_read_timeout 300s;
    }}
  }}
"""


class Echo(asyncio.Protocol):
    """The upstream's end of a socket."""

    def __init__(self) -> None:
        self._open = False
        self._seen = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not derived from it

    def data_received(self, data: bytes) -> None:
        if not self._open:
            self._open = data.endswith(HEAD_END)
            if self._open:
                self._transport.write(AGREED)
            return
        self._seen += len(data)
        whole, self._seen = divmod(self._seen, len(ASKED))
        if whole:
            self._transport.write(ANSWERED * whole)


class Asking(asyncio.Protocol):
    """The client's end of a socket: asks again as soon as it is answered, if it is to ask at all.

    :ivar opened: done once the socket is open.
    :ivar echoes: how many messages came back.
    """

    def __init__(self) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.echoes = 0
        self._seen = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        if not self.opened.done():
            if b" 101 " not in data or not data.endswith(HEAD_END):
                self.opened.set_exception(processes.BenchError(f"no socket was opened: {data[:200]!r}"))
            else:
                self.opened.set_result(None)
            return
        self._seen += len(data)
        whole, self._seen = divmod(self._seen, len(ANSWERED))
        if whole:
            self.echoes += whole
            self.transport.write(ASKED * whole)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(processes.BenchError("a connection was closed before its socket was opened"))

    def ask(self) -> None:
        self.transport.write(ASKED)


async def opened(port: int, count: int) -> list[Asking]:
    """So many open sockets."""
    loop = asyncio.get_running_loop()
    clients: list[Asking] = []
    while len(clients) < count:
        some = min(OPENING, count - len(clients))
        made = await asyncio.gather(*(loop.create_connection(Asking, "127.0.0.1", port) for _ in range(some)))
        clients += [client for _, client in made]
        await asyncio.gather(*(client.opened for client in clients[-some:]))
    return clients


async def cost(pid: int, port: int, count: int) -> float:
    """CPU µs of a message and its echo, over so many sockets."""
    clients = await opened(port, count)
    try:
        for client in clients:
            client.ask()
        await asyncio.sleep(REST)
        before, echoes = processes.cpu_seconds(pid), sum(client.echoes for client in clients)
        await asyncio.sleep(SECONDS)
        used = processes.cpu_seconds(pid) - before
        return used / (sum(client.echoes for client in clients) - echoes) * 1e6
    finally:
        for client in clients:
            client.transport.abort()


@contextlib.contextmanager
def proxies(folder: Path, upstream: int, core: str) -> Iterator[dict[str, tuple[int, int]]]:
    """The gateway and nginx before 127.0.0.1:`upstream`: process id and port of each by its name."""
    (folder / "table" / "routes").mkdir(parents=True)
    (folder / "table" / "upstreams.toml").write_text(f'[bench]\nurl = "http://127.0.0.1:{upstream}"\n')
    (folder / "table" / "routes" / "bench.toml").write_text(ROUTES)
    ports = {name: free_port() for name in ("gateway", "nginx")}
    environ = gateway.environment(folder / "table", ports["gateway"], free_port(), guards=False)
    environ |= {"GATEWAY_POOL_MAX_STREAMS": str(IDLE)}
    config = nginx_config(folder, NGINX.format(port=ports["nginx"], upstream=upstream))
    commands = {
        "gateway": [sys.executable, "-m", "aiogateway", "serve"],
        "nginx": ["nginx", "-e", "stderr", "-p", str(folder), "-c", str(config)],
    }
    with contextlib.ExitStack() as stack:
        found = {}
        for name, command in commands.items():
            log = folder / f"{name}.log"
            pid = stack.enter_context(processes.running(command, core, log, environ))
            processes.wait_for_port(ports[name], pid, log)
            found[name] = pid, ports[name]
        yield found


async def measure(folder: Path, core: str) -> bool:
    """Print the figures; whether all bounds are kept."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=4096)
    kept = True
    async with server:
        with proxies(folder, server.sockets[0].getsockname()[1], core) as found:
            for count in SOCKETS:
                costs: dict[str, list[float]] = {name: [] for name in found}
                for _ in range(ROUNDS):
                    for name, (pid, port) in found.items():
                        costs[name].append(await cost(pid, port, count))
                medians = {name: statistics.median(values) for name, values in costs.items()}
                share = medians["nginx"] / medians["gateway"]
                spread = [nginx / own for nginx, own in zip(costs["nginx"], costs["gateway"], strict=True)]
                kept = kept and share >= SHARE
                print(
                    f"echo of 1 KiB, {count:3} sockets: gateway {medians['gateway']:5.1f} µs of CPU, nginx "
                    f"{medians['nginx']:5.1f}; {share:.2f} of nginx's messages a CPU-second "
                    f"(rounds {min(spread):.2f}-{max(spread):.2f})"
                )
            pid, port = found["gateway"]
            before = processes.resident_mib(pid)
            clients = await opened(port, IDLE)
            await asyncio.sleep(REST)
            memory = processes.resident_mib(pid)
            print(f"{IDLE} idle sockets: gateway {memory:.0f} MiB, {(memory - before) * 1024 / IDLE:.1f} KiB each")
            kept = kept and memory <= MEMORY_MIB
            for client in clients:
                client.transport.abort()
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 when a figure is missed")
    wanted = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    own, others = processes.cores()
    os.sched_setaffinity(0, {int(core) for core in others.split(",")})
    with tempfile.TemporaryDirectory() as folder:
        kept = uvloop.run(measure(Path(folder), own))
    print(
        f"bounds: {SHARE} of nginx's messages a CPU-second, {MEMORY_MIB:.0f} MiB for {IDLE} idle sockets: "
        f"{'kept' if kept else 'missed'}"
    )
    return int(wanted.check and not kept)


if __name__ == "__main__":
    sys.exit(main())
