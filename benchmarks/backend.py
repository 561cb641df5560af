"""The two backends: nginx with fixed answers for the load generator, our own protocol for bodies and event streams.

Both run for the whole run on the load's cores; idle, they cost nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes
from benchmarks.traffic import LARGE_ANSWER_BYTES, SMALL_ANSWER
from tests.ports import free_port

NGINX_SHARED = """\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
{user}
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 300;
{servers}
}}
"""

ANSWERS = """\
  default_type application/json;
  sendfile on;
  tcp_nopush on;
  open_file_cache max=10;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    root {folder}/files;
    location / {{ return 200 '{small}'; }}
    location /v2/get-response-3dchatbot/ {{ try_files /large.json =404; }}
  }}
"""


@dataclass(frozen=True)
class Backends:
    """The ports of the running backends."""

    answers: int
    stream: int


def nginx_config(folder: Path, servers: str) -> Path:
    """Write a whole nginx configuration around `servers` into `folder`, which holds all its files; gives its path."""
    user = "user root;" if os.geteuid() == 0 else ""  # else its worker may not read a private folder
    path = folder / "nginx.conf"
    path.write_text(NGINX_SHARED.format(folder=folder, user=user, servers=servers))
    return path


def large_answer() -> bytes:
    """JSON as a 3D answer is: base64-like audio and mouth cues, `LARGE_ANSWER_BYTES` long."""
    cues = [{"start": n * 0.08, "end": n * 0.08 + 0.08, "value": "ABCDEFGX"[n * 5 % 8]} for n in range(900)]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    empty = json.dumps({"text": "Hello.", "mouthCues": cues, "audio": ""})
    audio = "".join(alphabet[n * n * 7919 % 61] for n in range(LARGE_ANSWER_BYTES - len(empty)))
    return json.dumps({"text": "Hello.", "mouthCues": cues, "audio": audio}).encode()


@contextlib.contextmanager
def backends(folder: Path, core: str) -> Iterator[Backends]:
    """Start both in `folder` on `core`, for as long as the block lasts."""
    ports = Backends(free_port(), free_port())
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "large.json").write_bytes(large_answer())
    servers = ANSWERS.format(port=ports.answers, folder=folder, small=SMALL_ANSWER.decode())
    commands = {
        ports.answers: ["nginx", "-e", "stderr", "-p", str(folder), "-c", str(nginx_config(folder, servers))],
        ports.stream: [sys.executable, "-m", "benchmarks.stream_backend", str(ports.stream)],
    }
    with contextlib.ExitStack() as stack:
        for port, argv in commands.items():
            log = folder / f"{port}.log"
            pid = stack.enter_context(processes.running(argv, core, log))
            processes.wait_for_port(port, pid, log)
        yield ports
