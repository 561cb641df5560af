"""The programs of a soak: gateways, backends, and a plain TCP balancer, each on free ports of 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.processes import PROC, READY_SECONDS, REPOSITORY, BenchError, state, tree
from tests.ports import free_port

KEYS: Final = 'auth = "public"\nrate_limit = "off"\nmax_body = "1 GiB"\n'
# Keys of an upstream that is never given up.
PATIENT: Final = "eject_after = 1000, eject_rate = 1.0"
# Seconds between a balancer's looks at readiness.
POLL: Final = 0.2


def write_table(folder: Path, upstreams: Mapping[str, str], route: str = "") -> None:
    """A table with a route `/<name>/<path>` to `<path>` for each upstream.

    :param upstreams: the keys of each, as TOML, by its name.
    :param route: more keys of every route.
    """
    (folder / "routes").mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{name} = {{ {keys} }}\n" for name, keys in upstreams.items())
    entries = "".join(
        f'[[route]]\npath = "/{name}/{{rest:path}}"\nupstream = "{name}"\nupstream_path = "/{{rest}}"\n{route}\n'
        for name in upstreams
    )
    for path, text in ((folder / "upstreams.toml", lines), (folder / "routes" / "soak.toml", KEYS + entries)):
        new = path.with_suffix(".new")  # read at any moment, whole
        new.write_text(text)
        new.replace(path)


@dataclass
class Program:
    """:ivar output: the file that it writes to."""

    process: subprocess.Popen[bytes]
    port: int
    admin_port: int
    output: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, number: int, pid: int | None = None) -> None:
        os.kill(self.pid if pid is None else pid, number)

    @property
    def workers(self) -> list[int]:
        return [pid for pid in tree(self.pid) if pid != self.pid]

    def is_ready(self) -> bool:
        """Whether it says that it wants requests."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/readyz", timeout=2) as found:
                return bool(found.status == 200)
        except OSError:
            return False

    def metric(self, name: str) -> float:
        """The sum over all series of a family that the name begins."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=10) as found:
            text = found.read().decode()
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))

    def kill(self, pid: int) -> set[int]:
        """End one of its processes by SIGKILL; the ports of the clients whose connections that one held.

        It is stopped first, so that it takes no more while it is looked at: those in the listener's queue are
        another worker's.
        """
        self.signal(signal.SIGSTOP, pid)
        while state(pid) not in "TZX":
            time.sleep(0.001)
        held = clients_of(pid, self.port)
        self.signal(signal.SIGKILL, pid)
        return held

    def resident(self) -> float:
        """MiB of the program and its workers."""
        pages = sum(int((PROC / str(pid) / "statm").read_text().split()[1]) for pid in tree(self.pid))
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)

    def descriptors(self) -> int:
        return sum(len(os.listdir(PROC / str(pid) / "fd")) for pid in tree(self.pid))


def clients_of(pid: int, port: int) -> set[int]:
    """The other ends' ports of a process' established connections to a local port (proc(5))."""
    rows = [line.split() for line in (PROC / "net" / "tcp").read_text().splitlines()[1:]]
    peers = {
        f"socket:[{row[9]}]": int(row[2].rpartition(":")[2], 16)
        for row in rows
        if int(row[1].rpartition(":")[2], 16) == port
    }
    found = set[int]()
    for descriptor in (PROC / str(pid) / "fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(peers.get(os.readlink(descriptor), 0))
    return found - {0}


def _start(argv: Sequence[str], output: Path, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with output.open("ab") as sink:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd=REPOSITORY,
            env={**os.environ, **environ},
            start_new_session=True,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def gateway(folder: Path, name: str = "gateway", port: int | None = None, **settings: str) -> Iterator[Program]:
    """A gateway by the table in `folder`, for as long as the block lasts; it may have ended by itself before."""
    public, admin = port or free_port(), free_port()
    environ = {
        "GATEWAY_CONFIG": str(folder),
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(public),
        "GATEWAY_ADMIN_PORT": str(admin),
        "GATEWAY_AUTH_MODE": "off",
        "GATEWAY_LOG_LEVEL": "warning",
        "GATEWAY_DRAIN_DELAY": "1",
        **settings,
    }
    output = folder / f"{name}.log"
    process = _start([sys.executable, "-m", "aiogateway", "serve"], output, environ)
    program = Program(process, public, admin, output)
    try:
        end = time.monotonic() + READY_SECONDS
        while not program.is_ready():
            if process.poll() is not None or time.monotonic() > end:
                raise BenchError(f"the gateway did not start: {output.read_text()[-500:]}")
            time.sleep(0.05)
        yield program
    finally:
        _end(process)


@contextlib.contextmanager
def backend(folder: Path, *options: str) -> Iterator[int]:
    """A backend of the soak's own; gives its port."""
    port = free_port()
    process = _start(
        [sys.executable, "-m", "benchmarks.soak.backend", str(port), *options], folder / f"backend-{port}.log", {}
    )
    try:
        end = time.monotonic() + READY_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if time.monotonic() > end:
                raise BenchError("a backend did not start")
            time.sleep(0.02)
        yield port
    finally:
        _end(process)


class Balancer:
    """Spreads connections over gateways that say they are ready; knows nothing of HTTP."""

    def __init__(self) -> None:
        self.behind: list[Program] = []
        self._ready: list[Program] = []
        self._turn = 0
        self._splicing: set[asyncio.Task[None]] = set()

    async def look(self) -> None:
        """Ask all for their readiness, for ever."""
        while True:
            behind = tuple(self.behind)
            found = await asyncio.gather(*(asyncio.to_thread(Program.is_ready, each) for each in behind))
            self._ready = [each for each, ready in zip(behind, found, strict=True) if ready]
            await asyncio.sleep(POLL)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a client's connection."""
        task = asyncio.create_task(self._hold(reader, writer))
        self._splicing.add(task)
        task.add_done_callback(self._splicing.discard)

    async def end(self) -> None:
        """End every connection."""
        for task in self._splicing:
            task.cancel()
        await asyncio.gather(*self._splicing, return_exceptions=True)

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection, spliced to one of a gateway's; a gateway that refuses is passed over."""
        for _ in range(2 * len(self.behind) + 1):
            among = self._ready or self.behind
            self._turn += 1
            try:
                there = await asyncio.open_connection("127.0.0.1", among[self._turn % len(among)].port)
                break
            except OSError:
                await asyncio.sleep(0.01)
        else:
            writer.close()
            return
        await asyncio.gather(_splice(reader, there[1]), _splice(there[0], writer))


async def _splice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except (ConnectionError, RuntimeError):
        writer.transport.abort()


@contextlib.asynccontextmanager
async def balancing(balancer: Balancer) -> AsyncIterator[int]:
    """Run a balancer; gives its port."""
    looking = asyncio.create_task(balancer.look())
    server = await asyncio.start_server(balancer.accept, "127.0.0.1", 0, backlog=1024)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        server.close()
        await balancer.end()
