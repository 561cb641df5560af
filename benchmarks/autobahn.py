"""The Autobahn testsuite's fuzzing client, direct and through the gateway: no case may have a worse verdict.

The testsuite is not installed with the gateway: it needs Python 2.7 and a handful of packages of its time
(`autobahntestsuite==0.8.2` with `Twisted==20.3.0`, `autobahn==0.10.9`, `txaio==2.1.0`, `klein==17.10.0`), or its
container image. `--wstest` names its command. Behind is an echo server on aiohttp with permessage-deflate.

Run as `python -m benchmarks.autobahn --wstest COMMAND`; `--quick` leaves out the cases of limits and performance and
the long ones of compression (9, 12, 13), which take most of an hour less some minutes. Exits 1 when one is worse.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Final

from aiohttp import WSMsgType, web

from benchmarks import gateway, processes
from tests.ports import free_port

LONG: Final = ["9.*", "12.*", "13.*"]
# From good to bad.
VERDICTS: Final = (
    "OK",
    "INFORMATIONAL",
    "NON-STRICT",
    "UNIMPLEMENTED",
    "UNCLEAN",
    "WRONG CODE",
    "FAILED BY CLIENT",
    "FAILED",
)
LARGEST: Final = 64 << 20
ROUTES: Final = f"""
[[route]]
path = "/echo"
upstream = "bench"
auth = "public"
rate_limit = "off"
websocket = true
ws_max_message = {LARGEST}
"""


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Say everything again."""
    socket = web.WebSocketResponse(max_msg_size=LARGEST)
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


def serve_echo(port: int) -> None:
    """What `python -m benchmarks.autobahn --serve PORT` runs."""
    app = web.Application()
    app.router.add_get("/echo", echo)
    web.run_app(app, host="127.0.0.1", port=port, print=None)


def judged(command: list[str], folder: Path, agent: str, port: int, left_out: list[str]) -> dict[str, Any]:
    """The verdicts on whoever listens on a port, by the case."""
    spec = {
        "outdir": str(folder / agent),
        "servers": [{"agent": agent, "url": f"ws://127.0.0.1:{port}/echo"}],
        "cases": ["*"],
        "exclude-cases": left_out,
        "exclude-agent-cases": {},
    }
    path = folder / f"{agent}.json"
    path.write_text(json.dumps(spec))
    with (folder / f"{agent}.log").open("wb") as log:
        subprocess.run([*command, "-m", "fuzzingclient", "-s", str(path)], stdout=log, stderr=log, check=True)
    found: dict[str, Any] = json.loads((folder / agent / "index.json").read_text())[agent]
    return found


def is_worse(through: dict[str, Any], direct: dict[str, Any]) -> bool:
    """Whether a case's verdict is worse than another."""
    return any(VERDICTS.index(through[kind]) > VERDICTS.index(direct[kind]) for kind in ("behavior", "behaviorClose"))


def compare(command: list[str], folder: Path, left_out: list[str]) -> bool:
    """Print both sets of verdicts, and each that is worse; whether none is."""
    own, others = processes.cores()
    ports = {name: free_port() for name in ("direct", "gateway")}
    (folder / "table" / "routes").mkdir(parents=True)
    (folder / "table" / "upstreams.toml").write_text(f'[bench]\nurl = "http://127.0.0.1:{ports["direct"]}"\n')
    (folder / "table" / "routes" / "bench.toml").write_text(ROUTES)
    environ = gateway.environment(folder / "table", ports["gateway"], free_port(), guards=False)
    serving = [sys.executable, "-m", "benchmarks.autobahn", "--serve", str(ports["direct"])]
    with (
        processes.running(serving, others, folder / "echo.log") as echo_pid,
        processes.running([sys.executable, "-m", "aiogateway", "serve"], own, folder / "serve.log", environ) as pid,
    ):
        processes.wait_for_port(ports["direct"], echo_pid, folder / "echo.log")
        processes.wait_for_port(ports["gateway"], pid, folder / "serve.log")
        direct, through = (judged(command, folder, name, port, left_out) for name, port in ports.items())
    for name, found in (("direct", direct), ("gateway", through)):
        verdicts = Counter(case["behavior"] for case in found.values())
        print(f"{name:8} {len(found)} cases: {', '.join(f'{verdict} {verdicts[verdict]}' for verdict in verdicts)}")
    worse = [case for case in direct if is_worse(through[case], direct[case])]
    for case in worse:
        print(f"worse: {case}: {direct[case]} direct, {through[case]} through the gateway")
    print(f"cases with a worse verdict: {len(worse)}")
    return not worse


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--wstest", type=shlex.split, help="the testsuite's command")
    what.add_argument("--serve", type=int, metavar="PORT", help="only echo, for the comparison's own use")
    parser.add_argument("--quick", action="store_true", help="leave the long cases out")
    wanted = parser.parse_args()
    if wanted.serve:
        serve_echo(wanted.serve)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return int(not compare(wanted.wstest, Path(folder), LONG if wanted.quick else []))


if __name__ == "__main__":
    sys.exit(main())
