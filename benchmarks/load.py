"""wrk as the load generator: its script, its run, its answer.

The script sets the request once and has no `request` function, so wrk sends one fixed buffer and costs little. Its
`done` function prints exact figures, where wrk's own text rounds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes
from benchmarks.traffic import Request

TIMEOUT_SECONDS = 10
MARK = "RESULT "
DONE = """\
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nRESULT {"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "failed": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.timeout + e.status))
end
"""


@dataclass(frozen=True)
class Load:
    """What wrk saw: completed requests, failed ones (sockets, timeouts, statuses over 399), times."""

    requests: int
    failed: int
    seconds: float
    p50_ms: float
    p99_ms: float


def script(request: Request, pause_ms: int = 0) -> str:
    """The Lua script that makes wrk send `request`, on each connection after a pause of that many ms on average."""
    fields = "".join(f"wrk.headers[{_lua(name)}] = {_lua(value)}\n" for name, value in request.headers().items())
    body = f"wrk.body = {_lua(request.body.decode())}\n" if request.body else ""
    pause = f"function delay() return math.random(0, {2 * pause_ms}) end\n" if pause_ms else ""
    return f"wrk.method = {_lua(request.method)}\nwrk.path = {_lua(request.path)}\n{fields}{body}{pause}{DONE}"


def _lua(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def parse(output: str) -> Load:
    """The figures of a run from what wrk printed; raises BenchError when there are none, or no request completed."""
    _, found, result = output.rpartition(MARK)
    if not found:
        raise processes.BenchError(f"wrk printed no result: {output.strip()[-300:]}")
    figures = json.loads(result)
    if not figures["requests"]:
        raise processes.BenchError(f"no request completed, {figures['failed']} failed")
    return Load(
        figures["requests"],
        figures["failed"],
        figures["microseconds"] / 1e6,
        figures["p50"] / 1000,
        figures["p99"] / 1000,
    )


def run(port: int, lua: Path, connections: int, seconds: float, core: str) -> Load:
    """Load 127.0.0.1:`port` over `connections` connections from one thread; raises BenchError on any failed request."""
    whole = max(1, round(seconds))  # wrk takes whole seconds only
    argv = f"wrk -t1 -c{connections} -d{whole}s --timeout {TIMEOUT_SECONDS}s -s {lua} http://127.0.0.1:{port}/".split()
    load = parse(processes.call(argv, core, whole + 2 * TIMEOUT_SECONDS))
    if load.failed:
        raise processes.BenchError(f"{load.failed} of {load.requests} requests failed")
    return load
