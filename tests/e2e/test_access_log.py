"""One line a request on standard output, whatever became of the request and of who reads the log."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from .harness import Backend, Gateway, Peer, eventually, free_port, reply, request, running, write_table
from .harness.gateway import PROJECT, environment

backend_waits = threading.Event()
TABLE = 'auth = "public"\nupstream = "b"\n[[route]]\npath = "/b/{rest:path}"\n'


def folder(at: Path, backend: Backend) -> Path:
    return write_table(at / "table", f'[b]\nurl = "{backend.url}"\n', TABLE)


@pytest.fixture(scope="module")
def logging(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(folder(tmp_path_factory.mktemp("logging"), backend)) as gateway:
        yield gateway


def lines(gateway: Gateway) -> list[dict[str, Any]]:
    """The lines about requests, whole ones."""
    whole = gateway.log.read_bytes().rpartition(b"\n")[0].splitlines()
    return [line for line in map(orjson.loads, whole) if line["event"] == "request"]


def line_of(gateway: Gateway, request_id: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        return next((line for line in lines(gateway) if line["request_id"] == request_id), None)

    eventually(found, f"a line about {request_id}")
    line = found()
    assert line is not None and sum(line["request_id"] == request_id for line in lines(gateway)) == 1
    return line


def test_a_request_that_went_well_has_its_line(logging: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, b"x" * 1000))
    fields = ("X-Request-ID: well-1", "User-Agent: tests", "Cookie: c=secret", "Authorization: Bearer eyJsecret")
    trace = "0af7651916cd43dd8448eb211c80319c"
    logging.send(
        "POST", f"{path}?token=secret&a=1", *fields, f"traceparent: 00-{trace}-b7ad6b7169203331-01", body=b"abc"
    )
    line = line_of(logging, "well-1")
    expected = {
        "trace_id": trace,
        "client": "127.0.0.1",
        "user": None,
        "method": "POST",
        "path": f"{path}?token=&a=",
        "route": "/b/{rest:path}",
        "status": 200,
        "code": None,
        "flags": "",
        "upstream": "b",
        "destination": backend.url,
        "attempts": 1,
        "cache": None,
        "bytes_in": 3,
        "bytes_out": 1000,
        "ended_by": "upstream",
        "user_agent": "tests",
    }
    assert {key: line[key] for key in expected} == expected
    assert 0 < line["ttfb"] <= line["upstream_time"] <= line["duration"] < 5
    assert "secret" not in logging.output


def test_clients_that_leave_have_their_lines(logging: Gateway, backend: Backend) -> None:
    def silent(peer: Peer) -> None:
        peer.left()
        peer.close()

    path = backend.serve(silent)
    with logging.client() as client:
        client.send(request("GET", path, "X-Request-ID: left-waiting"))
        backend.wait_for(path)
    with logging.client() as client:
        client.send(request("POST", path, "X-Request-ID: left-sending", "Content-Length: 9") + b"part")
    for name in ("left-waiting", "left-sending"):
        line = line_of(logging, name)
        assert (line["status"], line["flags"], line["ended_by"]) == (499, "DC", "client")
    assert line_of(logging, "left-sending")["bytes_in"] == 4


def test_what_cannot_be_parsed_has_its_line(logging: Gateway) -> None:
    answer = logging.ask(b"GET / HTTP/1.1\r\n\x1b[31mbad\r\n\r\n")
    line = line_of(logging, answer.value("x-request-id") or "")
    assert (line["status"], line["flags"], line["route"]) == (400, "DPE", "unmatched")


@pytest.mark.parametrize(
    "field",
    [
        "X-Request-ID: a b",
        "X-Request-ID: " + "a" * 129,
        'X-Request-ID: "}{"',
        "X-Request-ID: \x9b31m",
        "X-Request-ID: é",
    ],
)
def test_a_hostile_request_id_is_replaced(logging: Gateway, field: str) -> None:
    answer = logging.send("GET", "/nothing", field, "User-Agent: \x9b31m\xe2\x80\xae")
    given = answer.value("x-request-id") or ""
    assert given.isalnum() and line_of(logging, given)["status"] == 404
    assert "\x9b" not in logging.output and "\x1b" not in logging.output


def test_a_drain_that_ends_a_request_is_told(backend: Backend, tmp_path: Path) -> None:
    path = backend.serve(lambda peer: peer.wait(backend_waits))
    with running(folder(tmp_path, backend), GATEWAY_DRAIN_TIMEOUT="0") as gateway:
        with gateway.client() as client:
            client.send(request("GET", path, "X-Request-ID: drained"))
            backend.wait_for(path)
            gateway.process.send_signal(signal.SIGTERM)
            client.hung_up()
        gateway.process.wait(20)
        line = line_of(gateway, "drained")
        assert (line["flags"], line["ended_by"], line["code"]) == ("OM", "gateway", "draining")
    backend_waits.set()


def test_above_information_no_request_has_a_line(backend: Backend, tmp_path: Path) -> None:
    with running(folder(tmp_path, backend), GATEWAY_LOG_LEVEL="warning") as gateway:
        gateway.get("/nothing")
        gateway.stop()
        assert "request_id" not in gateway.output


def test_text_is_for_people(backend: Backend, tmp_path: Path) -> None:
    with running(folder(tmp_path, backend), GATEWAY_LOG_FORMAT="text") as gateway:
        gateway.send("GET", "/nothing?a=1", "X-Request-ID: text-1")
        eventually(lambda: "text-1" in gateway.output, "the line is written")
        (line,) = [line for line in gateway.output.splitlines() if "text-1" in line]
    assert "404" in line and "GET /nothing?a=" in line and "NR" in line


def test_a_log_that_nobody_reads_holds_no_request_up(backend: Backend, tmp_path: Path) -> None:
    """The pipe fills up, then so does what may wait; requests go on, and the lines that are lost are counted."""
    backend.serve(reply(), at="/b/unread")
    port, admin_port = free_port(), free_port()
    settings = {"GATEWAY_CONFIG": str(folder(tmp_path, backend))}
    process = subprocess.Popen(
        [sys.executable, "-m", "aiogateway", "serve"],
        env=environment(port, admin_port, settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=PROJECT,
    )
    gateway = Gateway(process, port, admin_port, tmp_path / "none")
    try:
        eventually(lambda: listens(admin_port), "the gateway listens", within=20)
        long = "/b/unread/" + "a" * 700
        with gateway.client(timeout=30) as client:
            for _ in range(60):
                client.send(request("GET", long) * 100)
                assert {client.read().status for _ in range(100)} == {200}
        text = gateway.admin("/metrics").data.decode()
        (lost,) = [line for line in text.splitlines() if line.startswith("gateway_log_lines_lost_total")]
        assert float(lost.split()[1]) > 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, "nor does it hold the end up"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
