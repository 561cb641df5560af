"""Who takes part, and how each is configured: what a careful operator would write, on one core, connections kept.

A contender is a row of `CONTENDERS`; its `launch` writes its files into a folder and says how to start it. nginx relays
uploads as they come and never writes to disk, as all the others; its buffers are large, for with the default ones it
spends three times the CPU on a body. Access logs are off, but for those of the contenders that do the gateway's job;
theirs go to the standard output, which is dropped.
"""

from __future__ import annotations

import http.client
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import gateway, processes
from benchmarks.backend import nginx_config
from tests.ports import free_port

NGINX = """\
  upstream backend {{ server 127.0.0.1:{backend}; keepalive 100; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    client_max_body_size 0;
    client_body_buffer_size 256k;
    proxy_buffer_size 64k;
    proxy_buffers 8 256k;
    proxy_busy_buffers_size 512k;
    location / {{
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
    }}
  }}
"""
HAPROXY = """\
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  http-reuse always
  option http-no-delay
frontend front
  bind 127.0.0.1:{port} backlog 4096
  default_backend back
backend back
  server backend 127.0.0.1:{backend}
"""
CADDY = """\
{{
  admin off
  auto_https off
  {options}
}}
http://:{port} {{
  bind 127.0.0.1
  {job}
  reverse_proxy 127.0.0.1:{backend} {{
    transport http {{
      keepalive 90s
      keepalive_idle_conns 100
      keepalive_idle_conns_per_host 100
    }}
  }}
}}
"""
CADDY_SAME_JOB = """\
log {
    output stdout
    format json
  }
  encode gzip
  request_header X-Request-Id {http.request.uuid}
  header {
    X-Request-Id {http.request.uuid}
    Access-Control-Allow-Origin https://machineagents.ai
    Access-Control-Allow-Credentials true
    Vary Origin
  }
"""


@dataclass(frozen=True)
class Ports:
    """Where a contender listens, where its admin listener is (if it has one), where its backend is."""

    public: int
    admin: int
    backend: int


@dataclass(frozen=True)
class Launch:
    """A command with what it adds to the environment; `ready` is a path of the admin listener that turns 200.

    Each step of getting there may take `seconds`.
    """

    argv: list[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    ready: str | None = None
    seconds: float = processes.READY_SECONDS


@dataclass(frozen=True)
class Contender:
    """One proxy: its key, its name for people, the program it needs, and how it is started."""

    key: str
    title: str
    program: str
    launch: Callable[[Path, Ports], Launch]

    def missing(self) -> bool:
        """Whether its program is not installed here."""
        return shutil.which(self.program) is None


def _gateway(folder: Path, ports: Ports, *, guards: bool) -> Launch:
    gateway.write_table(folder / "config", ports.backend, guards)
    environ = gateway.environment(folder / "config", ports.public, ports.admin, guards)
    return Launch([sys.executable, "-m", "aiogateway", "serve"], environ, "/readyz")


def _bare_gateway(folder: Path, ports: Ports) -> Launch:
    return _gateway(folder, ports, guards=False)


def _guarded_gateway(folder: Path, ports: Ports) -> Launch:
    return _gateway(folder, ports, guards=True)


def _nginx(folder: Path, ports: Ports) -> Launch:
    config = nginx_config(folder, NGINX.format(port=ports.public, backend=ports.backend))
    return Launch(["nginx", "-e", "stderr", "-p", str(folder), "-c", str(config)])


def _haproxy(folder: Path, ports: Ports) -> Launch:
    config = folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(port=ports.public, backend=ports.backend))
    return Launch(["haproxy", "-db", "-f", str(config)])


def _caddy(folder: Path, ports: Ports, options: str, job: str) -> Launch:
    config = folder / "Caddyfile"
    config.write_text(CADDY.format(port=ports.public, backend=ports.backend, options=options, job=job))
    environ = {"GOMAXPROCS": "1", "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    return Launch(["caddy", "run", "--config", str(config), "--adapter", "caddyfile"], environ)


def _caddy_bare(folder: Path, ports: Ports) -> Launch:
    return _caddy(folder, ports, "", "")


def _caddy_same_job(folder: Path, ports: Ports) -> Launch:
    return _caddy(folder, ports, "servers {\n    metrics\n  }", CADDY_SAME_JOB)


def _starlette(folder: Path, ports: Ports) -> Launch:
    options = [
        "--host",
        "127.0.0.1",
        "--loop",
        "uvloop",
        "--no-access-log",
        "--log-level",
        "warning",
        "--timeout-keep-alive",
        "300",
    ]
    argv = [sys.executable, "-m", "uvicorn", "benchmarks.starlette_proxy:app", "--port", str(ports.public), *options]
    return Launch(argv, {"BENCH_BACKEND": f"http://127.0.0.1:{ports.backend}"})


CONTENDERS = {
    row.key: row
    for row in (
        Contender("guarded", "aiogateway", sys.executable, _guarded_gateway),
        Contender("gateway", "aiogateway, guards off", sys.executable, _bare_gateway),
        Contender("nginx", "nginx", "nginx", _nginx),
        Contender("haproxy", "HAProxy", "haproxy", _haproxy),
        Contender("caddy", "Caddy, bare", "caddy", _caddy_bare),
        Contender("caddy-same", "Caddy, same job", "caddy", _caddy_same_job),
        Contender("starlette", "Starlette + httpx", sys.executable, _starlette),
    )
}


@contextmanager
def started(contender: Contender, folder: Path, backend: int, core: str) -> Iterator[tuple[int, int]]:
    """Start a contender before the backend on port `backend`; gives its port and its pid once it is ready."""
    folder.mkdir(parents=True)
    ports = Ports(free_port(), free_port(), backend)
    launch = contender.launch(folder, ports)
    log = folder / "stderr.log"
    with processes.running(launch.argv, core, log, launch.environ) as pid:
        if launch.ready:
            processes.wait_for_port(ports.admin, pid, log, launch.seconds)
            _wait_until_ready(ports.admin, launch.ready, launch.seconds)
        processes.wait_for_port(ports.public, pid, log, launch.seconds)
        yield ports.public, pid


def _wait_until_ready(port: int, path: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", path)
            if connection.getresponse().status == http.client.OK:
                return
        connection.close()
        time.sleep(0.02)
    raise processes.BenchError(f"{path} of port {port} did not answer 200 in {seconds:.0f} s")
