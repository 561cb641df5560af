"""A gateway with little patience, and exchanges too slow for it; the modules about timeouts share both.

The grace of the rates is 30 s and no setting: the slow upload and the slow download start with the first module that
uses this gateway, run beside all tests after it, and are judged in `test_rates`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from .harness import PATIENT, Backend, Gateway, Response, reply, request, running, write_table

SHORT, MEDIUM, IDLE, STREAM_IDLE, HEAD, KEEPALIVE = 0.5, 3.0, 1.0, 2.5, 0.6, 0.8
LATE = 2.5
"""Seconds by which an end may come late on a busy machine."""
MIB = 1 << 20

ROUTES = """
auth = "public"
rate_limit = "off"
upstream = "main"
max_body = "1 GiB"
[[route]]
path = "/b/{rest:path}"
[[route]]
path = "/medium/{rest:path}"
timeout = "medium"
[[route]]
path = "/own/{rest:path}"
timeout = 1.5
[[route]]
path = "/narrow/{rest:path}"
upstream = "narrow"
timeout = "medium"
[[route]]
path = "/full/{rest:path}"
upstream = "full"
timeout = "medium"
[[route]]
path = "/deaf/{rest:path}"
upstream = "deaf"
"""


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """A port whose backlog is full: connections to it are never made."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


@contextlib.contextmanager
def hasty_gateway(folder: Path, backend: Backend, unheard: int) -> Iterator[Gateway]:
    """The gateway. `unheard` is a port on which connections are never made."""
    names = ("main", "narrow", "full")
    upstreams = "".join(f'{name} = {{ url = "{backend.url}", {PATIENT} }}\n' for name in names)
    upstreams += f'deaf = {{ url = "http://127.0.0.1:{unheard}", {PATIENT} }}\n'
    with running(
        write_table(folder, upstreams, ROUTES),
        GATEWAY_TIMEOUT_SHORT=str(SHORT),
        GATEWAY_TIMEOUT_MEDIUM=str(MEDIUM),
        GATEWAY_IDLE_TIMEOUT=str(IDLE),
        GATEWAY_STREAM_IDLE_TIMEOUT=str(STREAM_IDLE),
        GATEWAY_HEADER_TIMEOUT=str(HEAD),
        GATEWAY_KEEPALIVE_TIMEOUT=str(KEEPALIVE),
        GATEWAY_UPLOAD_MIN_RATE="1 MiB",
        GATEWAY_DOWNLOAD_MIN_RATE="1 GiB",
        GATEWAY_POOL_NARROW_MAX_CONNECTIONS="1",
        GATEWAY_POOL_NARROW_ACQUIRE_TIMEOUT="0.4",
        GATEWAY_POOL_FULL_MAX_CONNECTIONS="1",
        GATEWAY_POOL_FULL_MAX_PENDING="1",
        GATEWAY_POOL_FULL_ACQUIRE_TIMEOUT="20",
        GATEWAY_POOL_DEAF_CONNECT_TIMEOUT="0.5",
    ) as gateway:
        yield gateway


class Slow:
    """Exchanges below the minimum rates, each in a thread of its own that started with the module."""

    def __init__(self, gateway: Gateway, backend: Backend) -> None:
        self.started = time.monotonic()
        self.upload: Response | None = None
        self.uploaded = 0.0
        self.download_complete = True
        self._stop = threading.Event()
        upload_path = backend.serve(reply(), under="/b")
        self.download_path = backend.serve(reply(200, bytes(64 * MIB)), under="/b")
        self._threads = [
            threading.Thread(target=self._send_slowly, args=(gateway, upload_path)),
            threading.Thread(target=self._read_slowly, args=(gateway, self.download_path)),
        ]
        for thread in self._threads:
            thread.start()

    def _send_slowly(self, gateway: Gateway, path: str) -> None:
        with gateway.client() as client:
            client.send(request("POST", path, f"Content-Length: {100 * MIB}"))
            while client.silent(0.2) and not self._stop.is_set() and client.push(bytes(1000)):
                pass
            if not self._stop.is_set():
                self.upload, self.uploaded = client.read(), time.monotonic() - self.started

    def _read_slowly(self, gateway: Gateway, path: str) -> None:
        with gateway.client(window=4096) as client:
            client.send(request("GET", path))
            head = client.head()
            while not self._stop.wait(0.5):
                with contextlib.suppress(ConnectionError):
                    client.sock.recv(64)
            self.download_complete = client.body_of(head).complete

    def stop(self) -> None:
        """End both, whatever became of them."""
        self._stop.set()
        for thread in self._threads:
            thread.join(20)
