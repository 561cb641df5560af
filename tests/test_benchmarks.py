"""The benchmark's own parts: what it reads from wrk and /proc, how it compares rounds, what it reports and draws."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import jwt
import pytest

from benchmarks import (
    autobahn,
    callbacks,
    figures,
    instructions,
    load,
    machine,
    picture,
    processes,
    references,
    report,
    scenarios,
    streams,
    traffic,
    websocket,
)
from benchmarks.__main__ import options
from benchmarks.backend import large_answer
from benchmarks.callback_clock import Span
from benchmarks.contenders import CONTENDERS
from benchmarks.gateway import table
from benchmarks.results import Ref, Results, Sample
from benchmarks.soak.clients import Told
from benchmarks.stream_backend import Connection
from tests.clock import eventually
from tests.ports import free_port

WRK_OUTPUT = """\
Running 1s test @ http://127.0.0.1:40000/
  1 threads and 32 connections
  49197 requests in 1.00s, 9.10MB read
Requests/sec:  49147.17

RESULT {"requests": 49197, "microseconds": 1001014, "p50": 570, "p99": 1206, "failed": 3}
"""
MACHINE: machine.Machine = {
    "date": "2026-01-02T03:04:05Z",
    "cpu": "A processor",
    "cores": 2,
    "kernel": "6.1",
    "load": 0.1,
    "versions": {"python": "3.11.7", "nginx": "1.22.1"},
}
SPINNER = """\
import subprocess, sys, time
spin = "import time\\nwhile time.process_time() < 0.4: pass"
subprocess.run([sys.executable, "-c", spin])
held = bytearray(64 * 2**20)
print("ready", flush=True)
sys.stdin.readline()
"""


def sample(turn: int, contender: str, cpu: float) -> Sample:
    return Sample(turn, "get-32", contender, {"cpu_us": cpu, "rps": 1000.0, "p50_ms": 1.0, "p99_ms": 2.0})


@pytest.fixture
def results() -> Results:
    """Two rounds, the second on a machine twice as slow; one contender failed."""
    return Results(
        [
            sample(1, "guarded", 80),
            sample(1, "nginx", 20),
            sample(1, "caddy", 100),
            sample(2, "guarded", 176),
            sample(2, "nginx", 40),
            sample(2, "caddy", 200),
            Sample(2, "get-32", "starlette", {}, "nothing listens on port 1"),
        ]
    )


def test_the_result_that_the_script_prints_is_read_in_full() -> None:
    assert load.parse(WRK_OUTPUT) == load.Load(49197, 3, 1.001014, 0.570, 1.206)


@pytest.mark.parametrize(
    "output",
    ["unable to connect to 127.0.0.1:1 Connection refused", WRK_OUTPUT.replace('"requests": 49197', '"requests": 0')],
    ids=["no result", "no request"],
)
def test_a_run_without_requests_is_a_fault(output: str) -> None:
    with pytest.raises(processes.BenchError):
        load.parse(output)


def test_the_script_quotes_what_lua_would_read() -> None:
    lua = load.script(traffic.Request("POST", "/it's", rb"back\slash", "text/plain"))
    assert r"wrk.path = '/it\'s'" in lua
    assert r"wrk.body = 'back\\slash'" in lua
    assert "wrk.headers['Content-Type'] = 'text/plain'" in lua


def test_requests_look_like_a_browser_s_with_a_token_that_verifies() -> None:
    scheme, token = traffic.browser_headers()["Authorization"].split(" ")
    claims = jwt.decode(token, traffic.SECRET, algorithms=["HS256"])
    assert (scheme, claims["sub"]) == ("Bearer", "u-1042")
    head = traffic.FORM_POST.head()
    assert head.endswith(b"Content-Length: %d\r\n\r\n" % len(traffic.FORM_POST.body))
    assert len(traffic.SMALL_ANSWER) == 54


def test_the_large_answer_is_json_of_the_size_it_is_called() -> None:
    body = large_answer()
    assert len(body) == traffic.LARGE_ANSWER_BYTES
    assert json.loads(body)["mouthCues"]


@pytest.mark.parametrize("count", [150, 1000])
def test_the_table_has_distinct_routes_and_the_benchmarked_ones_in_the_middle(count: int) -> None:
    paths = [path for path, _, _ in table(count)]
    assert len(set(paths)) == len(paths) == count
    assert count * 0.4 < paths.index(traffic.FORM) < count * 0.6


def test_cpu_of_a_child_that_ended_and_peak_memory_are_counted() -> None:
    with subprocess.Popen([sys.executable, "-c", SPINNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        memory = processes.MemoryGrowth(process.pid)
        assert process.stdout.readline() == b"ready\n"
        assert processes.cpu_seconds(process.pid) >= 0.4
        assert process.pid in processes.tree(os.getpid())
        assert 60 < memory.peak_mib() < 200
        process.stdin.close()


def test_what_was_started_ends_with_its_children(tmp_path: Path) -> None:
    core, _ = processes.cores()
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    with processes.running([sys.executable, "-c", child], core, tmp_path / "log") as pid:
        deadline = time.monotonic() + 10
        while len(family := processes.tree(pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(family) == 2
    while (left := [pid for pid in family if processes.state(pid) not in "ZX"]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left == []


def test_a_program_that_does_not_come_up_is_a_fault_with_its_last_words(tmp_path: Path) -> None:
    core, _ = processes.cores()
    log = tmp_path / "log"
    failing = [sys.executable, "-c", "import sys; sys.exit('no such table')"]
    with (
        processes.running(failing, core, log) as pid,
        pytest.raises(processes.BenchError, match="no such table"),
    ):
        processes.wait_for_port(free_port(), pid, log)


def test_ratios_are_taken_within_a_round(results: Results) -> None:
    ratio = results.ratio(Ref("get-32", "guarded", "cpu_us"), Ref("get-32", "nginx", "cpu_us"))
    assert ratio is not None
    assert (ratio.median, ratio.low, ratio.high) == pytest.approx((4.2, 4.0, 4.4))
    assert results.ratio(Ref("get-32", "starlette", "cpu_us"), Ref("get-32", "nginx", "cpu_us")) is None


def test_a_figure_is_met_missed_or_not_measured(results: Results) -> None:
    ours, nginx = Ref("get-32", "guarded", "cpu_us"), Ref("get-32", "nginx", "cpu_us")
    asked = [
        figures.Figure("met", ours, 4.2, nginx),
        figures.Figure("missed", ours, 4.1, nginx),
        figures.Figure("absolute", ours, 128, unit="µs"),
        figures.Figure("not measured", Ref("upload", "gateway", "cpu_s_gib"), 1.5),
    ]
    assert [verdict.met for verdict in figures.judge(results, asked)] == [True, False, True, None]


def test_every_promise_is_about_something_that_is_measured() -> None:
    keys = {scenario.key for scenario in scenarios.chosen(scenarios.GROUPS, [32, 256])}
    refs = [ref for figure in figures.FIGURES for ref in (figure.ref, figure.base) if ref]
    assert {ref.scenario for ref in refs} <= keys
    assert {ref.contender for ref in refs} <= CONTENDERS.keys()


def test_the_table_names_medians_spreads_ratios_and_faults(results: Results) -> None:
    text = report.table(results, scenarios.chosen(["get"], [32]))
    line = next(line for line in text.splitlines() if "aiogateway" in line)
    assert line.split() == ["aiogateway", "1,000", "1.00", "2.00", "128.0", "(80.0-176.0)", "4.20", "0.84"]
    assert "Starlette + httpx did not run in round 2: nothing listens on port 1" in text


def test_the_json_holds_machine_options_samples_and_figures(results: Results) -> None:
    written = json.loads(json.dumps(report.as_json(MACHINE, {"rounds": 2}, results, figures.judge(results))))
    assert written["machine"]["versions"]["nginx"] == "1.22.1"
    assert written["options"] == {"rounds": 2}
    assert len(written["samples"]) == 7
    over_nginx = next(
        row for row in written["figures"] if row["title"].endswith("32 connections: CPU a request over nginx")
    )
    assert over_nginx["met"] is True and over_nginx["measured"]["median"] == pytest.approx(4.2)


@pytest.mark.parametrize("name", ["bench.png", "bench.svg"])
def test_a_picture_is_drawn(results: Results, tmp_path: Path, name: str) -> None:
    picture.draw(results, scenarios.chosen(["get"], [32]), MACHINE, tmp_path / name)
    assert (tmp_path / name).stat().st_size > 5000


def test_names_are_taken_in_their_own_order_and_unknown_ones_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert options(["--only", "nginx,gateway"]).only == ["gateway", "nginx"]
    assert options(["--quick"]).connections == [32]
    with pytest.raises(SystemExit):
        options(["--only", "apache"])
    assert "unknown: apache" in capsys.readouterr().err


@pytest.mark.parametrize("piece", [1, 7, 100_000])
async def test_the_backend_counts_an_upload_however_it_is_cut(piece: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    async with server, asyncio.timeout(30):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        sent = traffic.upload(300).head() + bytes(300)
        for _ in range(2):
            for start in range(0, len(sent), piece):
                writer.write(sent[start : start + piece])
                await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(16) == b'{"received":300}'
        writer.close()
        await writer.wait_closed()


async def test_every_event_of_a_stream_is_timed() -> None:
    late = await streams.direct(3, 0.5)
    assert 0 < late.median <= late.p99 <= late.most


async def test_messages_of_the_benchmarks_sockets_go_round() -> None:
    server = await asyncio.get_running_loop().create_server(websocket.Echo, "127.0.0.1", 0)
    async with server:
        clients = await websocket.opened(server.sockets[0].getsockname()[1], 3)
        for client in clients:
            client.ask()
        await eventually(lambda: all(client.echoes > 9 for client in clients), "every socket has echoes")
        for client in clients:
            client.transport.abort()


def test_a_verdict_is_worse_in_either_respect() -> None:
    good = {"behavior": "OK", "behaviorClose": "OK"}
    assert not autobahn.is_worse(good, good)
    assert autobahn.is_worse({**good, "behaviorClose": "FAILED BY CLIENT"}, good)
    assert not autobahn.is_worse(good, {**good, "behavior": "NON-STRICT"})


# Counting was off before, so callgrind's own sum is nonsense.
DUMP: Final = """\
version: 1
positions: line
events: Ir
fl=(1) loop.c
fn=(1) run
16 400
+3 20
cfn=(2) step
calls=7 30
* 99999
-2 5
fn=(2)
* 6

totals: 18446744073709551000
"""
PLAIN: Final = references.Interpreter("cpython", "3.11.7", "x86_64", pgo=False)


def reference(**other: Any) -> references.Reference:
    return references.Reference(PLAIN._replace(**other), 5000, {"get": 420_000})


def test_the_instructions_of_a_dump_are_those_of_every_function_itself() -> None:
    assert instructions.total(DUMP) == 431
    with pytest.raises(processes.BenchError):
        instructions.total("version: 1\n\ntotals: 0\n")


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        ([{"version": "3.11.9"}, {}], {}),
        ([{"pgo": True}, {"version": "3.11.2"}, {"version": "3.12.7"}], {"version": "3.11.2"}),
        ([{"version": "3.13.1"}, {"version": "3.12.9", "pgo": True}], {"version": "3.12.9", "pgo": True}),
        ([{"implementation": "pypy"}, {"machine": "aarch64"}, {"version": "3.14.0"}], {"version": "3.14.0"}),
    ],
    ids=["its own", "built alike", "of the nearer version", "on the same machine"],
)
def test_an_interpreter_is_compared_with_the_one_most_like_it(
    others: list[dict[str, Any]], chosen: dict[str, Any]
) -> None:
    assert references.nearest([reference(**other) for other in others], PLAIN) == reference(**chosen)


def test_without_references_there_is_none_to_compare_with() -> None:
    assert references.nearest([], PLAIN) is None


@pytest.mark.parametrize(
    ("key", "now", "scale", "share", "too_much"),
    [
        ("get", 420_000, 1.0, 0.0, False),
        ("get", 470_000, 1.0, 0.119, True),
        ("get", 470_000, 1.1, 0.017, False),
        ("get", 378_000, 1.0, -0.1, False),
        ("new", 1, 1.0, math.inf, True),
    ],
    ids=["as it was", "over a tenth more", "more, as is the interpreter", "less", "nothing to compare with"],
)
def test_a_case_may_cost_a_tenth_more_than_the_interpreter_explains(
    key: str, now: float, scale: float, share: float, too_much: bool
) -> None:
    change = references.compared(key, now, reference(), scale)
    assert change.share == pytest.approx(share, abs=0.001)
    assert change.too_much is too_much


def test_a_reference_takes_the_place_of_its_interpreter_s_alone() -> None:
    kept = [reference(version="3.12.1"), reference()]
    new = references.Reference(PLAIN, 5100, {"get": 400_000})
    assert references.read(references.written(kept, new)) == [new, kept[0]]


def test_every_case_has_a_cost_that_is_kept() -> None:
    keys = {case.key for case in instructions.CASES}
    kept = references.read(instructions.KEPT.read_text())
    assert kept and all(row.cases.keys() == keys for row in kept)


CLOCKED = """
import asyncio, sys, time
from pathlib import Path
import uvloop
from benchmarks.callback_clock import serve

def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass

class Server(asyncio.Protocol):
    def data_received(self, data):
        burn(0.02)

async def work():
    burn(0.04)

async def serve_and_ask():
    loop = asyncio.get_running_loop()
    loop.call_soon(burn, 0.03)
    await asyncio.sleep(0)
    time.sleep(0.05)
    server = await loop.create_server(Server, "127.0.0.1", 0)
    transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
    transport.write(b"x")
    await asyncio.sleep(0.1)
    await asyncio.create_task(work())

serve(Path(sys.argv[1]), uvloop.run, serve_and_ask())
"""


def test_the_callback_clock_names_what_used_cpu_for_long_and_how_it_came_there(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", CLOCKED, str(tmp_path)], cwd=processes.REPOSITORY, check=True, timeout=60)
    (path,) = tmp_path.iterdir()
    spans = [Span(*each) for each in json.loads(path.read_text())["spans"]]
    longest = sorted(spans, key=lambda span: -span.cpu)[:3]
    assert [span.what for span in longest] == ["a step of work", "burn", "Server.data_received"]
    assert all(span.cpu >= least for span, least in zip(longest, (0.04, 0.03, 0.02), strict=True))
    assert any(" burn <" in span.stack for span in longest)


@pytest.mark.parametrize(("cpu", "kept"), [(0.009, True), (0.011, False)])
def test_the_longest_callback_decides_whether_the_bound_is_kept(
    cpu: float, kept: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spans = [Span(5.0, cpu, "a step of work", 0.0, "here"), Span(50.0, 1.0, "a step of start", 0.0, "before or after")]
    (tmp_path / "1.json").write_text(json.dumps({"spans": spans, "callbacks": 2, "collected": [[0.001, 3]] * 3}))
    assert callbacks.report(tmp_path, 0.0, 10.0, Told(asked=1)) is kept
    assert "a step of start" not in capsys.readouterr().out
